"""Read a file of calls: CSV, JSON lines or Parquet, in the encodings call platforms export, under any column names."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from data_contracts.errors import ContractViolation
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


class Raw(NamedTuple):
    """One record: its number as a person counts it, its cells by column name, and what is wrong with its shape."""

    row: int
    cells: dict[str, object]
    problem: Problem | None = None


def read(path: Path, mapping: Mapping[str, str]) -> "pl.DataFrame":
    """Every record of the file, under the contract's column names, as text.

    Columns: `row` (the number a spreadsheet or editor shows: CSV counts records with the header as 1, JSONL lines,
    Parquet records), `problem` (`code|detail` where the record has no readable shape), and the recognised columns the
    file has; turns become `input_text`, a line a turn.

    Args:
        mapping: contract name to column name, for columns that have another name in the file.

    Raises:
        ContractViolation: no such file, no records, not the format its name says, or a needed column is missing.
        ConfigurationError: the mapping names what neither the contract nor the file has.
    """
    if not path.is_file():
        raise ContractViolation(
            f"{path} does not exist or is no file; give a CSV, JSONL or Parquet file of labelled calls"
        )
    if path.stat().st_size == 0:
        raise ContractViolation(f"{path} is empty; it needs a call a row, with a text and a category")
    kind = _kind(path)
    table = _parquet(path) if kind == "parquet" else _table(_csv(path) if kind == "csv" else _jsonl(path))
    if table.height == 0:
        raise ContractViolation(f"{path} has a header and no rows; it needs a call a row, with a text and a category")
    return columns.under_contract(table, mapping, path)


def _kind(path: Path) -> str:
    with path.open("rb") as f:
        start = f.read(4)
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


def _table(records: Iterator[Raw]) -> "pl.DataFrame":
    """Records as text columns, those of all records together, missing cells null."""
    import polars as pl

    cells: dict[str, list[str | None]] = {}
    rows: list[int] = []
    problems: list[str | None] = []
    for at, record in enumerate(records):
        rows.append(record.row)
        problems.append(record.problem.text if record.problem else None)
        for name, value in record.cells.items():
            column = cells.setdefault(name, [])
            column += [None] * (at - len(column))
            column.append(columns.plain(value))
    padded = {name: column + [None] * (len(rows) - len(column)) for name, column in cells.items()}
    schema = dict.fromkeys(padded, pl.String)
    table = pl.DataFrame(padded, schema=schema, height=len(rows))
    return table.select(
        pl.Series(columns.RAW_ROW, rows, pl.Int64), pl.Series(columns.RAW_PROBLEM, problems, pl.String), pl.all()
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


def _parquet(path: Path) -> "pl.DataFrame":
    import polars as pl

    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ContractViolation(
            f"{path} starts like Parquet but cannot be read; it may be cut short. Export it again"
        ) from error
    texts = [columns.as_text(table[name]) for name in table.columns]
    return pl.DataFrame(
        [
            pl.Series(columns.RAW_ROW, range(1, table.height + 1), pl.Int64),
            pl.Series(columns.RAW_PROBLEM, [None] * table.height, pl.String),
            *texts,
        ]
    )
