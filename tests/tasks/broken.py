"""A corpus of broken and odd files, each made by a small function, with what a submitter must be told of it."""

import csv
import gzip
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

SECRET, PHONE = "枕头底下的红雨伞", "13812345678"
COLUMNS = ("conversation_id", "input_text", "complaint_category")
Cells = list[object]


class Case(NamedTuple):
    """A file, and what becomes of it.

    Attributes:
        make: writes the file into a folder.
        words: stand in the refusal, or, where the file is accepted, in the reason of a rejected row.
        code: of the rejected rows; empty where the whole file is refused, or taken.
        accepted: how many calls are; None where the whole file is refused.
    """

    name: str
    make: Callable[[Path], Path]
    words: tuple[str, ...] = ()
    code: str = ""
    accepted: int | None = None
    mapping: Mapping[str, str] = {}


def text(at: int) -> str:
    """A call that no other is like."""
    words = "".join(chr(0x4E00 + (at * 7919 + i * 104729 + at * i * i) % 6000) for i in range(30))
    return f"我的{SECRET}电话{PHONE}第{at}次{words}"


def good(rows: int = 20) -> list[Cells]:
    """Calls without fault, of two categories."""
    return [[f"c{at}", text(at), ("billing_dispute", "refund_delay")[at % 2]] for at in range(rows)]


def table(rows: list[Cells], header: tuple[str, ...] = COLUMNS, separator: str = ",", end: str = "\n") -> str:
    """As CSV."""
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator=end).writerows([header, *rows])
    return out.getvalue()


def objects(rows: list[Cells] | None = None, header: tuple[str, ...] = COLUMNS) -> list[dict[str, object]]:
    """As JSON objects."""
    return [dict(zip(header, row, strict=True)) for row in rows or good()]


def jsonl(records: list[dict[str, object]]) -> str:
    """As JSON lines."""
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)


def file(content: str | bytes, name: str = "calls.csv") -> Callable[[Path], Path]:
    """Makes a file of the content."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return path

    return make


def one(**cells: object) -> Callable[[Path], Path]:
    """Good calls and one more row, with these cells, in row 22 of a CSV."""
    extra = [name for name in cells if name not in COLUMNS]
    rows = [[*row, *("" for _ in extra)] for row in good()]
    bad: Cells = [
        cells.get(name, value) for name, value in zip(COLUMNS, ["odd", text(99), "refund_delay"], strict=True)
    ]
    return file(table([*rows, [*bad, *(cells[name] for name in extra)]], (*COLUMNS, *extra)))


def line(content: str) -> Callable[[Path], Path]:
    """Good calls and one more line of JSON, the 21st."""
    return file(jsonl(objects()) + content + "\n", "calls.jsonl")


def parquet(frame: pl.DataFrame, name: str = "calls.parquet") -> Callable[[Path], Path]:
    """Makes a Parquet file."""

    def make(folder: Path) -> Path:
        frame.write_parquet(folder / name)
        return folder / name

    return make


def labels(*values: object) -> Callable[[Path], Path]:
    """Forty calls, of which the last have these categories."""
    return file(table([*good(40), *([f"x{at}", text(500 + at), v] for at, v in enumerate(values))]))


def _frame() -> pl.DataFrame:
    return pl.DataFrame(good(), schema=list(COLUMNS), orient="row")


def _cut(folder: Path) -> Path:
    path = parquet(_frame())(folder)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def _parquet_bomb(folder: Path) -> Path:
    """Two million rows of one text of 300 kB: 600 GB of text in 300 kB."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    words = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["好" * 100_000]))
    some = pa.table({"text": words, "complaint_category": pa.array(["refund_delay"] * 1000)})
    path = folder / "calls.parquet"
    with pq.ParquetWriter(path, some.schema, compression="zstd") as writer:
        writer.write_table(pa.concat_tables([some] * 2000), row_group_size=2_000_000)
    return path


def _many_rows(folder: Path) -> Path:
    path = folder / "calls.parquet"
    pl.select(text=pl.repeat("你好", 5_000_001), complaint_category=pl.repeat("x", 5_000_001)).write_parquet(path)
    return path


def _turns_bomb(folder: Path) -> Path:
    turns = pl.Series("turns", [[None] * 60_000_000], dtype=pl.List(pl.Int8))
    pl.DataFrame([turns, pl.Series("complaint_category", ["x"])]).write_parquet(folder / "calls.parquet")
    return folder / "calls.parquet"


def _packed(folder: Path, texts: Any, **how: Any) -> Path:
    """Parquet of these texts of refunds, packed so well that a few kilobytes hold them."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    made = pa.table({"input_text": texts, "complaint_category": pa.array(["refund_delay"] * len(texts))})
    pq.write_table(made, folder / "calls.parquet", compression="zstd", **how)
    return folder / "calls.parquet"


def _long_value(folder: Path) -> Path:
    """Among twenty calls one of 100 MB, in a page of 100 MB."""
    return _packed(folder, [*(str(row[1]) for row in good()), "退款" * 17_000_000], use_dictionary=False)


def _longer_value(folder: Path) -> Path:
    """Among twenty calls one of 300 MB, less than a file may unpack to."""
    import pyarrow as pa

    texts = pa.array([*(str(row[1]) for row in good()), "a" * 300_000_000], pa.large_string())
    return _packed(folder, texts, use_dictionary=False)


def _long_entry(folder: Path) -> Path:
    """A thousand calls of one and the same text of 60 MB, which stands in the file once."""
    import pyarrow as pa

    return _packed(
        folder, pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["退" * 20_000_000]))
    )


def _long_elsewhere(folder: Path) -> Path:
    """A file of foreign names with 300 MB in a column that nobody asks for."""
    texts, big = [str(row[1]) for row in good()], ["x"] * 19 + ["b" * 300_000_000]
    pl.DataFrame({"通话内容": texts, "投诉类别": ["refund_delay"] * 20, "录音": big}).write_parquet(
        folder / "calls.parquet"
    )
    return folder / "calls.parquet"


def _zip_bomb(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "calls.parquet", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("calls.parquet", b"\0" * 50_000_000)
    return folder / "calls.parquet"


def _workbook(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / name, "w") as z:
            z.writestr("[Content_Types].xml", "<Types/>")
            z.writestr("xl/workbook.xml", "<workbook/>")
        return folder / name

    return make


def _long_line(folder: Path, size: int = 100_000_000) -> Path:
    """A header, and a line of that many characters without an end."""
    path = folder / "calls.csv"
    with path.open("wb") as f:
        f.write((",".join(COLUMNS) + "\nc1,").encode())
        piece = b"a" * 1_000_000
        for _ in range(size // len(piece)):
            f.write(piece)
    return path


def long_line_of_a_gigabyte(folder: Path) -> Path:
    """As above, a gigabyte long."""
    return _long_line(folder, 1_000_000_000)


def _zeros(folder: Path) -> Path:
    path = folder / "calls.csv"
    path.write_bytes(b"")
    os.truncate(path, 200_000_000)  # sparse
    return path


def _folder(folder: Path) -> Path:
    (folder / "calls.csv").mkdir()
    return folder / "calls.csv"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "calls.csv")
    return folder / "calls.csv"


def _link(target: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "calls.csv").symlink_to(target)
        return folder / "calls.csv"

    return make


def _linked(folder: Path) -> Path:
    (folder / "elsewhere").mkdir()
    real = file(table(good()))(folder / "elsewhere")
    (folder / "calls.csv").symlink_to(real)
    return folder / "calls.csv"


TURNS = [{"speaker": "customer", "text": text(7)}]
LATER = datetime(2026, 1, 31, 9, 30)
PLAIN = table(good())
TWO = table([row[1:] for row in good()], ("通话内容", "投诉类别"), ";")

CASES = [
    # encodings
    Case("gbk", file(PLAIN.encode("gbk")), accepted=20),
    Case(
        "gb18030 beyond gbk",
        file(table([*good(), ["c99", "𠮷野家" + text(99), "refund_delay"]]).encode("gb18030")),
        accepted=21,
    ),
    Case("utf-8 with mark", file(PLAIN.encode("utf-8-sig")), accepted=20),
    Case("utf-8 with two marks", file(b"\xef\xbb\xbf" + PLAIN.encode("utf-8-sig")), accepted=20),
    Case("utf-16 little endian", file(b"\xff\xfe" + PLAIN.encode("utf-16-le")), accepted=20),
    Case("utf-16 big endian", file(b"\xfe\xff" + PLAIN.encode("utf-16-be")), accepted=20),
    Case("utf-16 little endian, no mark", file(PLAIN.encode("utf-16-le")), accepted=20),
    Case("utf-16 big endian, no mark", file(PLAIN.encode("utf-16-be")), accepted=20),
    Case(
        "utf-16 cut in a character",
        file(PLAIN.encode("utf-16")[:-1]),
        ("is not in the taxonomy",),
        "unknown_category",
        19,
    ),
    Case("utf-32", file(PLAIN.encode("utf-32")), accepted=20),
    Case("encoded twice", file(PLAIN.encode().decode("latin-1")), ("encoded twice", "UTF-8 once", "--fix")),
    Case("encoded twice by Windows", file(PLAIN.encode().decode("cp1252", "replace").replace("\ufffd", "\x81")), ()),
    Case(
        "gbk taken for latin-1",
        file(table([["a", "话费多扣了三十元", "x"]] * 9).encode("gbk").decode("latin-1")),
        ("encoded twice", "GB2312 once"),
    ),
    Case(
        "two encodings",
        file(PLAIN.encode("gbk") + "c99,后面这些行是另一种编码,refund_delay\n".encode()),
        ("two encodings", "line 22 is UTF-8", "line 2 is GBK", "--fix"),
    ),
    Case(
        "latin-1",
        file(b"text,complaint_category\n" + b"caf\xe9,\xfc\xff\n" * 40),
        ("neither UTF-8 (byte 27)", "save it as UTF-8"),
    ),
    Case(
        "a lost byte",
        file(PLAIN.encode() + "c99,客户说".encode() + b"\xe5\xff" + "不满意退款,refund_delay\n".encode()),
        ("lost in an earlier conversion",),
        "encoding_damage",
        20,
    ),
    Case(
        "replacement characters",
        one(input_text="话费\ufffd\ufffd多扣了三十元"),
        ("lost in an earlier conversion",),
        "encoding_damage",
        20,
    ),
    # bytes
    Case("zeros in a text", one(input_text=text(99)[:9] + "\0\0" + text(99)[9:]), accepted=21),
    Case("zeros and nothing else", _zeros, ("is no text", "are zero")),
    Case("a picture", file(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0" * 60), ("is no text",)),
    Case("empty", file(b""), ("is empty", "a call a row")),
    Case("only a mark", file(b"\xef\xbb\xbf"), ("no header",)),
    Case("only a header", file(",".join(COLUMNS) + "\n"), ("a header and no rows",)),
    Case("a header and blank lines", file(",".join(COLUMNS) + "\n\n \n\n"), ("a header and no rows",)),
    Case("a header of spaces", file(" , , \n" + PLAIN), ("has no header",)),
    Case(
        "a line of a hundred megabytes",
        _long_line,
        ("line 2", "more than 10,000,000 characters", "line ends were lost"),
    ),
    # lines, rows, quotes
    Case("line ends of an old Mac", file(PLAIN.replace("\n", "\r")), accepted=20),
    Case("mixed line ends", file(PLAIN.replace("\n", "\r\n", 10)), accepted=20),
    Case("a line break in quotes", one(input_text=f"客户：{text(99)}\n客服：好的\r\n客户：谢谢"), accepted=21),
    Case(
        "a quote that never closes",
        file(PLAIN + 'c99,"' + text(99) + ",refund_delay\n" + table(good())),
        ("line 22", "never closes", "JSONL"),
    ),
    Case(
        "a short row", file(PLAIN + f"c99,{text(99)}\n"), ("the row has 2 fields, the header has 3",), "ragged_row", 20
    ),
    Case(
        "a comma in a text",
        file(PLAIN + f"c99,{text(99)},然后呢,refund_delay\n"),
        ("the row has 4 fields",),
        "ragged_row",
        20,
    ),
    Case("a short row of blanks", file(PLAIN + "\n , \n \n,\n"), ("the row has 2 fields",), "ragged_row", 20),
    Case("semicolons", file(table(good(), separator=";")), accepted=20),
    Case("tabs", file(table(good(), separator="\t"), "calls.txt"), accepted=20),
    Case("pipes", file(table(good(), separator="|")), accepted=20),
    Case("Excel's separator line", file("sep=;\n" + table(good(), separator=";")), accepted=20),
    Case("commas of full width", file(PLAIN.replace(",", "，")), ("has no column", "first line")),
    # columns
    Case(
        "a column twice",
        file("input_text,input_text,complaint_category\na,b,c\n"),
        ("'input_text' stands twice", "rename"),
    ),
    Case(
        "a column twice but for its case",
        file("input_text,a\nx,y\n".replace("input_text,a", "Input_Text,INPUT TEXT")),
        ("both stand for 'input_text'",),
    ),
    Case(
        "names in another case",
        file(PLAIN.replace("conversation_id,input_text", "Conversation ID,Input-Text")),
        accepted=20,
    ),
    Case("names of full width", file(PLAIN.replace("input_text", "ｉｎｐｕｔ＿ｔｅｘｔ")), accepted=20),
    Case(
        "one column",
        file("\n".join(["input_text", *(text(at) for at in range(20))])),
        ("no column 'complaint_category'", "--map complaint_category=COLUMN"),
    ),
    Case("foreign names", file(TWO.encode("gbk")), ("--map input_text=通话内容,complaint_category=投诉类别",)),
    Case(
        "foreign names, mapped",
        file(TWO.encode("gbk")),
        accepted=20,
        mapping={"input_text": "通话内容", "complaint_category": "投诉类别"},
    ),
    Case(
        "names that say nothing",
        file(table(good(), ("f1", "f 2", "f3"))),
        ("--map 'input_text=f 2,complaint_category=f3'",),
    ),
    Case(
        "no header, a call in its place",
        file(PLAIN.split("\n", 1)[1]),
        ("no column", "first line seems to be a call", "write a header"),
    ),
    Case(
        "a mapping to no column",
        file(PLAIN),
        ("has no column 'txt'", "it has 'conversation_id'"),
        mapping={"input_text": "txt"},
    ),
    Case(
        "a mapping of no name",
        file(PLAIN),
        ("'caller' is no column of the contract", "allowed: conversation_id"),
        mapping={"caller": "input_text"},
    ),
    Case(
        "a column mapped twice",
        file(PLAIN),
        ("is mapped twice",),
        mapping={"complaint_category": "input_text", "input_text": "input_text"},
    ),
    # JSON
    Case("a JSON array", file(json.dumps(objects()), "calls.json"), ("one JSON array", "jq -c '.[]'")),
    Case(
        "a JSON object with one list",
        file(json.dumps({"code": 0, "data": objects()}), "calls.json"),
        ("whose list 'data'", "jq -c '.data[]'"),
    ),
    Case(
        "a JSON object over lines",
        file(json.dumps({"data": objects()}, indent=1), "calls.json"),
        ("one JSON object over several lines", "jq -c"),
    ),
    Case(
        "commas after each object",
        file(jsonl(objects()).replace("}\n", "},\n"), "calls.jsonl"),
        ("no line of it is a JSON object", "one object a line"),
    ),
    Case(
        "a comma before the brace",
        line('{"input_text": "退款一直没有到账", "complaint_category": "refund_delay",}'),
        ("the line is not JSON",),
        "not_json",
        20,
    ),
    Case("a broken line", line('{"input_text": "退款'), ("is not JSON (column 19)",), "not_json", 20),
    Case("a number for an object", line("17"), ("not an object",), "not_object", 20),
    Case(
        "a name twice",
        line(f'{{"input_text": "{text(99)}", "complaint_category": "a", "complaint_category": "b"}}'),
        ("'complaint_category' more than once",),
        "repeated_key",
        20,
    ),
    Case(
        "a hundred thousand brackets",
        line('{"turns": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        ("nested too deeply",),
        "too_nested",
        20,
    ),
    Case(
        "brackets deep enough for a trap",
        line(
            '{"customer_id": '
            + "[" * 40
            + "]" * 40
            + ', "input_text": "退款一直没有到账", "complaint_category": "refund_delay"}'
        ),
        accepted=21,
    ),
    Case(
        "a number of five thousand digits",
        line('{"customer_id": ' + "9" * 5000 + "}"),
        ("a number of thousands of digits",),
        "endless_number",
        20,
    ),
    Case(
        "a text that is a list",
        line(json.dumps({"input_text": TURNS, "complaint_category": "refund_delay"})),
        ("is a list or an object",),
        "nested_text",
        20,
    ),
    Case("turns", line(json.dumps({"turns": TURNS, "complaint_category": "refund_delay"})), accepted=21),
    Case(
        "a turn of a stranger",
        line(json.dumps({"turns": [*TURNS, {"speaker": "robot", "text": "x"}], "complaint_category": "refund_delay"})),
        ("turn 2 of `turns`",),
        "bad_turns",
        20,
    ),
    Case(
        "half a surrogate pair",
        line('{"input_text": "退款没有到账\\ud83d", "complaint_category": "refund_delay"}'),
        ("lost in an earlier conversion",),
        "encoding_damage",
        20,
    ),
    # archives and workbooks
    Case("a zip bomb named .parquet", _zip_bomb, ("Excel workbook or an archive",)),
    Case("a workbook", _workbook("calls.xlsx"), ("CSV UTF-8",)),
    Case("a workbook named .csv", _workbook("calls.csv"), ("CSV UTF-8",)),
    Case("an old workbook named .csv", file(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 99), ("CSV UTF-8",)),
    Case(
        "a web page named .xls",
        file("<html><table><tr><td>x</td></tr></table></html>", "calls.xls"),
        ("web page", "CSV UTF-8"),
    ),
    Case("gzip", file(gzip.compress(PLAIN.encode()), "calls.csv.gz"), ("gzip", "gunzip")),
    Case("gzip cut short", file(gzip.compress(PLAIN.encode())[:40], "calls.csv"), ("gzip", "gunzip")),
    # Parquet
    Case("parquet", parquet(_frame()), accepted=20),
    Case("parquet cut short", _cut, ("starts like Parquet", "cut short")),
    Case("parquet named .csv", parquet(_frame(), "calls.csv"), accepted=20),
    Case("text named .parquet", file(PLAIN, "calls.parquet"), ("not Parquet", ".parquet")),
    Case(
        "parquet of one long value",
        _long_value,
        ("column 'input_text' has a cell of 102,000,000 bytes", "at most 10,000,000 characters"),
    ),
    Case(
        "parquet of one value longer still",
        _longer_value,
        ("column 'input_text' has a page that unpacks to 300,", "at most 268,435,456", "the cell that is so long"),
    ),
    Case("parquet of one long value said often", _long_entry, ("has a cell of 60,000,000 bytes",)),
    Case(
        "parquet of one long value that nobody asks for",
        _long_elsewhere,
        ("--map input_text=通话内容,complaint_category=投诉类别",),
    ),
    Case("parquet that unpacks to terabytes", _parquet_bomb, ("unpacks to", "at most 100 times")),
    Case("parquet of too many rows", _many_rows, ("5,000,001 rows", "datasets merge")),
    Case("parquet of endless turns", _turns_bomb, ("60,000,000 values",)),
    Case("parquet without rows", parquet(_frame().head(0)), ("no rows",)),
    Case("parquet of bytes", parquet(_frame().with_columns(pl.col("input_text").cast(pl.Binary))), accepted=20),
    Case(
        "parquet of lists as text",
        parquet(_frame().with_columns(pl.concat_list("input_text").alias("input_text"))),
        ("lists or structures", "--map turns="),
    ),
    Case("parquet of moments", parquet(_frame().with_columns(started_at=pl.lit(LATER))), accepted=20),
    # categories
    Case(
        "categories that are nothing",
        labels("NaN", "None", "null", ""),
        ("the call has no category",),
        "missing_category",
        40,
    ),
    Case(
        "a category in full width",
        labels("ｒｅｆｕｎｄ＿ｄｅｌａｙ"),
        ("is 'refund_delay' written otherwise",),
        "category_spelling",
        40,
    ),
    Case(
        "a category by its Chinese name",
        labels("退款拖延"),
        ("is 'refund_delay' written otherwise",),
        "category_spelling",
        40,
    ),
    Case("a category by its code", labels("C"), ("is 'refund_delay' written otherwise",), "category_spelling", 40),
    Case(
        "categories by number",
        file(table([[a, b, i % 2] for i, (a, b, _) in enumerate(good())])),
        ("unknown_category ×20",),
    ),
    Case(
        "a yes for a category",
        line(json.dumps({"input_text": text(99), "complaint_category": True})),
        ("category 'true'",),
        "unknown_category",
        20,
    ),
    Case("a formula for a category", labels("=cmd|'/c calc'!A1"), ("is not in the taxonomy",), "unknown_category", 40),
    Case("one category", file(table([[a, b, "refund_delay"] for a, b, _ in good()])), ("have 1 category, at least 2",)),
    # ids
    Case("an id that climbs", one(conversation_id="../../../escaped"), accepted=21),
    Case("an id of zeros and marks", one(conversation_id="\0\u202eodd\u200b"), accepted=21),
    Case("an id twice", one(conversation_id="c3"), ("already stands in row",), "duplicate_id", 20),
    Case(
        "an id rounded by Excel", one(conversation_id="1.38E+10"), ("was rounded by a spreadsheet",), "rounded_id", 20
    ),
    Case(
        "a customer rounded by Excel", one(customer_id="1.00E+15"), ("was rounded by a spreadsheet",), "rounded_id", 20
    ),
    Case(
        "an id too large for the number that held it",
        line(
            '{"conversation_id": 1000000000000000001.0, "input_text": "'
            + text(99)
            + '", "complaint_category": "refund_delay"}'
        ),
        ("was rounded",),
        "rounded_id",
        20,
    ),
    Case(
        "ids too large for the numbers that held them",
        parquet(
            pl.DataFrame(
                [[float(at if at < 20 else 10**18 + 200 * at), *row[1:]] for at, row in enumerate(good(22))],
                schema=list(COLUMNS),
                orient="row",
            )
        ),
        ("was rounded",),
        "rounded_id",
        20,
    ),
    Case("ids that are nothing", file(table([["nan", b, c] for _, b, c in good()])), accepted=20),
    Case("a text for an id", one(conversation_id=text(99) * 9), ("more than 200 characters",), "id_too_long", 20),
    Case("an id of Excel's text formula", one(conversation_id='="00123"'), accepted=21),
    # other values
    Case("a confidence in percent", one(confidence_score="95%"), ("is not a number",), "bad_confidence", 20),
    Case("a confidence beyond numbers", one(confidence_score="1e400"), ("outside 0 to 1",), "confidence_range", 20),
    Case("a confidence of a thousand", one(confidence_score="1,000"), ("is not a number",), "bad_confidence", 20),
    Case("a year 99999", one(started_at="99999-01-01"), ("not a date and time",), "bad_moment", 20),
    Case("a moment as Excel counts", one(started_at="46053.395833"), ("not a date and time",), "bad_moment", 20),
    Case("a 30th of February", one(started_at="2026-02-30 10:00"), ("not a date and time",), "bad_moment", 20),
    Case("a region that is a text", one(region="东南西北" * 9), ("at most 32",), "metadata_too_long", 20),
    Case("no text", one(input_text=" \u3000 "), ("has no text",), "missing_text", 20),
    Case("a text that is nothing", one(input_text="NULL"), ("has no text",), "missing_text", 20),
    Case("emoji, full width and marks of direction", one(input_text="😀１３８\u202e" + text(99)), accepted=21),
    Case("a formula for a text", one(input_text='=HYPERLINK("http://x")' + text(99)), accepted=21),
    # what is no file
    Case("nothing there", lambda folder: folder / "none.csv", ("No such file",)),
    Case("a folder", _folder, ("it is a folder",)),
    Case("a pipe", _pipe, ("a pipe or a device",)),
    Case("an endless device", lambda folder: Path("/dev/zero"), ("a pipe or a device",)),
    Case("a link to a device", _link("/dev/urandom"), ("a pipe or a device",)),
    Case("a link to itself", _link("calls.csv"), ("Too many levels",)),
    Case("a link to a file elsewhere", _linked, accepted=20),
    Case("a zero in the path", lambda folder: folder / "a\0b.csv", ("cannot be read",)),
]
