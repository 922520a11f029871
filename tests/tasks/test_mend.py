"""`submit --fix`: what is safe is mended into a new file of the submitter's own, every change is listed, no value changes."""

import csv
import errno
import json
import os
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from configs.dataset import DataSettings
from data_contracts import taxonomy
from data_contracts.errors import ConfigurationError, ContractViolation
from data_contracts.taxonomy import Category, Taxonomy
from deploy.store import FolderStore
from tasks import accept, mend, mend_rows, mendings
from tasks.changes import Stood
from tests.tasks.broken import COLUMNS, PHONE, PLAIN, SECRET, file, good, jsonl, objects, table, text

NUMBERS = Taxonomy(
    name="two",
    none_key="0",
    categories=(Category(key="0", code="A", name_zh="好评"), Category(key="1", code="B", name_zh="差评")),
)
ALL = (*COLUMNS, "customer_id", "confidence_score", "started_at", "note")


def mended(path: Path, words: Taxonomy | None = None, out: str = "mended.csv", **mapping: str) -> mend.Mended:
    return mend.mend(path, words or taxonomy.load(), mapping, path.parent / out)


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as f:
        return list(csv.reader(f))


def changes(done: mend.Mended) -> list[tuple[str, ...]]:
    return [tuple(row[:5]) for row in rows(done.listed)[1:]]


def messy() -> str:
    odd = [
        ["1.0", text(1), " Refund Delay ", '="00123"', "95%", "2026/1/31 9:30:00 PM", "a"],
        ["2.0", text(2), "ｒｅｆｕｎｄ＿ｄｅｌａｙ", "7", "0,95", "1769823000", "b"],
        ["3.0", text(3), "计费争议", "7", "0.5", "20260131093000", "c"],
        ["4.0", text(4), "something else", "7", "95", "03/04/2026", "d"],
        ["4.0", text(4), "something else", "7", "95", "03/04/2026", "d"],
    ]
    return table([list(row) for row in odd], ALL, ";")


def test_what_is_safe_is_mended_and_listed_row_by_row(tmp_path: Path) -> None:
    done = mended(file(messy().encode("gbk"))(tmp_path))

    assert [[r[0], *r[2:]] for r in rows(done.out)[1:]] == [
        ["1", "refund_delay", "00123", "0.95", "2026-01-31T21:30:00", "a"],
        ["2", "refund_delay", "7", "0.95", "2026-01-31T01:30:00+00:00", "b"],
        ["3", "billing_dispute", "7", "0.5", "2026-01-31T09:30:00", "c"],
        ["4", "something else", "7", "95", "03/04/2026", "d"],
    ]
    assert changes(done)[:2] == [
        ("", "file", "mended_encoding", "gb18030", "utf-8"),
        ("", "file", "mended_separator", "';'", "','"),
    ]
    assert ("3", "complaint_category", "mended_category", "ｒｅｆｕｎｄ＿ｄｅｌａｙ", "refund_delay") in changes(done)
    assert ("4", "complaint_category", "mended_category", "计费争议", "billing_dispute") in changes(done)
    assert ("2", "customer_id", "mended_formula", '\'="00123"', "00123") in changes(done)
    assert ("6", "row", "mended_duplicate", "equal to row 5", "") in changes(done)
    assert done.rows_in == 5 == done.rows_out + done.dropped


def test_both_files_are_the_submitters_own_and_the_list_quotes_no_call(tmp_path: Path) -> None:
    path = file(messy().replace("something else", f"打{PHONE}").encode("gbk"))(tmp_path)
    before = path.read_bytes()
    done = mended(path)

    assert {p.stat().st_mode & 0o777 for p in (done.out, done.listed)} == {0o600}
    assert {p.name for p in tmp_path.iterdir()} == {"calls.csv", "mended.csv", "mended.changes.csv"}
    assert path.read_bytes() == before
    assert SECRET not in done.listed.read_text() and PHONE not in done.listed.read_text()
    assert all("unmasked" in mend.told(done)[0] and "未脱敏" in words for words in mend.told(done)[1:])


def test_what_may_mean_two_things_stays_as_it_is(tmp_path: Path) -> None:
    kept = [
        ("confidence_score", ("95", "1,000", "0,950", "120%", "high", "1e-1")),
        ("started_at", ("03/04/2026", "46053.39", "2026131", "99999-01-01", "昨天", "1234567890123456")),
        ("complaint_category", ("退款", "delay", "refund", "4", "")),
        ("conversation_id", ("1.0", "1.5", "1.38E+10", "=A1", "007")),
    ]
    known = mendings.Known({}, frozenset())

    assert [(n, v) for n, values in kept for v in values if mendings.cell(n, v, known)] == []


def test_ids_lose_their_decimal_point_only_if_all_have_one(tmp_path: Path) -> None:
    some = [["1.0", text(1), "refund_delay"], ["1.5", text(2), "refund_delay"]]

    assert [r[0] for r in rows(mended(file(table([list(r) for r in some]))(tmp_path)).out)[1:]] == ["1.0", "1.5"]


def test_numbers_and_chinese_names_become_the_keys_of_ones_own_taxonomy(tmp_path: Path) -> None:
    foreign = table([[text(1), "1.0"], [text(2), "差评"], [text(3), "０"]], ("正文", "标签"))
    done = mended(file(foreign.encode("gb18030"))(tmp_path), NUMBERS, input_text="正文", complaint_category="标签")

    assert [r[1] for r in rows(done.out)] == ["标签", "1", "1", "0"]


def test_json_lines_keep_what_was_not_mended_to_the_letter(tmp_path: Path) -> None:
    turns = [
        {"speaker": "customer", "text": "退款"},
        {"speaker": "agent", "text": " "},
        {"speaker": "agent", "text": None},
    ]
    odd = '{"a": 1.50, "input_text":"\\u9000款没到账" , "complaint_category":"refund_delay"}\n'
    lines = [odd, "{broken\n", json.dumps({"turns": turns, "complaint_category": "退款拖延", "n": 10**30}) + "\r\n"]
    done = mended(file("".join(lines), "calls.jsonl")(tmp_path), out="mended.jsonl")
    out = done.out.read_text().splitlines(keepends=True)

    assert out[:2] == lines[:2]
    assert json.loads(out[2]) == {"turns": turns[:1], "complaint_category": "refund_delay", "n": 10**30}
    assert done.by_code == {"mended_turns": 1, "mended_category": 1}


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode().decode("latin-1"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("gbk") + f"c99,{text(99)},refund_delay\n".encode(),
    ],
    ids=["utf-8 twice", "utf-16", "mixed"],
)
def test_encodings_that_a_submission_refuses_are_undone_to_the_letter(content: str | bytes, tmp_path: Path) -> None:
    done = mended(file(content)(tmp_path))
    expected = [list(map(str, row)) for row in good()]

    assert rows(done.out)[1:21] == expected
    assert done.by_code["mended_encoding"] == 1


def test_gbk_that_was_taken_for_western_text_is_undone_with_what_is_beyond_gb2312(tmp_path: Path) -> None:
    said = [f"第{at}次话费多扣了三十元一直没有退款" for at in range(30)] + ["姓镕的客户说宽带断了"]
    broken = table([[s, "refund_delay"] for s in said], ("text", "complaint_category")).encode("gbk").decode("latin-1")

    assert [r[0] for r in rows(mended(file(broken)(tmp_path)).out)[1:]] == said


def test_bytes_that_were_lost_stay_as_they_were(tmp_path: Path) -> None:
    done = mended(file(PLAIN.encode() + b"c99,\xe5\xff,refund_delay\n")(tmp_path))

    assert b"c99,\xe5\xff,refund_delay" in done.out.read_bytes()


def test_a_mended_file_is_a_submission_and_the_broken_one_is_not(tmp_path: Path) -> None:
    path = file(table([[a, b, "退款拖延 " if c == "refund_delay" else "Billing Dispute"] for a, b, c in good()]))(
        tmp_path
    )
    store, limits = FolderStore(tmp_path / "store"), DataSettings(min_rows=10, min_rows_per_category=2)

    with pytest.raises(ContractViolation, match="category_spelling"):
        accept.submit(path, taxonomy.load(), {}, "calls", limits, store, tmp_path / "out")
    done = mended(path)
    assert accept.submit(done.out, taxonomy.load(), {}, "calls", limits, store, tmp_path / "out").accepted == 20
    kept = [p for p in (tmp_path / "store").rglob("*") if p.is_file()]
    texts = {p: pl.read_parquet(p).write_csv() if p.suffix == ".parquet" else p.read_text("utf-8") for p in kept}
    assert len(texts) > 10
    assert [p.name for p, words in texts.items() if PHONE in words] == []
    assert {p.name for p, words in texts.items() if SECRET in words} == {
        "calls.parquet"
    }  # what was said, and only there


def test_a_name_that_is_taken_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = file(PLAIN)(tmp_path)
    mended(path)
    mended(path)  # the same again is no conflict
    (tmp_path / "other.csv").write_text("mine")

    for out, words in (
        ("other.csv", "is there already"),
        ("calls.csv", "is the file itself"),
        ("x.xlsx", "allowed for calls.csv: .csv"),
        ("none/x.csv", "there is no folder"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            mended(path, out=out)
    assert (tmp_path / "other.csv").read_text() == "mine"
    pl.DataFrame({"text": ["x"]}).write_parquet(tmp_path / "calls.parquet")
    with pytest.raises(ConfigurationError, match=r"allowed for calls.parquet: \.parquet"):
        mended(tmp_path / "calls.parquet")


def test_names_of_columns_lose_what_nobody_sees_and_each_is_listed(tmp_path: Path) -> None:
    header = "\ufeffconversation_id,\u3000input_text ,complaint_category,\u200bnote,"
    done = mended(file("\ufeff" + header + f"\nc1,{text(1)},refund_delay,x,y\n")(tmp_path))

    assert rows(done.out)[0] == ["conversation_id", "input_text", "complaint_category", "note", "column 5"]
    assert changes(done) == [
        ("1", "conversation_id", "mended_header", "\\ufeffconversation_id", "conversation_id"),
        ("1", "input_text", "mended_header", "\u3000input_text ", "input_text"),
        ("1", "note", "mended_header", "\\u200bnote", "note"),
        ("1", "column 5", "mended_header", "", "column 5"),
    ]
    assert done.by_code == {"mended_header": 4} and done.rows_in == done.rows_out == 1


TURNS = [{"speaker": "customer", "text": "退款"}, {"speaker": "agent", "text": " "}]


def odd_table(repeats: int = 1) -> "pa.Table":
    """Texts as strings, entries of a dictionary and lists; numbers, moments and bytes that are none of our business."""
    labels = ["退款拖延", " Refund Delay", "refund_delay", "nothing of the kind", "nothing of the kind"] * repeats
    count = len(labels)
    made = {
        "conversation_id": pa.array([f"{at}.0" for at in range(count - 1)] + [f"{count - 2}.0"]),
        " turns": pa.array(
            [TURNS] * count, pa.list_(pa.struct([("speaker", pa.string()), ("text", pa.large_string())]))
        ),
        "complaint_category": pa.array(labels, pa.dictionary(pa.int16(), pa.string())),
        "confidence_score": pa.array([0.5] * count, pa.float32()),
        "started_at": pa.array([1_769_823_000] * count, pa.timestamp("s", "UTC")),
        "sound": pa.array([b"\xff\x00"] * count),
    }
    return pa.table(made).replace_schema_metadata({"made": "by a platform"})


def test_parquet_is_mended_into_parquet_of_the_same_types(tmp_path: Path) -> None:
    parquet.write_table(odd_table(), tmp_path / "calls.parquet", row_group_size=2)
    before = parquet.read_table(tmp_path / "calls.parquet")
    done = mended(tmp_path / "calls.parquet", out="mended.parquet")
    after = parquet.read_table(done.out)

    names = [name.strip() for name in before.schema.names]
    assert (after.schema.names, after.schema.types) == (names, before.schema.types)
    assert after.schema.metadata[b"made"] == b"by a platform"
    assert after["conversation_id"].to_pylist() == ["0", "1", "2", "3"]
    assert after["complaint_category"].to_pylist() == [*["refund_delay"] * 3, "nothing of the kind"]
    assert after["turns"].to_pylist() == [TURNS[:1]] * 4
    assert after.select(["confidence_score", "started_at", "sound"]) == before.select(
        ["confidence_score", "started_at", "sound"]
    ).slice(0, 4)
    assert (done.rows_in, done.rows_out, done.dropped) == (5, 4, 1)
    assert changes(done)[0] == ("", "turns", "mended_header", " turns", "turns")
    assert ("2", "complaint_category", "mended_category", " Refund Delay", "refund_delay") in changes(done)
    assert changes(done)[-1] == ("5", "row", "mended_duplicate", "equal to row 4", "")
    assert {p.stat().st_mode & 0o777 for p in (done.out, done.listed)} == {0o600}
    again = mended(done.out, out="again.parquet")
    assert again.by_code == {} and parquet.read_table(again.out) == after


def test_parquet_is_mended_some_rows_at_a_time(tmp_path: Path) -> None:
    parquet.write_table(odd_table(5_000), tmp_path / "calls.parquet")
    done = mended(tmp_path / "calls.parquet", out="mended.parquet")
    written = parquet.ParquetFile(done.out).metadata

    assert (done.rows_in, done.rows_out, done.by_code["mended_duplicate"]) == (25_000, 24_999, 1)
    assert [written.row_group(at).num_rows for at in range(written.num_row_groups)] == [10_000, 10_000, 4_999]
    assert changes(done)[-1] == ("25000", "row", "mended_duplicate", "equal to row 24999", "")


def test_parquet_that_is_none_or_holds_too_much_is_not_mended(tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1" + b"x" * 99)
    pl.DataFrame({"input_text": ["退" * 20_000_000]}).write_parquet(tmp_path / "long.parquet")

    for name, words in (("cut", "cannot be read"), ("long", "has a cell of 60,000,000 bytes")):
        with pytest.raises(ContractViolation, match=words):
            mended(tmp_path / f"{name}.parquet", out="mended.parquet")
    assert {p.name for p in tmp_path.iterdir()} == {"cut.parquet", "long.parquet"}


values = {
    "conversation_id": st.sampled_from(["1.0", "2.0", '="1.0"', '="=""x"""', "7", "", " 3.00 ", "c1"]),
    "input_text": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    "complaint_category": st.sampled_from(
        ["退款拖延", '="退款拖延"', " refund delay", "C", "x", "", "ＲＥＦＵＮＤ_delay"]
    ),
    "confidence_score": st.sampled_from(["95%", "0,5", "１", "100 %", "0.50", "95", " 0.3 ", "１,5"]),
    "started_at": st.sampled_from(["20260131", "1769823000000", "２０２６-01-31", "2026/1/31 9:30 AM", "x", "1.0"]),
    "turns": st.sampled_from(
        ['[{"role":"user","text":""},{"role":"user","text":"a"}]', "[]", "", "[[", '[{"role":"user"}]']
    ),
}
records = st.lists(st.fixed_dictionaries(values), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(
    records, st.sampled_from(["csv", "jsonl"]), st.sampled_from(["utf-8", "gb18030", "utf-16"]), st.sampled_from(",;\t")
)
def test_a_mended_file_has_nothing_to_mend_and_every_row_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, found: list[dict[str, str]], kind: str, codec: str, separator: str
) -> None:
    folder = tmp_path_factory.mktemp("mend")
    made = (
        table([list(r.values()) for r in found], tuple(values), separator, "\r\n")
        if kind == "csv"
        else jsonl([*map(dict, found)])
    )
    try:
        once = mended(file(made.encode(codec), f"calls.{kind}")(folder), out=f"once.{kind}")
    except ContractViolation:  # a text of a few strange bytes may be in no encoding
        return
    again = mended(once.out, out=f"twice.{kind}")

    assert again.by_code == {}
    assert again.out.read_bytes() == once.out.read_bytes()
    assert once.rows_in == len(found) == once.rows_out + sum(1 for c in changes(once) if c[2] == "mended_duplicate")


def test_the_corpus_of_objects_is_untouched(tmp_path: Path) -> None:
    path = file(jsonl(objects()), "calls.jsonl")(tmp_path)
    done = mended(path, out="mended.jsonl")

    assert done.out.read_bytes() == path.read_bytes()
    assert "nothing to mend" in mend.told(done)[0] and "无需修改" in mend.told(done)[1]


def test_a_mended_line_keeps_the_spelling_of_every_number_that_is_not_listed(tmp_path: Path) -> None:
    rest = '"n":1000000000000000000.0 , "price": 1.10,"far":1e400,"deep":{"a":[1.0e2,{}]},"none":[],"s":"\\u9000款"'
    turn = '{"speaker":"customer", "text":"退款","t":1.50}'
    empty = '{"speaker":"agent","text":""}'
    line = f'{{ {rest},"turns":[{empty} , {turn},{empty}],"complaint_category" : "退款拖延" }}\n'
    told = json.dumps({"turns": f"[{empty},{turn}]", "complaint_category": "refund_delay"}) + "\n"
    done = mended(file(line + told, "calls.jsonl")(tmp_path), out="mended.jsonl")
    first, second = done.out.read_text().splitlines(keepends=True)

    assert first == f'{{ {rest},"turns":[{turn}],"complaint_category" : "refund_delay" }}\n'
    assert json.loads(second)["turns"] == f"[{turn}]"
    assert done.by_code == {"mended_turns": 2, "mended_category": 1}


def test_parquet_with_views_of_strings_is_mended_and_keeps_them(tmp_path: Path) -> None:
    made = odd_table().append_column("note", pa.array(["a"] * 5, pa.string_view()))
    at = made.schema.get_field_index("conversation_id")
    made = made.set_column(at, "conversation_id", made["conversation_id"].cast(pa.string_view()))
    parquet.write_table(made, tmp_path / "calls.parquet")
    before = parquet.read_schema(tmp_path / "calls.parquet")
    done = mended(tmp_path / "calls.parquet", out="mended.parquet")
    after = parquet.read_table(done.out)

    assert pa.string_view() in before.types and after.schema.types == before.types
    assert after["conversation_id"].to_pylist() == ["0", "1", "2", "3"]
    assert (done.rows_in, done.dropped) == (5, 1)


def test_a_link_to_nothing_is_a_name_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "mended.csv").symlink_to(tmp_path / "gone")

    with pytest.raises(ConfigurationError, match=r"mended\.csv is there already and is a link to nothing"):
        mended(file(PLAIN)(tmp_path))
    assert {p.name for p in tmp_path.iterdir()} == {"calls.csv", "mended.csv"}


def test_a_filesystem_without_hard_links_gets_both_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(made: object, out: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), made, None, out)

    monkeypatch.setattr(os, "link", link)
    done = mended(file(messy().encode("gbk"))(tmp_path))

    assert {p.name for p in tmp_path.iterdir()} == {"calls.csv", "mended.csv", "mended.changes.csv"}
    assert len(rows(done.out)) == 5 and len(changes(done)) > 5
    assert {p.stat().st_mode & 0o777 for p in (done.out, done.listed)} == {0o600}


def test_a_kill_while_the_files_appear_leaves_no_mended_file_without_its_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def link(made: Path, out: Path) -> None:
        real(made, out)
        raise KeyboardInterrupt

    path = file(messy().encode("gbk"))(tmp_path)
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(os, "link", link)
        mended(path)

    assert {p.name for p in tmp_path.iterdir()} == {"calls.csv", "mended.changes.csv"}
    assert mended(path).out.is_file()


def test_moments_that_are_numbers_of_seconds_are_mended_in_json_lines(tmp_path: Path) -> None:
    found = [1767225600000, 1767225600, 1767225600.0, 1767225600500.0, "1767225600.0", 17672256, True, 1.5, 10**400]
    path = file(jsonl([{"conversation_id": str(at), "started_at": n} for at, n in enumerate(found)]), "calls.jsonl")
    done = mended(path(tmp_path), out="mended.jsonl")

    midnight = "2026-01-01T00:00:00+00:00"
    made = [json.loads(line)["started_at"] for line in done.out.read_text().splitlines()]
    assert made == [*[midnight] * 3, "2026-01-01T00:00:00.500000+00:00", midnight, *found[5:]]
    assert changes(done)[0] == ("1", "started_at", "mended_moment", "1767225600000", midnight)


def test_ids_with_different_ends_stay_two_ids(tmp_path: Path) -> None:
    odd = [["1.0", text(1), "refund_delay"], ["1.00", text(2), "refund_delay"]]

    assert [r[0] for r in rows(mended(file(table([list(r) for r in odd]))(tmp_path)).out)[1:]] == ["1.0", "1.00"]


def test_what_was_done_is_told_in_each_language(tmp_path: Path) -> None:
    english, chinese = mend.told(mended(file(messy().encode("gbk"))(tmp_path)))

    assert "saved as UTF-8 ×1; columns separated by commas ×1" in english
    assert "已存为 UTF-8 ×1；改用逗号分隔 ×1" in chinese and "encoding" not in chinese


def test_a_value_that_repeats_is_masked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    real = mend_rows.mask_cell
    monkeypatch.setattr(mend_rows, "mask_cell", lambda value: masked.append(value) or real(value))
    calls = [[f"c{at}", text(at), "退款拖延", "95%"] for at in range(200)]
    done = mended(file(table([list(c) for c in calls], (*COLUMNS, "confidence_score")))(tmp_path))

    assert done.by_code == {"mended_category": 200, "mended_confidence": 200}
    assert len(masked) <= 4


@given(st.lists(st.binary(min_size=1, max_size=1), max_size=40), st.integers(1, 5))
def test_the_row_that_stood_first_is_known_however_many_came_between(found: list[bytes], recent: int) -> None:
    stood, expected = Stood(recent), dict[bytes, int]()
    digests = [one * 15 + b"\0" for one in found]

    assert [stood.first(one, row) for row, one in enumerate(digests)] == [
        None if (first := expected.setdefault(one, row)) == row else first for row, one in enumerate(digests)
    ]
