"""Read a file of calls: CSV, JSON lines or Parquet, in the encodings call platforms export, under any column names."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data_contracts.errors import ContractViolation
from data_contracts.messages import told
from tasks import columns, packed, records, submitted, suggest
from tasks.columns import Problem
from tasks.records import Raw

if TYPE_CHECKING:
    import polars as pl

PART = 10_000
"""Records read, cleaned and masked at a time."""
MAX_ROWS = 5_000_000
SAMPLE_ROWS = 200


class Calls:
    """A file's records, part after part, and what of the file is not in them."""

    def __init__(self, parts: Iterator["pl.DataFrame"], ignored: Sequence[str], likely: Mapping[str, str]) -> None:
        self._parts = parts
        self.ignored = tuple(ignored)
        """Columns that the contract does not know, as they may be shown."""
        self.likely = dict(likely)
        """Contract name to the one of them that by its name may be it."""

    def __iter__(self) -> Iterator["pl.DataFrame"]:
        return self._parts

    def __next__(self) -> "pl.DataFrame":
        return next(self._parts)


class File(NamedTuple):
    """A file's records as text, in parts that may lack columns that only other parts have, and all its column names."""

    parts: "deque[pl.DataFrame]"
    columns: list[str]


def read(
    path: Path, mapping: Mapping[str, str], categories: Collection[str] = (), needed: Sequence[str] = suggest.NEEDED
) -> Calls:
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
        WrongRequest: no such file, or the mapping names what neither the contract nor the file has.
    """
    kind = submitted.kind_of(path)
    before = submitted.state(path)
    file = _parquet(path, mapping) if kind == "parquet" else _tables(raw(path, kind), mapping, path)
    sources = _sources(path, kind, file.columns, mapping, needed) if file.columns else {}
    if not any(part.height for part in file.parts):
        raise ContractViolation(told("rows_none", path=path))
    submitted.require_unchanged(path, before)
    parts = columns.under_contract((file.parts.popleft() for _ in range(len(file.parts))), sources, categories)
    return Calls(parts, columns.unread(file.columns, sources), suggest.suggest(file.columns, sources, ()))


def require_columns(path: Path, mapping: Mapping[str, str]) -> None:
    """Return if the file is one of calls and, where its header alone tells (CSV), has the columns that are needed.

    Raises:
        ContractViolation, WrongRequest: as `read` would, but in a moment.
    """
    kind = submitted.kind_of(path)
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


def raw(path: Path, kind: str) -> Iterator[Raw]:
    """The records of a CSV or JSON lines."""
    return records.of_csv(path)[1] if kind == "csv" else records.of_jsonl(path)


def sample(path: Path, kind: str) -> list[Mapping[str, object]]:
    """The cells of the first records, of every column."""
    if kind == "parquet":
        return packed.head(path, SAMPLE_ROWS)
    return [record.cells for record in islice(raw(path, kind), SAMPLE_ROWS)]


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
        raise ContractViolation(told("json_none", path=path, problem=first.code, column=first.detail or 1))
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
