"""Read Parquet, of which only so much is unpacked as a file of calls may hold."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.errors import ContractViolation
from data_contracts.messages import told
from tasks import columns, unpacking

if TYPE_CHECKING:
    import polars as pl


def read(
    path: Path, asked: Callable[[str], bool], texts: Collection[str], max_rows: int
) -> tuple["pl.DataFrame", list[str]]:
    """The columns asked for, and the names of all.

    Raises:
        ContractViolation: cut short, encrypted, a column twice, too many rows, or it unpacks to far more than its size.
    """
    import polars as pl

    metadata = unpacking.metadata_of(path)
    names = unpacking.names_of(path, metadata)
    wanted = [name for name in names if asked(name)]
    if metadata.num_rows > max_rows:
        raise too_many(path, max_rows, metadata.num_rows)
    unpacking.require_small(path, metadata, unpacking.chunks(path, metadata, wanted))
    try:
        table = pl.read_parquet(path, columns=wanted)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise unpacking.unreadable(path) from error
    for name in wanted:
        _require_text(path, table[name], name in texts)
    return table, names


def head(path: Path, rows: int) -> list[Mapping[str, object]]:
    """The first rows, of every column whose texts are no longer than is read; none where a cell cannot be read."""
    import polars as pl

    metadata = unpacking.metadata_of(path)
    names = unpacking.names_of(path, metadata)
    long = {chunk.column.split(".")[0] for chunk in unpacking.chunks(path, metadata, names) if chunk.may_be_long}
    try:
        first = pl.read_parquet(path, n_rows=rows, columns=[n for n in names if n not in long])
        return list(first.iter_rows(named=True))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OverflowError, OSError):
        return []  # what is missing is told by the names alone


def too_many(path: Path, most: int, rows: int | None = None) -> ContractViolation:
    """What to say of a file of too many rows."""
    has = (f"{rows:,}",) * 2 if rows else (f"more than {most:,}", f"超过 {most:,}")
    return ContractViolation(told("rows_too_many", path=path, has_en=has[0], has_zh=has[1], most=most))


def _require_text(path: Path, cells: "pl.Series", is_text: bool) -> None:
    """Refuse by what is in a column."""
    import polars as pl

    if is_text and isinstance(cells.dtype, (pl.List, pl.Array, pl.Struct)):
        raise ContractViolation(told("column_nested", path=path, name=columns.shown(cells.name)))
    total, longest = _text_bytes(cells)
    unpacking.require_readable(path, cells.name, longest)
    unpacking.require_ratio(path, total)


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
