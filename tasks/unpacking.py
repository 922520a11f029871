"""What a Parquet file unpacks to, known before it is unpacked: its few bytes may stand for any number of rows, and for any text."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from data_contracts.errors import ContractViolation
from data_contracts.messages import told
from tasks import columns, pages
from tasks.records import MAX_CELL_CHARS

SMALL_BYTES = 1 << 30
"""What may always be unpacked."""
MAX_RATIO = 100  # text unpacks to 5 to 20 times the size of its file
MAX_VALUES_PER_ROW = 10_000
SMALL_VALUES = 50_000_000
LONG_BYTES = 4 * MAX_CELL_CHARS
MAX_PAGE_BYTES = 256 << 20
"""Writers make pages of a megabyte; some, a page a row group of a hundred thousand texts."""
MAX_FOOTER_BYTES = 64 << 20
BUFFER_BYTES = 1 << 20
REPEATED_BYTES = 64  # a value; fewer are no texts of their own
PLACES, FEW = 65_536, 256


def metadata_of(path: Path) -> Any:
    """What the file says of itself.

    Raises:
        ContractViolation: cut short, encrypted, or no Parquet.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with path.open("rb") as file:
            file.seek(-8, os.SEEK_END)
            footer, is_whole = int.from_bytes(file.read(4), "little"), file.read() == b"PAR1"
        if is_whole and footer > MAX_FOOTER_BYTES:
            raise ContractViolation(told("parquet_footer", path=path, bytes=footer, most=MAX_FOOTER_BYTES))
        return parquet.read_metadata(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise unreadable(path) from error


def unreadable(path: Path) -> ContractViolation:
    """What to say of a file that only begins like Parquet."""
    return ContractViolation(told("parquet_broken", path=path))


def names_of(path: Path, metadata: Any) -> list[str]:
    """The columns.

    Raises:
        ContractViolation: one stands there twice.
    """
    schema = metadata.schema.to_arrow_schema()
    names = [field.name for field in schema]
    columns.checked_header(names, path)
    return names


class Chunk(NamedTuple):
    """A column of a row group, by its pages. `unpacked`: bytes; `longest`: of the largest page, which no value exceeds."""

    group: int
    column: str
    unpacked: int
    values: int
    longest: int
    in_dictionary: bool
    least: int

    @property
    def may_be_long(self) -> bool:
        """Whether a text in it may be longer than is read."""
        return self.longest > LONG_BYTES


def chunks(path: Path, metadata: Any, wanted: Collection[str]) -> list[Chunk]:
    """Every chunk of these columns.

    Raises:
        ContractViolation: there are no pages where the file says so.
    """
    with path.open("rb") as file:
        return [
            _chunk(path, file, metadata.row_group(group).column(at), group)
            for group in range(metadata.num_row_groups)
            for at in range(metadata.num_columns)
            if metadata.row_group(group).column(at).path_in_schema.split(".")[0] in wanted
        ]


def _chunk(path: Path, file: BinaryIO, told: Any, group: int) -> Chunk:
    starts = [
        at for at in (told.dictionary_page_offset, told.data_page_offset) if at
    ]  # without rows there are no data, at 0
    try:
        found = list(pages.of(file, min(starts, default=0), told.total_compressed_size if starts else 0))
    except ValueError as error:
        raise unreadable(path) from error
    largest = max(found, key=lambda page: page.unpacked, default=pages.Page(False, 0, 0))
    counts = [page.values for page in found if not page.is_dictionary]
    return Chunk(
        group,
        told.path_in_schema,
        sum(page.unpacked for page in found),
        max(told.num_values, sum(counts)),
        largest.unpacked,
        largest.is_dictionary,
        max(1, min(counts[:-1] or counts or [1])),  # the last page may well be a small one
    )


def require_small(path: Path, metadata: Any, asked: Sequence[Chunk]) -> None:
    """Refuse by the pages there are, before any of them is unpacked, and by what repeated values come to.

    Raises:
        ContractViolation: more than memory should hold: in all, in a page, in a text, in a row.
    """
    require_ratio(path, sum(chunk.unpacked for chunk in asked))
    values = max((chunk.values for chunk in asked), default=0)
    if values > SMALL_VALUES and values > MAX_VALUES_PER_ROW * metadata.num_rows:
        raise ContractViolation(told("parquet_values", path=path, values=values, rows=metadata.num_rows))
    for chunk in asked:
        _require_short(path, metadata, chunk)
    sizes: dict[str, tuple[int, int]] = {}
    for chunk in asked:
        bytes_, values = sizes.get(chunk.column, (0, 0))
        sizes[chunk.column] = (bytes_ + chunk.unpacked, values + chunk.values)
    for column, (bytes_, values) in sizes.items():
        if bytes_ * values > SMALL_BYTES:  # what it comes to if every value were the longest
            require_ratio(path, _unpacked(path, column, is_repeated=bytes_ < REPEATED_BYTES * values))


def _require_short(path: Path, metadata: Any, chunk: Chunk) -> None:
    """Refuse a page that memory should not hold, and a text that nobody reads, when it alone is unpacked."""
    if chunk.longest > MAX_PAGE_BYTES:
        name, bounds = columns.shown(chunk.column), {"most": MAX_PAGE_BYTES, "most_chars": MAX_CELL_CHARS}
        raise ContractViolation(told("parquet_page", path=path, name=name, bytes=chunk.longest, **bounds))
    if chunk.may_be_long:
        require_readable(path, chunk.column, _longest(path, metadata, chunk))


def _longest(path: Path, metadata: Any, chunk: Chunk) -> int:
    """Bytes of the longest text in a chunk, or of the first that is too long; no more than about two pages are held at a time."""
    import pyarrow
    from pyarrow import parquet

    rows, most = metadata.row_group(chunk.group).num_rows, 0
    step = 1 if chunk.in_dictionary else max(1, chunk.least * rows // max(chunk.values, 1))
    apart = [chunk.column] if chunk.in_dictionary else None  # each distinct text once, however often it stands there
    try:
        with parquet.ParquetFile(path, read_dictionary=apart, buffer_size=BUFFER_BYTES) as file:
            for batch in file.iter_batches(batch_size=step, row_groups=[chunk.group], columns=[chunk.column]):
                most = max(most, *(_longest_of(cells) for cells in batch.columns))
                if most > LONG_BYTES or chunk.in_dictionary:
                    break
    except (pyarrow.ArrowException, OSError) as error:
        raise unreadable(path) from error
    return most


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
    if _is_text(cells.type):
        return compute.sum(compute.binary_length(cells).cast(pa.int64())).as_py() or 0
    return 0


def _longest_of(cells: Any) -> int:
    """Bytes of the longest text in an Arrow array, however deep."""
    import pyarrow as pa
    from pyarrow import compute

    if isinstance(cells, pa.DictionaryArray):
        return _longest_of(cells.dictionary)
    if pa.types.is_nested(cells.type):
        inner = cells.flatten()
        return max(map(_longest_of, inner), default=0) if isinstance(inner, list) else _longest_of(inner)
    if _is_text(cells.type):
        return compute.max(compute.binary_length(cells)).as_py() or 0
    return 0


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    of = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)
    return any(is_one(kind) for is_one in of)


def require_ratio(path: Path, unpacked: int) -> None:
    size = path.stat().st_size
    if unpacked > max(SMALL_BYTES, MAX_RATIO * size):
        raise ContractViolation(told("parquet_bomb", path=path, size=size, unpacked=unpacked, ratio=MAX_RATIO))


def require_readable(path: Path, column: str, longest: int) -> None:
    if longest > LONG_BYTES:
        said = told("cell_too_long", path=path, name=columns.shown(column), bytes=longest, most_chars=MAX_CELL_CHARS)
        raise ContractViolation(said)
