"""Read Parquet whose few bytes may stand for any number of rows: what it unpacks to is known before it is unpacked."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.errors import ContractViolation
from tasks import columns
from tasks.records import MAX_CELL_CHARS

if TYPE_CHECKING:
    import polars as pl

SMALL_BYTES = 1 << 30
"""What may always be unpacked."""
MAX_RATIO = 100  # text unpacks to 5 to 20 times the size of its file
MAX_VALUES_PER_ROW = 10_000
SMALL_VALUES = 50_000_000
REPEATED_BYTES = 64  # a value; fewer are no texts of their own
PLACES, FEW = 65_536, 256


def read(
    path: Path, asked: Callable[[str], bool], texts: Collection[str], max_rows: int
) -> tuple["pl.DataFrame", list[str]]:
    """The columns asked for, and the names of all.

    Raises:
        ContractViolation: cut short, encrypted, a column twice, too many rows, or it unpacks to far more than its size.
    """
    import polars as pl

    metadata = _metadata(path)
    names = [metadata.schema.to_arrow_schema().field(at).name for at in range(len(metadata.schema.to_arrow_schema()))]
    columns.checked_header(names, path)
    wanted = [name for name in names if asked(name)]
    if metadata.num_rows > max_rows:
        raise too_many(path, max_rows, metadata.num_rows)
    _require_small(path, metadata, wanted)
    try:
        table = pl.read_parquet(path, columns=wanted)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _unreadable(path) from error
    for name in wanted:
        _require_text(path, table[name], name in texts)
    return table, names


def head(path: Path, rows: int) -> list[Mapping[str, object]]:
    """The first rows of every column."""
    import polars as pl

    return list(pl.read_parquet(path, n_rows=rows).iter_rows(named=True))


def too_many(path: Path, most: int, rows: int | None = None) -> ContractViolation:
    """What to say of a file of too many rows."""
    has = f"{rows:,}" if rows else f"more than {most:,}"
    return ContractViolation(
        f"{path} has {has} rows, at most {most:,} are read at a time; submit it in parts, then ./tingsu datasets merge"
    )


def _metadata(path: Path) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_metadata(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> ContractViolation:
    return ContractViolation(f"{path} starts like Parquet but cannot be read; it may be cut short. Export it again")


def _require_small(path: Path, metadata: Any, wanted: Collection[str]) -> None:
    """Refuse by what the file says of itself, and by what its repeated values come to."""
    chunks = [
        metadata.row_group(g).column(c) for g in range(metadata.num_row_groups) for c in range(metadata.num_columns)
    ]
    asked = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in wanted]
    _require_ratio(path, sum(chunk.total_uncompressed_size for chunk in asked))
    values = max((chunk.num_values for chunk in asked), default=0)
    if values > SMALL_VALUES and values > MAX_VALUES_PER_ROW * metadata.num_rows:
        raise ContractViolation(
            f"{path}: a column holds {values:,} values in {metadata.num_rows:,} rows; no call has so many turns. Export it again"
        )
    sizes: dict[str, tuple[int, int]] = {}
    for chunk in asked:
        bytes_, values = sizes.get(chunk.path_in_schema, (0, 0))
        sizes[chunk.path_in_schema] = (bytes_ + chunk.total_uncompressed_size, values + chunk.num_values)
    for column, (bytes_, values) in sizes.items():
        if bytes_ * values > SMALL_BYTES:  # what it comes to if every value were the longest
            _require_ratio(path, _unpacked(path, column, is_repeated=bytes_ < REPEATED_BYTES * values))


def _unpacked(path: Path, column: str, is_repeated: bool) -> int:
    """How many bytes of text a column holds, or the first count beyond what is allowed.

    Args:
        is_repeated: keep its distinct values apart from their places, which takes no memory where there are few.
    """
    from pyarrow import parquet

    most, total = max(SMALL_BYTES, MAX_RATIO * path.stat().st_size), 0
    with parquet.ParquetFile(path, read_dictionary=[column] if is_repeated else None) as file:
        for batch in file.iter_batches(batch_size=PLACES if is_repeated else FEW, columns=[column]):
            total += sum(_arrow_bytes(cells) for cells in batch.columns)
            if total > most:
                break
    return total


def _arrow_bytes(cells: Any) -> int:
    import pyarrow as pa
    from pyarrow import compute

    if isinstance(cells, pa.DictionaryArray):
        lengths = compute.binary_length(cells.dictionary).cast(pa.int64())
        return compute.sum(lengths.take(cells.indices.drop_null())).as_py() or 0
    if pa.types.is_nested(cells.type):
        inner = cells.flatten()
        return sum(map(_arrow_bytes, inner)) if isinstance(inner, list) else _arrow_bytes(inner)
    if pa.types.is_string(cells.type) or pa.types.is_binary(cells.type):
        return compute.sum(compute.binary_length(cells).cast(pa.int64())).as_py() or 0
    return 0


def _require_text(path: Path, cells: "pl.Series", is_text: bool) -> None:
    """Refuse by what is in a column."""
    import polars as pl

    if is_text and isinstance(cells.dtype, (pl.List, pl.Array, pl.Struct)):
        raise ContractViolation(
            f"{path}: column {columns.shown(cells.name)} holds lists or structures, not texts; a list of turns is mapped with "
            f"--map turns=COLUMN"
        )
    total, longest = _text_bytes(cells)
    if longest > 4 * MAX_CELL_CHARS:
        raise ContractViolation(
            f"{path}: column {columns.shown(cells.name)} has a cell of {longest:,} bytes; at most {MAX_CELL_CHARS:,} characters are read"
        )
    _require_ratio(path, total)


def _require_ratio(path: Path, unpacked: int) -> None:
    size = path.stat().st_size
    if unpacked > max(SMALL_BYTES, MAX_RATIO * size):
        raise ContractViolation(
            f"{path} has {size:,} bytes and unpacks to {unpacked:,} or more; at most {MAX_RATIO} times its size is read, and calls "
            "never come near. Export it again"
        )


def _text_bytes(cells: "pl.Series") -> tuple[int, int]:
    """How many bytes of text there are in a column, and in its longest cell; of turns the longest text."""
    import polars as pl

    if isinstance(cells.dtype, (pl.List, pl.Array)):
        return _text_bytes(cells.explode())
    if isinstance(cells.dtype, pl.Struct):
        parts = [_text_bytes(cells.struct.field(f.name)) for f in cells.dtype.fields]
        return sum(total for total, _ in parts), max((longest for _, longest in parts), default=0)
    if cells.dtype not in (pl.String, pl.Binary):
        return 0, 0
    lengths = cells.str.len_bytes() if cells.dtype == pl.String else cells.bin.size()
    return int(lengths.cast(pl.Int64).sum()), int(lengths.max() or 0)
