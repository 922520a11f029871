"""The pages of a Parquet column, by their own headers: what each unpacks to is known before any is unpacked.

The footer says how large a column is too, but it may say anything: a decoder goes by the pages. Headers are Thrift structures in the
compact protocol (parquet-format, PageHeader).
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MAX_PAGES = 1_000_000  # of one column of one row group; writers make pages of about a megabyte
MAX_DEPTH = 8
TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
KIND, UNPACKED, PACKED = 1, 2, 3  # fields of a page header
DICTIONARY = 2  # what `KIND` is of a dictionary
OF_KIND = (5, 7, 8)  # the fields that hold, first of all, the number of values: data, dictionary, data of version 2


class Page(NamedTuple):
    """`unpacked` in bytes."""

    is_dictionary: bool
    unpacked: int
    values: int


def of(file: BinaryIO, start: int, length: int) -> Iterator[Page]:
    """The pages in `length` bytes from `start`; what is in them is not read.

    Raises:
        ValueError: there is something else, or no end of pages.
    """
    at, end = start, start + length
    for _ in range(MAX_PAGES):
        if at >= end:
            return
        file.seek(at)
        found = _struct(file, 0)
        sizes = [found.get(UNPACKED), found.get(PACKED)]
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise ValueError("a page without a size")
        values = next((own[1] for name in OF_KIND if isinstance(own := found.get(name), dict) and 1 in own), 0)
        yield Page(found.get(KIND) == DICTIONARY, int(str(sizes[0])), values if isinstance(values, int) else 0)
        at = file.tell() + int(str(sizes[1]))
    raise ValueError("pages without end")


def _struct(file: BinaryIO, depth: int) -> dict[int, object]:
    """Numbers and structures by field number; everything else is passed over."""
    found: dict[int, object] = {}
    name = 0
    while head := _byte(file):
        name = name + (head >> 4) if head >> 4 else _zigzag(file)
        found[name] = _value(file, head & 15, depth)
    return found


def _value(file: BinaryIO, kind: int, depth: int) -> object:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if kind in (TRUE, FALSE):
        return kind == TRUE
    if BYTE < kind < DOUBLE:  # integers of 16, 32 and 64 bits
        return _zigzag(file)
    if kind == STRUCT:
        return _struct(file, depth + 1)
    if kind in (LIST, SET):
        head = _byte(file)
        for _ in range(_bounded(_varint(file) if head >> 4 == 15 else head >> 4)):
            _element(file, head & 15, depth)
    elif kind == MAP:
        size = _bounded(_varint(file))
        kinds = _byte(file) if size else 0
        for _ in range(size):
            _element(file, kinds >> 4, depth)
            _element(file, kinds & 15, depth)
    elif kind in (BYTE, DOUBLE, BINARY):
        file.seek({BYTE: 1, DOUBLE: 8}.get(kind) or _varint(file), 1)
    else:
        raise ValueError("no such type")
    return None


def _element(file: BinaryIO, kind: int, depth: int) -> None:
    """Of a list or map, where a truth value takes a byte."""
    _value(file, BYTE if kind in (TRUE, FALSE) else kind, depth + 1)


def _bounded(size: int) -> int:
    if size > MAX_PAGES:
        raise ValueError("a list without end")
    return size


def _zigzag(file: BinaryIO) -> int:
    number = _varint(file)
    return (number >> 1) ^ -(number & 1)


def _varint(file: BinaryIO) -> int:
    number = 0
    for shift in range(0, 70, 7):
        byte = _byte(file)
        number |= (byte & 127) << shift
        if byte < 128:
            return number
    raise ValueError("a number without end")


def _byte(file: BinaryIO) -> int:
    read = file.read(1)
    if not read:
        raise ValueError("cut short")
    return read[0]
