"""Cleaning keeps the words; masking leaves no personal data and little else out."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts import samples
from data_contracts.personal import MASKS, mask
from data_contracts.schema import Turn, flatten
from data_contracts.transcript import clean, shorten
from tasks.clean import prepare

CALLISH = st.text("客户服：我叫王小明先生138幺三零， 。\n嗯呃啊投诉@.AaX京-—１", max_size=60)


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("我的手机１３８，ＡＢＣ", "我的手机138，ABC"),
        ("我 要 投 诉 5G 套餐", "我要投诉 5G 套餐"),
        ("嗯，我我我我要投诉", "我要投诉"),
        ("那个那个那个不行，，，", "那个不行，"),
        ("号码是八八八八八八", "号码是八八八八八八"),
        ("一三八一三八一三八", "一三八一三八一三八"),
        ("客服：您好\r\n客服：您好\r\n客户：嗯\u200b\r\n", "客服：您好\n客户：嗯"),
        ("客服：\n客户：退款！？", "客户：退款！？"),
        ("嗯嗯", "嗯"),
        ("天气很好很好。", "天气很好很好。"),
    ],
)
def test_noise_goes_and_words_stay(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


@given(CALLISH)
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(CALLISH)
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once = mask(text)

    assert mask(once.text) == (once.text, {})


def test_a_long_call_keeps_head_and_tail() -> None:
    short = shorten("头" * 500 + "尾" * 500, 100)

    assert len(short) == 100
    assert short.startswith("头") and short.endswith("尾") and "……" in short


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("手机13812345678。", "手机〔手机号〕。"),
        ("打138 1234 5678找我", "打〔手机号〕找我"),
        ("138-1234-5678", "〔手机号〕"),
        ("１３８１２３４５６７８", "〔手机号〕"),
        ("+86 13812345678", "〔手机号〕"),
        ("幺三八一二三四五六七八", "〔手机号〕"),
        ("一三八，一二三四，五六七八对吧", "〔手机号〕对吧"),
        ("138幺二三四5678", "〔手机号〕"),
        ("13812345678一共三个", "〔手机号〕一共三个"),
        (
            "客户：138\n客服：嗯\n客户：1234\n客服：好\n客户：5678就这个",
            "客户：〔手机号〕\n客服：嗯\n客户：〔手机号〕\n客服：好\n客户：〔手机号〕就这个",
        ),
        ("座机0571-88156234转801", "座机〔座机〕"),
        ("(010)62345678", "〔座机〕"),
        ("固话(0755)88223344-801。", "固话〔座机〕。"),
        ("区号零七五五，八八二二三三四四", "区号〔座机〕"),
        ("么三八零零幺三八零零零", "〔手机号〕"),
        ("138开头那个，后面是0013 8000", "〔手机号〕"),
        ("138三个零12345", "〔手机号〕"),
        (
            "客户：138\n客服：138\n客户：0013\n客服：0013\n客户：8000",
            "客户：〔手机号〕\n客服：〔手机号〕\n客户：〔手机号〕\n客服：〔手机号〕\n客户：〔手机号〕",
        ),
        ("零二一五八七六五四三二", "〔座机〕"),
        ("家里电话是62345678", "家里电话是〔座机〕"),
        ("身份证11010519491231002X", "身份证〔身份证〕"),
        ("110105 1949 1231 002X", "〔身份证〕"),
        ("幺幺零幺零五幺九四九幺二三幺零零二X", "〔身份证〕"),
        ("卡号6222 0200 0000 0000 008", "卡号〔银行卡〕"),
        ("4367421234567896", "〔银行卡〕"),
        ("邮箱zhang.san@163.com，", "邮箱〔邮箱〕，"),
        ("abc123艾特qq点com", "〔邮箱〕"),
        ("13812345678@qq.com", "〔邮箱〕"),
        ("车牌京A12345和粤BD12345", "车牌〔车牌〕和〔车牌〕"),
        ("浙A·1234B", "〔车牌〕"),
        ("我住在朝阳区建国路88号3单元502，来过", "我住在〔地址〕，来过"),
        ("在浙江省杭州市西湖区文三路一百二十号2栋301室", "在〔地址〕"),
        ("阳光花园3栋2单元501", "〔地址〕"),
        ("我叫王小明，", "我叫〔姓名〕，"),
        ("我叫王伟我要投诉", "我叫〔姓名〕我要投诉"),
        ("我是李秀英，机主是欧阳志强", "我是〔姓名〕，机主是〔姓名〕"),
        ("免贵姓王，叫我王先生就行", "免贵姓〔姓名〕，叫我〔姓名〕先生就行"),
        ("麻烦联系一下欧阳女士和张师傅", "麻烦联系一下〔姓名〕女士和〔姓名〕师傅"),
        ("好的王小明先生", "好的〔姓名〕先生"),
        ("我姓欧阳，叫欧阳锋。", "我姓〔姓名〕，叫〔姓名〕。"),
    ],
)
def test_personal_data_is_masked_by_type(text: str, masked: str) -> None:
    assert mask(text).text == masked


@pytest.mark.parametrize(
    "text",
    [
        "订单号2026011512345678一共三百八十九块",
        "工单号13812345678还没处理",
        "我有一百三十八块五毛钱，139元套餐，流量20G",
        "工号1949，10086打给我的，400-810-1234",
        "2026-01-15 12:30:00 打了3，4次，19.9元",
        "从2025年11月12日到2026年1月15日",
        "第一二三四五天，一三五七二四六",
        "案件号202601138123456789",
        "5G畅享129套餐，一千兆宽带，新A套餐",
        "这位先生你好，那个师傅说安装师傅明天来，客户经理说的",
        "人民路营业厅，小区三号楼，十八楼办公室",
        "我是老用户，我是高兴才来的，我是云南人，我是江苏的",
        "这个总是这样，汇总一下，一共总费用",
        "流水号6222020000000000008，宽带账号057188156234，合同HT20260115001",
        "一共三千八百六十五块四毛二，从两点等到六点三十五",
        "验证码是482915，密码123456",
        "6222021234567890124",
        "110105194912310021",
        "流量用了12345678901234字节",
    ],
)
def test_what_only_looks_like_personal_data_stays(text: str) -> None:
    assert mask(text) == (text, {})


def test_nothing_planted_in_generated_calls_is_left() -> None:
    kinds = {"spoken_mobile": "mobile", "titled_name": "name"}
    wrongly_named = 0
    for record, truth in samples.generate_with_truth(800, seed=91):
        turns = record["turns"]
        assert isinstance(turns, list)
        masked = mask(clean(flatten(tuple(Turn.model_validate(turn) for turn in turns))))

        assert [p for p in truth.planted if p.value in masked.text] == []
        more = set(masked.counts) - {kinds.get(p.kind, p.kind) for p in truth.planted}
        assert more <= {"name"}
        wrongly_named += bool(more)
        assert all(MASKS[kind] in masked.text for kind in masked.counts)

    assert wrongly_named <= 8  # of 800 calls


def raw(**cells: str | None) -> pl.DataFrame:
    base = {"row": 2, "problem": None, "input_text": "你好啊朋友", "complaint_category": "x"}
    return pl.DataFrame([base | cells], schema_overrides={"problem": pl.String, **dict.fromkeys(cells, pl.String)})


def test_ids_of_people_become_digests() -> None:
    prepared = prepare(raw(conversation_id="13812345678", customer_id="13812345678"), 1000)

    assert prepared.personal_ids == 1
    assert "13812345678" not in str(prepared.frame.to_dicts())
    assert prepared.frame["conversation_id"][0].startswith("id-")


def test_a_call_without_an_id_is_named_after_its_text() -> None:
    first, second = prepare(raw(), 1000).frame, prepare(raw(region="北京"), 1000).frame

    assert first["conversation_id"][0] == second["conversation_id"][0]
    assert not first["has_id"][0]


@pytest.mark.parametrize(
    ("given_as", "read_as"),
    [
        ("2026-01-31T09:30:00+08:00", "2026-01-31T09:30:00+08:00"),
        ("2026/1/3 9:05", "2026-01-03T09:05:00"),
        ("2026年1月3日", "2026-01-03T00:00:00"),
        ("2026-01-31 09:30:00.123Z", "2026-01-31T09:30:00+00:00"),
    ],
)
def test_moments_are_read_as_people_write_them(given_as: str, read_as: str) -> None:
    assert prepare(raw(started_at=given_as), 1000).frame["started_at"].to_list() == [read_as]


def test_what_is_no_moment_is_found() -> None:
    frame = prepare(raw(started_at="昨天下午"), 1000).frame

    assert frame["bad_started_at"].to_list() == [True]
    assert frame["started_at"].to_list() == [None]


def test_metadata_is_masked_and_marked() -> None:
    frame = prepare(raw(region="13812345678", channel="hotline"), 1000).frame

    assert frame["region"].to_list() == ["〔手机号〕"]
    assert frame["region_personal"].to_list() == [True]
    assert frame["channel_personal"].to_list() == [None]
