"""Which encoding a text file is in, decided over the whole of it: a GBK export may be ASCII for megabytes."""

import codecs
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TextIO

from data_contracts.errors import ContractViolation

MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
CHUNK = 1 << 20


def detect(path: Path) -> str:
    """`utf-8-sig`, `utf-16`, `utf-8` or `gb18030` (which includes GBK and GB2312).

    Raises:
        ContractViolation: none of them; names the first byte that fits neither.
    """
    with path.open("rb") as f:
        start = f.read(4)
    for mark, name in MARKS:
        if start.startswith(mark):
            return name
    utf8_fails_at = _fails_at(path, "utf-8")
    if utf8_fails_at is None:
        return "utf-8"
    gb_fails_at = _fails_at(path, "gb18030")
    if gb_fails_at is None:
        return "gb18030"
    if _is_damaged_utf8(path):
        return "utf-8"
    raise ContractViolation(
        f"{path} is neither UTF-8 (byte {utf8_fails_at}) nor GBK/GB18030 (byte {gb_fails_at}); "
        "save it as UTF-8 and submit again"
    )


def open_text(path: Path) -> AbstractContextManager[TextIO]:
    """The file as text, line ends untouched; lost bytes become U+FFFD, which the contract finds row by row."""
    return path.open(encoding=detect(path), errors="replace", newline="")


def _fails_at(path: Path, name: str) -> int | None:
    """The offset of the first byte that is not `name`, or None."""
    decoder = codecs.getincrementaldecoder(name)()
    offset = 0
    with path.open("rb") as f:
        while True:
            chunk = f.read(CHUNK)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                return max(0, offset + error.start)
            if not chunk:
                return None
            offset += len(chunk)


def _is_damaged_utf8(path: Path) -> bool:
    """Whether at most one character in a hundred of the first megabyte's non-ASCII ones is lost when read as UTF-8."""
    with path.open("rb") as f:
        text = f.read(CHUNK).decode("utf-8", errors="replace")
    foreign = sum(1 for c in text if c > "\x7f")
    return foreign > 0 and text.count("\ufffd") * 100 <= foreign
