"""Read a file of calls: CSV, JSON lines or Parquet, in the encodings call platforms export, under any column names."""

import stat
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data_contracts.errors import ConfigurationError, ContractViolation
from deploy.store import sha256_file
from tasks import columns, packed, records, suggest
from tasks.columns import Problem
from tasks.records import Raw

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
WORKBOOK = "is an Excel workbook or an archive; save the sheet as 'CSV UTF-8' and submit that"
FOREIGN = {  # how other files begin
    b"PK\x03\x04": WORKBOOK,
    b"PK\x05\x06": WORKBOOK,
    b"\xd0\xcf\x11\xe0": WORKBOOK,
    b"\x1f\x8b": "is a gzip archive; unpack it (gunzip) and submit what is in it",
    b"BZh": "is a bzip2 archive; unpack it (bunzip2) and submit what is in it",
    b"\xfd7zXZ": "is an xz archive; unpack it (unxz) and submit what is in it",
    b"\x28\xb5\x2f\xfd": "is a zstd archive; unpack it (unzstd) and submit what is in it",
    b"7z\xbc\xaf": "is a 7z archive; unpack it and submit what is in it",
    b"Rar!": "is a RAR archive; unpack it and submit what is in it",
    b"%PDF": "is a PDF; export the calls as CSV, JSONL or Parquet",
    b"SQLite format": "is an SQLite database; export its table as CSV",
    b"ORC": "is an ORC file; export the calls as Parquet",
    b"Obj\x01": "is an Avro file; export the calls as Parquet",
    b"{\\rtf": "is a text document (RTF); export the calls as CSV, JSONL or Parquet",
}
PAGES = (b"<html", b"<!doctype", b"<?xml", b"<table")
PART = 10_000
"""Records read, cleaned and masked at a time."""
MAX_ROWS = 5_000_000
SAMPLE_ROWS = 200


class File(NamedTuple):
    """A file's records as text, in parts that may lack columns that only other parts have, and all its column names."""

    parts: "deque[pl.DataFrame]"
    columns: list[str]


def read(
    path: Path, mapping: Mapping[str, str], categories: Collection[str] = (), needed: Sequence[str] = suggest.NEEDED
) -> Iterator["pl.DataFrame"]:
    """Every record of the file, `PART` at a time, under the contract's column names, as text.

    Columns, the same in every part: `row` (the number a spreadsheet or editor shows: CSV counts records with the header as
    1, JSONL lines, Parquet records), `problem` (`code|detail` where the record has no readable shape), and the recognised
    columns the file has.

    Args:
        mapping: contract name to column name, for columns that have another name in the file.
        categories: words that are a category even where they look like an empty cell ("none").
        needed: columns that the file must have; `turns` are an `input_text` too.

    Raises:
        ContractViolation: no records, too many, not the format its name says, changed meanwhile, or a needed column is
            missing.
        ConfigurationError: no such file, or the mapping names what neither the contract nor the file has.
    """
    kind = kind_of(path)
    before = state(path)
    file = _parquet(path, mapping) if kind == "parquet" else _tables(raw(path, kind), mapping, path)
    if not any(part.height for part in file.parts):
        raise ContractViolation(f"{path} has a header and no rows; it needs a call a row, with a text and a category")
    sources = _sources(path, kind, file.columns, mapping, needed)
    require_unchanged(path, before)
    return columns.under_contract((file.parts.popleft() for _ in range(len(file.parts))), sources, categories)


def require_columns(path: Path, mapping: Mapping[str, str]) -> None:
    """Return if the file is one of calls and, where its header alone tells (CSV), has the columns that are needed.

    Raises:
        ContractViolation, ConfigurationError: as `read` would, but in a moment.
    """
    kind = kind_of(path)
    if kind == "csv":
        _sources(path, kind, records.of_csv(path)[0], mapping, suggest.NEEDED)


def _sources(
    path: Path, kind: str, names: Sequence[str], mapping: Mapping[str, str], needed: Sequence[str]
) -> dict[str, str]:
    """Contract name to column of the file; none that is needed is missing."""
    sources = columns.sources(names, mapping, path)
    lacking = suggest.missing(names, sources, lambda: sample(path, kind), path, needed)
    if lacking:
        raise ContractViolation(lacking)
    return sources


def kind_of(path: Path) -> str:
    """`csv`, `jsonl` or `parquet`, by a look at its name and first bytes.

    Raises:
        ConfigurationError: no such file, no ordinary one, or not to be read.
        ContractViolation: empty, or none of the three.
    """
    needed = "give the path of a CSV, JSONL or Parquet file of labelled calls"
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait, reading a device might never end
            what = "it is a folder" if path.is_dir() else "it is a pipe or a device, not a file"
            raise ConfigurationError(f"file {str(path)!r} cannot be read: {what}; {needed}")
        with path.open("rb") as f:
            start = f.read(64)
    except (OSError, ValueError) as error:  # a path may hold a zero, which no file's has
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"file {str(path)!r} cannot be read: {reason}; {needed}") from error
    if not start:
        raise ContractViolation(f"{path} is empty; it needs a call a row, with a text and a category")
    if start.startswith(b"PAR1"):
        return "parquet"
    for mark, what in FOREIGN.items():
        if start.startswith(mark):
            raise ContractViolation(f"{path} {what}")
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(PAGES):
        raise ContractViolation(f"{path} is a web page or XML, as some platforms export 'Excel'; save it as CSV UTF-8")
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None or kind == "parquet":
        allowed = ", ".join(SUFFIXES)
        raise ContractViolation(
            f"{path}: its content is not Parquet and its name ends in {path.suffix or 'nothing'!r}; allowed: {allowed}"
        )
    return kind


def raw(path: Path, kind: str) -> Iterator[Raw]:
    """The records of a CSV or JSON lines."""
    return records.of_csv(path)[1] if kind == "csv" else records.of_jsonl(path)


def sample(path: Path, kind: str) -> list[Mapping[str, object]]:
    """The cells of the first records, of every column."""
    if kind == "parquet":
        return packed.head(path, SAMPLE_ROWS)
    return [record.cells for record in islice(raw(path, kind), SAMPLE_ROWS)]


class Seen(NamedTuple):
    """A file as it was when it was hashed."""

    digest: str
    state: tuple[int, int, int]


def see(path: Path) -> Seen:
    """The file's SHA-256, and what tells later whether it is still that file.

    Raises:
        ConfigurationError, ContractViolation: as `kind_of`.
    """
    kind_of(path)
    before = state(path)
    return Seen(sha256_file(path), before)


def state(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written to or replaced."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def require_unchanged(path: Path, before: tuple[int, int, int]) -> None:
    """Return if nobody wrote to the file since.

    Raises:
        ContractViolation: somebody did.
    """
    if state(path) != before:
        raise ContractViolation(f"{path} was changed while it was read; wait until it is whole, then submit it again")


def _tables(found: Iterator[Raw], mapping: Mapping[str, str], path: Path) -> File:
    """Records as text columns, missing cells null; a cell that nobody can ask for is not kept."""
    names: dict[str, None] = {}
    texts = columns.text_columns(mapping)
    parts: deque[pl.DataFrame] = deque()
    first: Problem | None = None
    while some := [_flat_text(record, texts) for record in islice(found, PART)]:
        names.update(dict.fromkeys(name for record in some for name in record.cells))
        first = first or next((record.problem for record in some if record.problem), None)
        parts.append(_table(some, [name for name in names if columns.is_readable(name, mapping)]))
        if len(parts) * PART > MAX_ROWS:
            raise packed.too_many(path, MAX_ROWS)
    if first and not names:
        raise ContractViolation(
            f"{path}: no line of it is a JSON object (the first fails as {first.code}, column {first.detail or 1}); write one "
            "object a line, with nothing before and after it"
        )
    return File(parts, list(names))


def _flat_text(record: Raw, texts: Collection[str]) -> Raw:
    """The record; one whose text is itself a structure has no readable shape."""
    nested = [name for name in texts if isinstance(record.cells.get(name), (list, dict))]
    if not nested:
        return record
    return record._replace(problem=Problem("nested_text", columns.shown(nested[0])))


def _table(some: Sequence[Raw], names: Sequence[str]) -> "pl.DataFrame":
    import polars as pl

    problems = [record.problem.text if record.problem else None for record in some]
    cells = {name: [columns.plain(record.cells.get(name)) for record in some] for name in names}
    return pl.DataFrame(
        [
            pl.Series(columns.RAW_ROW, [record.row for record in some], pl.Int64),
            pl.Series(columns.RAW_PROBLEM, problems, pl.String),
            *(pl.Series(name, values, pl.String) for name, values in cells.items()),
        ]
    )


def _parquet(path: Path, mapping: Mapping[str, str]) -> File:
    import polars as pl

    asked = partial(columns.is_readable, mapping=mapping)
    table, names = packed.read(path, asked, columns.text_columns(mapping), MAX_ROWS)
    numbered = table.with_row_index(columns.RAW_ROW, offset=1).with_columns(pl.col(columns.RAW_ROW).cast(pl.Int64))
    return File(deque(_as_text(part, table.columns) for part in numbered.iter_slices(PART)), names)


def _as_text(part: "pl.DataFrame", names: Sequence[str]) -> "pl.DataFrame":
    import polars as pl

    return part.select(
        columns.RAW_ROW,
        pl.lit(None, pl.String).alias(columns.RAW_PROBLEM),
        *(columns.as_text(part[name]) for name in names),
    )
