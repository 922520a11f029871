"""The contract: every bad row is named with its reason and remedy, in both languages, and no value leaks."""

import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from configs.dataset import DataSettings
from data_contracts import messages
from data_contracts.errors import ConfigurationError
from data_contracts.taxonomy import Category, Taxonomy
from tasks import clean, contract, findings, validate

TAXONOMY = Taxonomy(
    name="two",
    none_key="none",
    categories=(
        Category(key="billing_dispute", code="A", name_zh="计费争议"),
        Category(key="none", code="B", name_zh="非投诉"),
    ),
)
SETTINGS = DataSettings(min_rows=10, min_rows_per_category=2, min_accepted_share=0.5)
SECRET = "ZQ7SECRET9"
NAMES = (
    "conversation_id",
    "input_text",
    "complaint_category",
    "confidence_score",
    "started_at",
    "ended_at",
    "channel",
    "region",
)


def good(at: int) -> dict[str, str | None]:
    return {
        "conversation_id": f"c{at}",
        "input_text": f"客户：第{at}个话费问题我要投诉\n客服：好的\n客户：快一点\n客服：再见",
        "complaint_category": ("billing_dispute", "none")[at % 2],
        "confidence_score": "0.9",
    }


def check(
    out: Path,
    *bad: dict[str, str | None],
    rows: int = 20,
    settings: DataSettings = SETTINGS,
    against: validate.Against | None = None,
) -> validate.Checked:
    """Bad rows come first and have the numbers 1, 2, …"""
    cells = [*(good(at + 1000) | b for at, b in enumerate(bad)), *map(good, range(rows))]
    problems = [c.pop("problem", None) for c in cells]
    table = pl.DataFrame(cells, schema=dict.fromkeys(NAMES, pl.String))
    numbered = table.with_columns(pl.Series("row", range(1, len(cells) + 1)), pl.Series("problem", problems, pl.String))
    return validate.check(clean.prepare(numbered, settings.max_chars).frame, TAXONOMY, settings, out, against)


def test_good_calls_pass_and_leave_data_docs(tmp_path: Path) -> None:
    checked = check(tmp_path)

    assert checked.passed
    assert checked.rejects.is_empty()
    assert checked.summary["accepted"] == checked.accepted.height == 20
    assert (checked.docs / "index.html").is_file()


BAD: list[tuple[dict[str, str | None], str]] = [
    ({"problem": "ragged_row|4,3", "input_text": None}, "ragged_row"),
    ({"problem": "not_json|7", "input_text": None, "complaint_category": None}, "not_json"),
    ({"input_text": None}, "missing_text"),
    ({"input_text": "喂"}, "text_too_short"),
    ({"input_text": "话费多扣了\ufffd\ufffd钱"}, "encoding_damage"),
    ({"complaint_category": None}, "missing_category"),
    ({"complaint_category": "Billing Dispute"}, "category_spelling"),
    ({"complaint_category": "billing"}, "unknown_category"),
    ({"confidence_score": "很高"}, "bad_confidence"),
    ({"confidence_score": "nan"}, "bad_confidence"),
    ({"confidence_score": "85"}, "confidence_range"),
    ({"started_at": "昨天"}, "bad_moment"),
    ({"started_at": "2026-03-01 10:00", "ended_at": "2026-03-01 09:59"}, "ends_before_start"),
    ({"region": "北京" * 20}, "metadata_too_long"),
    ({"channel": "13812345678"}, "metadata_personal"),
    ({"conversation_id": "c1000"}, "duplicate_id"),
]


def dialogue(*turns: str) -> str:
    return "\n".join(f"{turn[0].replace('c', '客户').replace('a', '客服')}：{turn[1:]}" for turn in turns)


ALIKE = tuple(f"c我说第{at}件事情还没有办好" for at in range(9))
DOUBTFUL: list[tuple[str, str]] = [
    (dialogue("a您好请讲", "a请您稍等一下", "a好的再见"), "no_customer"),
    (dialogue("c宽带断了没有人修", "a好的", *["c你们的网络怎么老是断"] * 5), "repeated_turns"),
    ("话费####！！！！@@@@%%%%￥￥￥￥……——", "symbol_runs"),
    ("I have been overcharged for months and nobody calls me back", "little_chinese"),
]


def test_a_doubtful_row_is_kept_apart_with_its_reason_and_is_neither_accepted_nor_rejected(tmp_path: Path) -> None:
    checked = check(tmp_path, *({"input_text": text} for text, _ in DOUBTFUL), rows=40)

    assert dict(checked.doubts.select("row", "code").iter_rows()) == {
        at: code for at, (_, code) in enumerate(DOUBTFUL, start=1)
    }
    assert checked.quarantined["row"].to_list() == [1, 2, 3, 4]
    assert checked.rejects.is_empty()
    s = checked.summary
    assert (s["rows"], s["accepted"], s["quarantined"], s["rejected"]) == (44, 40, 4, 0)


@pytest.mark.parametrize("encoding", ["gbk", "gb18030", "latin-1", "cp1252"])
def test_a_text_that_was_decoded_wrongly_is_rejected(tmp_path: Path, encoding: str) -> None:
    text = "客户：宽带断了三天没有人来修，我要投诉你们的服务".encode().decode(encoding, "ignore")
    checked = check(tmp_path, {"input_text": text})

    assert checked.rejects["code"][0] == "mojibake"
    assert checked.summary["rejected"] == 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (dialogue("c宽带断了没有人来修", "c你们什么时候来"), "no_agent"),
        (dialogue("a您好", *ALIKE), "turns_do_not_alternate"),
        (dialogue("a您好", "c", "a", "c", "a", "c我要投诉"), "empty_turns"),
    ],
)
def test_what_is_only_odd_is_told_once_for_the_file_where_more_than_its_share_of_rows_is(
    tmp_path: Path, text: str, code: str
) -> None:
    many, few = (check(tmp_path, *[{"input_text": text}] * 2, rows=rows) for rows in (20, 400))

    (found,) = [f for f in many.summary["findings"] if f["code"] == code]
    assert (found["rows"], found["first_rows"], found["severity"]) == (2, [1, 2], "warn")
    assert many.summary["accepted"] == 22
    assert code not in {f["code"] for f in few.summary["findings"]}


def test_a_call_of_the_future_is_kept_apart_and_one_of_a_zone_further_east_is_not(tmp_path: Path) -> None:
    starts = ("2026-03-03T13:00:00", "2026-03-02T02:00:00+14:00", "2026-03-01T11:59:00", "0001-01-01")
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    checked = check(tmp_path, *({"started_at": at} for at in starts), against=validate.Against(now=now))

    assert checked.doubts.select("row", "code").rows() == [(1, "starts_in_future")]
    assert "2.04 days" in checked.doubts["reason_en"][0]


def test_a_family_says_itself_how_grave_a_finding_is(tmp_path: Path) -> None:
    rows: list[dict[str, str | None]] = [{"input_text": dialogue("a您好请讲", "a请您稍等一下", "a好的再见")}]
    own = {
        severity: SETTINGS.model_copy(update={"severities": {"no_customer": severity}})
        for severity in ("reject", "warn")
    }
    rejecting, warning = (check(tmp_path, *rows, settings=settings) for settings in own.values())

    assert rejecting.rejects["code"].to_list() == ["no_customer"]
    assert warning.summary["accepted"] == 21
    assert [f["code"] for f in warning.summary["findings"]] == ["no_customer"]


@pytest.mark.parametrize(
    ("severities", "said"),
    [
        ({"no_costumer": "warn"}, "did you mean 'no_customer'"),
        ({"no_customer": "refuse"}, "allowed: reject, quarantine, warn"),
        ({"missing_text": "warn"}, "whose severity can be set"),
    ],
)
def test_a_severity_that_cannot_be_is_refused_by_name(tmp_path: Path, severities: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check(tmp_path, settings=SETTINGS.model_copy(update={"severities": severities}))


def test_a_label_that_is_only_written_otherwise_says_which_one_it_is(tmp_path: Path) -> None:
    written = ("Billing Dispute", "ｂｉｌｌｉｎｇ＿ｄｉｓｐｕｔｅ", "billing-dispute ", "计费争议", "a")
    checked = check(tmp_path, *({"complaint_category": label} for label in written))

    assert checked.rejects["code"].to_list() == ["category_spelling"] * len(written)
    assert all("'billing_dispute'" in reason for reason in checked.rejects["reason_en"])


def test_every_bad_row_is_named_with_its_reason_and_remedy(tmp_path: Path) -> None:
    first: dict[str, str | None] = {}
    checked = check(tmp_path, first, *(row for row, _ in BAD))
    codes = dict(checked.rejects.select("row", "code").iter_rows())

    assert codes == {at: code for at, (_, code) in enumerate(BAD, start=2)}
    assert checked.summary["rejected"] == len(BAD)
    assert checked.summary["accepted"] + checked.summary["rejected"] == checked.summary["rows"]
    for column in ("reason_en", "reason_zh", "remedy_en", "remedy_zh", "conversation_id"):
        assert (
            checked.rejects.filter(pl.col("code") != "missing_text")[column].null_count() == 0
            or column == "conversation_id"
        )
    assert all(re.search(r"[\u4e00-\u9fff]", text) for text in checked.rejects["remedy_zh"])


def test_a_row_with_two_mistakes_hears_of_both_and_counts_once(tmp_path: Path) -> None:
    checked = check(tmp_path, {"confidence_score": "7", "complaint_category": "x"})

    assert checked.rejects["code"].to_list() == ["unknown_category", "confidence_range"]
    assert checked.summary["rejected"] == 1


@pytest.mark.parametrize(
    "written", ["Billing Dispute", "billing-dispute", "ＢＩＬＬＩＮＧ_dispute ", "计费争议", "计费", "A"]
)
def test_an_unknown_category_comes_with_the_nearest_known(written: str) -> None:
    assert findings.nearest(written, TAXONOMY) == "billing_dispute"


def test_reasons_hold_the_values_that_help(tmp_path: Path) -> None:
    checked = check(
        tmp_path, {"complaint_category": "Billing Dispute"}, {"confidence_score": "85"}, {"input_text": "喂"}
    )
    category, confidence, short = checked.rejects["reason_en"].to_list()

    assert "'Billing Dispute'" in category and "'billing_dispute'" in category
    assert "85 is outside" in confidence
    assert "has 1 characters, at least 4" in short


def test_a_repeat_of_a_rejected_row_is_accepted(tmp_path: Path) -> None:
    checked = check(tmp_path, {"conversation_id": "same", "confidence_score": "7"}, {"conversation_id": "same"})

    assert checked.rejects["row"].to_list() == [1]


def test_rows_without_ids_that_repeat_do_not_count_against_the_file(tmp_path: Path) -> None:
    same: dict[str, str | None] = {"conversation_id": None, "input_text": "话费多扣了钱", "complaint_category": "none"}
    checked = check(tmp_path, *[same] * 30, rows=20, settings=SETTINGS.model_copy(update={"min_accepted_share": 1.0}))

    assert checked.passed
    assert checked.summary["accepted"] == 21
    assert checked.rejects["code"].to_list() == ["duplicate_text"] * 29
    assert "row 1" in checked.rejects["reason_en"][0]


def test_one_text_under_two_categories_is_rejected_in_every_row(tmp_path: Path) -> None:
    same: dict[str, str | None] = {"conversation_id": None, "input_text": "话费多扣了钱"}
    kinds = ("none", "none", "billing_dispute")
    checked = check(tmp_path, *({**same, "complaint_category": kind} for kind in kinds))

    assert checked.rejects["code"].to_list() == ["conflicting_label"] * 3
    assert [re.findall(r"row (\d)", text)[0] for text in checked.rejects["reason_en"]] == ["3", "3", "1"]


@pytest.mark.parametrize(
    ("rows", "bad", "code"),
    [(20, [{"confidence_score": "7"}] * 30, "accepted_share"), (8, [], "too_few_rows"), (1, [], "too_few_categories")],
)
def test_a_file_that_cannot_teach_is_refused(
    tmp_path: Path, rows: int, bad: list[dict[str, str | None]], code: str
) -> None:
    checked = check(tmp_path, *bad, rows=rows)

    assert not checked.passed
    assert code in {refusal["code"] for refusal in checked.summary["refusals"]}


def test_a_file_of_nothing_acceptable_is_refused_not_broken(tmp_path: Path) -> None:
    missing: dict[str, str | None] = {"input_text": None}
    checked = check(tmp_path, *[dict(missing) for _ in range(3)], rows=0)

    assert not checked.passed
    assert checked.accepted.is_empty()
    assert checked.summary["rejected"] == 3


def test_data_docs_hold_no_value_of_any_row(tmp_path: Path) -> None:
    planted = dict.fromkeys(
        ("conversation_id", "complaint_category", "confidence_score", "started_at", "channel"), SECRET
    )
    checked = check(tmp_path, {**planted, "input_text": f"我的密语是{SECRET}"}, {"problem": f"not_json|{SECRET}"})

    assert checked.summary["rejected"] == 2
    assert [p for p in checked.docs.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()] == []


def test_data_docs_load_nothing_from_anywhere_and_are_small(tmp_path: Path) -> None:
    checked = check(tmp_path, {"confidence_score": "7"})
    pages = {p: p.read_text(encoding="utf-8") for p in checked.docs.rglob("*.html")}
    files = [p for p in checked.docs.rglob("*") if p.is_file()]

    assert len(pages) == 7
    assert [p for p, page in pages.items() if re.search(r"//[\w-]+\.\w", page) or "<script" in page] == []
    assert all("Content-Security-Policy" in page for page in pages.values())
    assert sum(p.stat().st_size for p in files) < 300_000
    linked = re.findall(r'href="([^"]+)"', pages[checked.docs / "index.html"])
    assert len(linked) == 6 and all((checked.docs / link).is_file() for link in linked)
    assert any("confidence_score" in page for page in pages.values())


def test_every_message_of_the_contract_exists_in_both_languages() -> None:
    codes = {c.message for c in contract.load().all} - {"$value"}

    assert codes | {f"{code}.remedy" for code in codes} <= set(messages.TABLE)
    assert all(re.search(r"[\u4e00-\u9fff]", chinese) for _, chinese in messages.TABLE.values())
    assert sum(map(len, messages.SUBJECTS)) == len(messages.TABLE), "two subjects have the same code"
