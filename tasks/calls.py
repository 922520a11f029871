"""The table of calls that datasets, sides and the gold set are stored as."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import polars as pl
    from pyarrow.parquet import ParquetWriter

CALLS = "calls.parquet"
ROWS = 32_768  # of a row group, which is what is held of a table that is read or written in parts: 10 to 30 MB of text
ABOUT = ("input_text", "complaint_category", "confidence_score", "started_at", "channel", "region")
COLUMNS = ("conversation_id", "group", *ABOUT)


class Digest:
    """SHA-256 over the rows of a calls table, in their order; the table may come in parts."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, calls: "pl.DataFrame") -> None:
        """The next rows."""
        for row in calls.select(COLUMNS).iter_rows():
            self._digest.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def __str__(self) -> str:
        return self._digest.hexdigest()


def content_digest(calls: "pl.DataFrame") -> str:
    """SHA-256 over the rows of a calls table, in their order."""
    digest = Digest()
    digest.add(calls)
    return str(digest)


def read(path: Path, columns: "Sequence[str]" = COLUMNS) -> "Iterator[pl.DataFrame]":
    """A calls table in parts of at most `ROWS` rows, in order. (The streaming engine of Polars reads 128 row groups ahead.)"""
    import polars as pl

    calls = pl.scan_parquet(path).select(columns)
    for start in range(0, int(calls.select(pl.len()).collect().item()), ROWS):
        yield calls.slice(start, ROWS).collect()


def write(path: Path, parts: "Iterable[pl.DataFrame]") -> None:
    """A calls table of several parts, in a file that is read in parts too; none is held once it is written."""
    with Table(path) as table:
        for part in parts:
            table.add(part)


class Table:
    """A calls table that grows part by part; a file with the first part, none without."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: ParquetWriter | None = None

    def __enter__(self) -> "Table":
        return self

    def add(self, part: "pl.DataFrame") -> None:
        """The next rows, which are not held."""
        import polars as pl
        from pyarrow.parquet import ParquetWriter

        table = part.to_arrow(compat_level=pl.CompatLevel.oldest())
        self._writer = self._writer or ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=ROWS)

    def __exit__(self, *error: object) -> None:
        if self._writer:
            self._writer.close()


def compact(calls: "pl.DataFrame") -> "pl.DataFrame":
    """The same rows alone; what Polars filters or gathers keeps the texts of all rows that it was taken from."""
    import polars as pl

    made = pl.from_arrow(calls.to_arrow(compat_level=pl.CompatLevel.oldest()))
    return made if isinstance(made, pl.DataFrame) else made.to_frame()


def own_group(conversation_id: str) -> str:
    """The group of a call whose customer nobody knows."""
    return hashlib.sha256(f"conversation {conversation_id}".encode()).hexdigest()[:16]
