"""Mend Parquet into Parquet: the same columns of the same types, some rows at a time, whatever the size of the file.

Only texts and lists of turns are mended: a number, a date or a truth value in a column of its own type means one thing already.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import columns, mend_rows, unpacking
from tasks.changes import Change, Changes, Stood
from tasks.mend_rows import Plan
from tasks.records import Raw

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 10_000  # at a time, and in each row group that is written


def written(path: Path) -> list[str]:
    """The names of the columns as they stand there.

    Raises:
        ContractViolation: cut short, or a column twice.
    """
    return unpacking.names_of(path, unpacking.metadata_of(path))


def header(path: Path) -> list[str]:
    """The names as they are to be.

    Raises:
        ContractViolation: as `written`, more than memory should hold, or two names differ in nothing that anybody sees.
    """
    metadata = unpacking.metadata_of(path)
    unpacking.require_small(path, metadata, unpacking.chunks(path, metadata, written(path)))
    return columns.checked_header([columns.tidy(name) for name in written(path)], path)


def records_of(path: Path) -> Iterator[Raw]:
    """The records, with their texts and lists."""
    with _readable(path):
        for first, batch in _batches(path):
            yield from _records(batch, first)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Within it, a cell that is no text or no moment makes the file one that cannot be read."""
    try:
        yield
    except (UnicodeDecodeError, OverflowError) as error:
        raise unpacking.unreadable(path) from error


def _comparable(column: "pa.Array[Any]") -> "pa.Array[Any]":
    """What its cells are told apart by: of moments the numbers, which Python reads whatever year or zone they name."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_date32(kind):
        return column.cast(pa.int32())
    is_number = pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_date64(kind)
    return column.cast(pa.int64()) if is_number else column


def write(out: Path, path: Path, plan: Plan, changes: Changes) -> Counter[str]:
    """Every record, mended, in its order; one that stood before, whole and equal, is listed instead. How many there were, `in`, and
    how many were written, `out`."""
    import pyarrow as pa
    from pyarrow import parquet

    counts, stood = Counter[str](), Stood()
    schema = parquet.read_schema(path)
    named = pa.schema([field.with_name(name) for field, name in zip(schema, plan.header, strict=True)], schema.metadata)
    with _readable(path), parquet.ParquetWriter(out, named, compression="zstd") as writer:
        for first, batch in _batches(path):
            made, found = _mended(batch, first, plan)
            keep, alike = [], [_comparable(column) for column in made.columns]
            for at, own in enumerate(found):
                digest = hashlib.sha256(repr([column[at].as_py() for column in alike]).encode()).digest()[:16]
                earlier = stood.first(digest, first + at)
                keep.append(earlier is None)
                duplicate = (first + at, "row", "mended_duplicate", f"equal to row {earlier}", "")
                changes.add(own if earlier is None else [duplicate])
            counts["in"] += batch.num_rows
            counts["out"] += sum(keep)
            if any(keep):
                writer.write_table(_kept(made, keep), ROWS)
    return counts


def _kept(batch: "pa.RecordBatch", keep: list[bool]) -> "pa.Table":
    """The rows that are kept, in runs: every type can be sliced, but not every type (views of strings) filtered."""
    import pyarrow as pa

    runs, at = [], 0
    for is_kept, run in groupby(keep):
        length = len(list(run))
        if is_kept:
            runs.append(batch.slice(at, length))
        at += length
    return pa.Table.from_batches(runs, batch.schema)


def _batches(path: Path) -> "Iterator[tuple[int, pa.RecordBatch]]":
    """Some rows at a time, their columns named as they are to be, and the number of the first of them."""
    import pyarrow
    from pyarrow import parquet

    first, names = 1, header(path)
    try:
        with parquet.ParquetFile(path, buffer_size=unpacking.BUFFER_BYTES) as file:
            for batch in file.iter_batches(batch_size=ROWS):
                yield first, batch.rename_columns(names)
                first += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        raise unpacking.unreadable(path) from error


def _records(batch: "pa.RecordBatch", first: int) -> Iterator[Raw]:
    cells = {
        name: column.to_pylist()
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if _is_mendable(column.type)
    }
    for at in range(batch.num_rows):
        yield Raw(first + at, {name: values[at] for name, values in cells.items()})


def _mended(batch: "pa.RecordBatch", first: int, plan: Plan) -> "tuple[pa.RecordBatch, list[list[Change]]]":
    """The batch with its mended columns, and the changes of each row."""
    import pyarrow as pa

    made: dict[str, list[object]] = {}
    found: list[list[Change]] = []
    for record in _records(batch, first):
        cells, own = mend_rows.cells_of(record, plan)
        found.append(own)
        for name, value in cells.items():
            made.setdefault(name, []).append(value)
    touched = {name for name, values in made.items() if values != batch.column(name).to_pylist()}
    arrays = [
        _array(made[field.name], field.type) if field.name in touched else batch.column(field.name)
        for field in batch.schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema), found


def _array(values: list[object], kind: Any) -> "pa.Array[Any]":
    """The values as the type their column has."""
    import pyarrow as pa

    return pa.array(values, kind)


def _is_mendable(kind: Any) -> bool:
    import pyarrow as pa

    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    of = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_list,
        pa.types.is_large_list,
    )
    return any(is_one(inner) for is_one in of)
