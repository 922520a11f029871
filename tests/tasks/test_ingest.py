"""Reading: every export a call platform makes, under the contract's names; anything else with a sentence that helps."""

import csv
import io
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.errors import ConfigurationError, ContractViolation
from tasks import columns, encoding, ingest, turns

HEAD = "conversation_id,input_text,complaint_category\n"


def write(folder: Path, content: str | bytes, name: str = "calls.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder: Path, content: str | bytes, name: str = "calls.csv", **mapping: str) -> pl.DataFrame:
    return whole(write(folder, content, name), **mapping)


def whole(path: Path, **mapping: str) -> pl.DataFrame:
    return turns.flattened(pl.concat(ingest.read(path, mapping)))


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
def test_a_csv_is_read_in_every_encoding_that_call_platforms_export(tmp_path: Path, codec: str) -> None:
    frame = read(tmp_path, (HEAD + "c1,话费多扣了三十元,billing\n").encode(codec))

    assert frame.rows() == [(2, None, "c1", "话费多扣了三十元", "billing")]
    assert frame.columns == ["row", "problem", "conversation_id", "input_text", "complaint_category"]


def test_a_gbk_file_that_is_ascii_for_a_megabyte_is_still_gbk(tmp_path: Path) -> None:
    path = write(tmp_path, (HEAD + "c1,hello,x\n" * 120_000 + "c2,话费,x\n").encode("gbk"))

    assert encoding.detect(path) == "gb18030"


def test_one_broken_byte_does_not_turn_utf8_into_something_else(tmp_path: Path) -> None:
    frame = read(tmp_path, (HEAD + "c1,话费多扣了钱,x\n" * 100).encode() + b"c2,\xff\xfe\xe4,x\n")

    assert frame["input_text"][0] == "话费多扣了钱"
    assert "\ufffd" in frame["input_text"][-1]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found_in_the_header(tmp_path: Path, separator: str) -> None:
    frame = read(tmp_path, f"input_text{separator}complaint_category\n你好{separator}x\n")

    assert frame["input_text"].to_list() == ["你好"]


def test_excels_separator_hint_is_understood(tmp_path: Path) -> None:
    assert read(tmp_path, "sep=;\ninput_text;complaint_category\n你好;x\n")["complaint_category"].to_list() == ["x"]


def test_row_numbers_are_those_a_spreadsheet_shows(tmp_path: Path) -> None:
    frame = read(tmp_path, HEAD + 'c1,"两行\n文本",x\n\nc2,你好,x\n')

    assert frame["row"].to_list() == [2, 4]
    assert frame["input_text"].to_list() == ["两行\n文本", "你好"]


def test_a_row_of_another_width_is_kept_with_its_problem(tmp_path: Path) -> None:
    frame = read(tmp_path, HEAD + "c1,你好,有逗号,x\nc2,你好,x\nc3,你好\n")

    assert frame["problem"].to_list() == ["ragged_row|4,3", None, "ragged_row|2,3"]


def test_jsonl_turns_become_text_and_bad_lines_keep_their_number(tmp_path: Path) -> None:
    turns = [{"speaker": "agent", "text": "您好"}, {"role": "用户", "content": "退\n款"}]
    bad = {"turns": [{"speaker": "martian", "text": "x"}], "complaint_category": "x"}
    lines = [json.dumps({"turns": turns, "complaint_category": 1}), "{not json", "", "[1]", json.dumps(bad)]
    frame = read(tmp_path, "\n".join(lines), "calls.jsonl")

    assert frame["row"].to_list() == [1, 2, 4, 5]
    assert frame["problem"].to_list() == [None, "not_json|2", "not_object|", "bad_turns|1"]
    assert frame["input_text"][0] == "客服：您好\n客户：退 款"
    assert frame["complaint_category"][0] == "1"


def test_parquet_labels_are_strings_without_decimal_points(tmp_path: Path) -> None:
    path = tmp_path / "calls.parquet"
    pl.DataFrame({"text": ["好", "坏", "没"], "label": [0.0, 1.0, float("nan")], "row": [7, 8, 9]}).write_parquet(path)
    frame = whole(path, complaint_category="label")

    assert frame["complaint_category"].to_list() == ["0", "1", None]
    assert frame["row"].to_list() == [1, 2, 3]


def test_parquet_turns_are_flattened_too(tmp_path: Path) -> None:
    path = tmp_path / "calls.parquet"
    turns = [[{"speaker": "customer", "text": "退款"}]]
    pl.DataFrame({"turns": turns, "complaint_category": ["x"]}).write_parquet(path)

    assert whole(path)["input_text"].to_list() == ["客户：退款"]


def test_a_foreign_file_of_two_columns_is_mapped(tmp_path: Path) -> None:
    frame = read(tmp_path, "text,label\n你好,0\n投诉,1\n", input_text="text", complaint_category="label")

    assert frame["complaint_category"].to_list() == ["0", "1"]


def refused(folder: Path, content: str | bytes, name: str = "calls.csv") -> str:
    with pytest.raises(ContractViolation) as caught:
        read(folder, content, name)
    return str(caught.value)


def test_a_missing_column_comes_with_the_map_option_that_mends_it(tmp_path: Path) -> None:
    assert "--map complaint_category=label" in refused(tmp_path, "text,label\n你好,0\n")
    assert "--map input_text=transcript" in refused(tmp_path, "transcript,complaint_category\n你好,0\n")


def test_a_file_without_a_header_does_not_leak_its_first_row(tmp_path: Path) -> None:
    message = refused(tmp_path, "我叫王小明手机13812345678,billing\n你好,billing\n")

    assert "13812345678" not in message
    assert "王小明" not in message


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        ("", "calls.csv", "is empty"),
        ("\n\n", "calls.csv", "no header"),
        (HEAD, "calls.csv", "no rows"),
        ("text,text\na,b\n", "calls.csv", "twice"),
        (HEAD + 'c1,"' + "没有结束" * 3_000_000, "calls.csv", "line ends were lost"),
        (HEAD + 'c1,"没有结束,x\nc2,你好,x\n', "calls.csv", "opens in line 2 and never closes"),
        (b"PK\x03\x04xxxx", "calls.csv", "Excel"),
        (b"PAR1 and nothing", "calls.parquet", "cut short"),
        ("hello", "calls.parquet", "not Parquet"),
        ("hello", "calls.doc", "allowed: .csv"),
        ('[{"text": "x"}]', "calls.json", "jq -c"),
        (b"\x81\x20\xff\xff" * 40, "calls.csv", "neither UTF-8"),
    ],
)
def test_what_is_no_file_of_calls_is_refused_with_what_to_do(
    tmp_path: Path, content: str | bytes, name: str, expected: str
) -> None:
    assert expected in refused(tmp_path, content, name)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        ingest.read(tmp_path / "nowhere.csv", {})


def test_a_mapping_that_names_nothing_is_a_mistake_of_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="allowed: conversation_id"):
        read(tmp_path, HEAD + "c1,你好,x\n", caller="input_text")
    with pytest.raises(ConfigurationError, match="did you mean 'input_text'"):
        read(tmp_path, HEAD + "c1,你好,x\n", input_text="input_txt")


cell = st.text(st.characters(exclude_categories=["Cc", "Cs"], include_characters='\n\r",;'), min_size=1)
cells = st.lists(
    st.tuples(cell.filter(lambda text: text.strip().lower() not in columns.NOTHING), cell), min_size=1, max_size=9
)


@given(cells)
def test_every_record_of_a_csv_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([("input_text", "complaint_category"), *rows])
    frame = read(tmp_path_factory.mktemp("csv"), text.getvalue())

    assert frame.height == len(rows)
    assert [v or "" for v in frame["input_text"]] == [a.strip() for a, _ in rows]
