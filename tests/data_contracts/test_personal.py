"""How much personal data is found, and how much that is none is left alone: by type, on sentences of calls with traps."""

from functools import cache

import pytest

from data_contracts.personal import MASKS, find, mask, mask_cell
from tests.bench.personal import PRECISION, RECALL
from tests.data_contracts import planting
from tests.data_contracts.planting import Score, Text

EACH = 400


@cache
def cases(which: str) -> list[Text]:
    return list(planting.texts(which, EACH, seed=3))


@cache
def scores(which: str) -> dict[str, Score]:
    return planting.scores(cases(which))


def speaker(line: str) -> str:
    name, colon, _ = line.partition("：")
    return name if colon and len(name) < 7 else ""


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("which", planting.SETS)
def test_each_type_is_found_and_little_else(which: str, kind: str) -> None:
    score = scores(which)[kind]

    assert score.planted >= (2 if which == "fifth" else EACH)
    assert score.recall >= RECALL
    assert score.precision >= PRECISION


@pytest.mark.parametrize("which", planting.SETS)
def test_a_masked_call_has_the_turns_it_had_and_nothing_more_to_mask(which: str) -> None:
    for case in cases(which):
        masked = mask(case.text)

        assert list(map(speaker, masked.text.split("\n"))) == list(map(speaker, case.text.split("\n")))
        assert mask(masked.text) == (masked.text, {})
        assert sum(masked.counts.values()) == len(find(case.text))


@pytest.mark.parametrize("place", ["吉林四平", "新疆乌鲁木齐", "湖南岳阳", "连云港", "安徽马鞍山", "河南许昌"])
def test_a_region_is_no_name(place: str) -> None:
    assert mask_cell(place).text == place
    assert mask(f"客户：我在{place}，宽带断了。").counts == {}


@pytest.mark.parametrize(
    "said",
    [
        "我很高兴，马上就办，方便的话周末过来。",
        "我办的是大王卡，喝的王老吉，穿的李宁。",
        "对方师傅说任何时候都行，于是我明白了。",
        "先生您好，女士您好，请问有什么可以帮您。",
        "叫你们经理来，我找你们主管。",
        "我家在李家庄，宋庄镇那边，看电视要高清的。",
        "扎西德勒，格桑花开了。",
    ],
)
def test_words_brands_plans_and_titles_alone_are_no_names(said: str) -> None:
    assert mask(f"客户：{said}").counts == {}


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        ("我叫欧阳雪梅，我找王师傅。", "我叫〔姓名〕，我找〔姓名〕师傅。"),
        ("我是李建国，建国啊，你等一下。", "我是〔姓名〕，〔姓名〕啊，你等一下。"),
        ("户主阿依古丽·买买提。", "户主〔姓名〕。"),
        ("他叫毛军，高先生让我打的。", "他叫〔姓名〕，〔姓名〕先生让我打的。"),
        ("小陈你好，老徐在吗。", "〔姓名〕你好，〔姓名〕在吗。"),
        ("收件人是买买提，还有次仁卓玛。", "收件人是〔姓名〕，还有〔姓名〕。"),
        ("我是林杨沐阳，他是长孙无忌。", "我是〔姓名〕，他是〔姓名〕。"),
        ("名叫殷展，飞哥认得。", "名叫〔姓名〕，〔姓名〕哥认得。"),
        ("房主\n客服：户主姓名？\n客户：嗯，樊今朝", "房主\n客服：户主姓名？\n客户：嗯，〔姓名〕"),
    ],
)
def test_a_name_is_masked_in_every_form_and_again_where_it_is_repeated(said: str, masked: str) -> None:
    assert mask(f"客户：{said}").text == f"客户：{masked}"
