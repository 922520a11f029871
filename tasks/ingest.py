"""Read a file of calls: CSV, JSON lines or Parquet, in the encodings call platforms export, under any column names."""

import csv
import json
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from data_contracts.errors import ConfigurationError, ContractViolation
from tasks import columns, encoding
from tasks.columns import Problem

if TYPE_CHECKING:
    import polars as pl

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
MAX_CELL_CHARS = 10_000_000
PART = 10_000
"""Records read, cleaned and masked at a time."""


class File(NamedTuple):
    """A file's records as text, in parts that may lack columns that only other parts have, and all its column names."""

    parts: "deque[pl.DataFrame]"
    columns: list[str]


class Raw(NamedTuple):
    """One record: its number as a person counts it, its cells by column name, and what is wrong with its shape."""

    row: int
    cells: dict[str, object]
    problem: Problem | None = None


def read(path: Path, mapping: Mapping[str, str]) -> Iterator["pl.DataFrame"]:
    """Every record of the file, `PART` at a time, under the contract's column names, as text.

    Columns, the same in every part: `row` (the number a spreadsheet or editor shows: CSV counts records with the header as
    1, JSONL lines, Parquet records), `problem` (`code|detail` where the record has no readable shape), and the recognised
    columns the file has.

    Args:
        mapping: contract name to column name, for columns that have another name in the file.

    Raises:
        ContractViolation: no records, not the format its name says, or a needed column is missing.
        ConfigurationError: no such file, or the mapping names what neither the contract nor the file has.
    """
    kind = kind_of(path)
    wanted = columns.readable(mapping)
    file = _parquet(path) if kind == "parquet" else _tables(_csv(path) if kind == "csv" else _jsonl(path), wanted)
    if not any(part.height for part in file.parts):
        raise ContractViolation(f"{path} has a header and no rows; it needs a call a row, with a text and a category")
    return columns.under_contract(file.parts, file.columns, mapping, path)


def kind_of(path: Path) -> str:
    """`csv`, `jsonl` or `parquet`, by a look at its name and first bytes.

    Raises:
        ConfigurationError: no such file, a folder, or not to be read.
        ContractViolation: empty, or none of the three.
    """
    try:
        with path.open("rb") as f:
            start = f.read(4)
    except OSError as error:
        raise ConfigurationError(
            f"file {str(path)!r} cannot be read: {error.strerror}; give the path of a CSV, JSONL or Parquet file of "
            "labelled calls"
        ) from error
    if not start:
        raise ContractViolation(f"{path} is empty; it needs a call a row, with a text and a category")
    if start == b"PAR1":
        return "parquet"
    if start in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
        raise ContractViolation(
            f"{path} is an Excel workbook or an archive; save the sheet as 'CSV UTF-8' and submit that"
        )
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None or kind == "parquet":
        allowed = ", ".join(SUFFIXES)
        raise ContractViolation(
            f"{path}: its content is not Parquet and its name ends in {path.suffix or 'nothing'!r}; allowed: {allowed}"
        )
    return kind


def _tables(records: Iterator[Raw], wanted: Collection[str]) -> File:
    """Records as text columns, missing cells null; a cell that nobody can ask for is not kept."""
    names: dict[str, None] = {}
    parts: deque[pl.DataFrame] = deque()
    while some := list(islice(records, PART)):
        names.update(dict.fromkeys(name for record in some for name in record.cells))
        parts.append(_table(some, [name for name in names if name in wanted]))
    return File(parts, list(names))


def _table(records: Sequence[Raw], names: Sequence[str]) -> "pl.DataFrame":
    import polars as pl

    problems = [record.problem.text if record.problem else None for record in records]
    cells = {name: [columns.plain(record.cells.get(name)) for record in records] for name in names}
    return pl.DataFrame(
        [
            pl.Series(columns.RAW_ROW, [record.row for record in records], pl.Int64),
            pl.Series(columns.RAW_PROBLEM, problems, pl.String),
            *(pl.Series(name, values, pl.String) for name, values in cells.items()),
        ]
    )


def _csv(path: Path) -> Iterator[Raw]:
    with encoding.open_text(path) as f:
        reader = csv.reader(f, delimiter=_delimiter(path, f), strict=False)
        csv.field_size_limit(MAX_CELL_CHARS)
        try:
            header = columns.checked_header([name.strip() for name in next(reader, [])], path)
            for at, cells in enumerate(reader, start=2):
                if len(cells) == len(header):
                    yield Raw(at, dict(zip(header, cells, strict=True)))
                elif any(cell.strip() for cell in cells):
                    yield Raw(
                        at, dict(zip(header, cells, strict=False)), Problem("ragged_row", f"{len(cells)},{len(header)}")
                    )
        except csv.Error as error:
            raise ContractViolation(
                f"{path}, line {reader.line_num}: {error}; most often a double quote opens and never closes. "
                "Mend that line or export as JSONL"
            ) from error


def _delimiter(path: Path, f: TextIO) -> str:
    """The separator that the header line has most of; a tab in a .tsv."""
    line = f.readline()
    if line.lower().startswith("sep=") and len(line.strip()) == 5:  # Excel's own hint
        return line[4]
    f.seek(0)
    if path.suffix.lower() == ".tsv":
        return "\t"
    return max(",;\t|", key=line.count)


def _jsonl(path: Path) -> Iterator[Raw]:
    with encoding.open_text(path) as f:
        for at, line in enumerate(f, start=1):
            if at == 1 and line.lstrip().startswith("["):
                raise ContractViolation(
                    f"{path} is one JSON array; write one object a line (jq -c '.[]' FILE > calls.jsonl)"
                )
            if line.strip():
                yield _record(at, line)


def _record(at: int, line: str) -> Raw:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return Raw(at, {}, Problem("not_json", str(error.colno)))
    except RecursionError:
        return Raw(at, {}, Problem("not_json", "1"))
    return Raw(at, value) if isinstance(value, dict) else Raw(at, {}, Problem("not_object"))


def _parquet(path: Path) -> File:
    import polars as pl

    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ContractViolation(
            f"{path} starts like Parquet but cannot be read; it may be cut short. Export it again"
        ) from error
    numbered = table.with_row_index(columns.RAW_ROW, offset=1).with_columns(pl.col(columns.RAW_ROW).cast(pl.Int64))
    return File(deque(_as_text(part, table.columns) for part in numbered.iter_slices(PART)), table.columns)


def _as_text(part: "pl.DataFrame", names: Sequence[str]) -> "pl.DataFrame":
    import polars as pl

    return part.select(
        columns.RAW_ROW,
        pl.lit(None, pl.String).alias(columns.RAW_PROBLEM),
        *(columns.as_text(part[name]) for name in names),
    )
