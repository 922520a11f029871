"""Which encoding a text file is in, decided over the whole of it: a GBK export may be ASCII for megabytes."""

import codecs
import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from data_contracts.errors import ContractViolation
from data_contracts.messages import Said, told

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MIXED = "mixed"
TWICE = {"twice utf-8": "utf-8", "twice gb2312": "gb2312"}
"""What was read as a Western encoding and saved as UTF-8, and what it was before."""
CHUNK = 1 << 20
MAX_LINE_CHARS = 10_000_000
UTF16_ZERO_SHARE = 0.005  # of the first megabyte; a comma or line end in 200 characters
TELLING = 3  # Chinese characters in a line of UTF-8; GBK is never UTF-8 with so many by chance
MOST = 0.9  # of the lines; some hold characters beyond GB2312
EVIDENT = 8  # Chinese characters behind Western ones; pairs of accented letters may look like one or two
_CHINESE = range(0x4E00, 0xA000)
# Bytes 80 to 9F stand for other characters in Windows' Western encoding, but five of them for nothing.
_WESTERN = {ord(bytes([b]).decode("cp1252", "ignore") or chr(b)): b for b in range(0x80, 0xA0)}


def detect(path: Path) -> str:
    """A codec's name (`gb18030` includes GBK and GB2312), `MIXED`, or a key of `TWICE`.

    Raises:
        ContractViolation: none of them; names the first byte that fits neither.
    """
    now = path.stat()
    return _detected(path, (now.st_ino, now.st_size, now.st_mtime_ns))


@lru_cache(maxsize=8)
def _detected(path: Path, state: tuple[int, int, int]) -> str:
    """As `detect`, of a file that is still what it was: a reader asks up to five times."""
    with path.open("rb") as f:
        start = f.read(CHUNK)
    for mark, name in MARKS:
        if start.startswith(mark):
            return name
    if b"\0" in start and (unmarked := _with_zeros(path, start)):
        return unmarked
    utf8_fails_at = _fails_at(path, "utf-8")
    if utf8_fails_at is None:
        return _twice(start) or "utf-8"
    if _is_damaged_utf8(start):
        return "utf-8"
    gb_fails_at = _fails_at(path, "gb18030")
    lines = first_of_each(path)
    if gb_fails_at is None:
        return MIXED if "utf-8" in lines else "gb18030"
    if None not in lines and len(lines) == 2:
        return MIXED
    raise ContractViolation(told("encoding_unknown", path=path, utf8_at=utf8_fails_at, gb_at=gb_fails_at))


def lines(path: Path, mending: bool = False) -> Iterator[str]:
    """The file's lines, their ends untouched; lost bytes become U+FFFD, which the contract finds row by row.

    Args:
        mending: read what was encoded twice or in two encodings as it was meant, and keep lost bytes as surrogates.

    Raises:
        ContractViolation: no known encoding, one that only mending undoes, or a line of more than `MAX_LINE_CHARS`.
    """
    name = detect(path)
    if name == MIXED or name in TWICE:
        if not mending:
            raise ContractViolation(_unreadable(path, name))
        return _checked(_mixed(path) if name == MIXED else _undone(path, TWICE[name]), path)
    errors = "surrogateescape" if mending and name in ("utf-8", "utf-8-sig", "gb18030") else "replace"
    return _checked(_plain(path, name, errors), path)


def first_of_each(path: Path) -> dict[str | None, int]:
    """The first line that is UTF-8 Chinese, that is GB18030 only, and that is neither (None), as far as there are any."""
    found: dict[str | None, int] = {}
    with path.open("rb") as f:
        for at, line in enumerate(iter(lambda: f.readline(MAX_LINE_CHARS), b""), start=1):
            if not line.isascii():
                name = _line_encoding(line)
                if name != "":
                    found.setdefault(name, at)
    return found


def _line_encoding(line: bytes) -> str | None:
    """`utf-8`, `gb18030`, None for neither, empty where it may be either."""
    try:
        return "utf-8" if _chinese(line.decode()) >= TELLING else ""
    except UnicodeDecodeError:
        pass
    try:
        line.decode("gb18030")
    except UnicodeDecodeError:
        return None
    return "gb18030"


def _with_zeros(path: Path, start: bytes) -> str | None:
    """UTF-16 without its mark, or None for text that holds a few zeros.

    Raises:
        ContractViolation: no text at all.
    """
    low, high = start[1::2].count(0), start[::2].count(0)
    name, share = ("utf-16-le", low / len(start)) if low >= high else ("utf-16-be", high / len(start))
    if min(low, high) * 20 <= max(low, high) and share >= UTF16_ZERO_SHARE and _fails_at(path, name) is None:
        head = start[: len(start) // 2 * 2].decode(name, "replace")
        if any(c in head for c in "\r\n") and any(c in head for c in ',;\t|{"'):
            return name
    if (low + high) * 10 > len(start):
        raise ContractViolation(told("encoding_none", path=path, zeros=low + high, bytes=len(start)))
    return None


def _twice(start: bytes) -> str | None:
    """The key of `TWICE` for UTF-8 without any Chinese whose characters are the bytes of Chinese text."""
    text = start.decode("utf-8", "ignore")
    if text.isascii() or _chinese(text):
        return None
    foreign = [_western(line) for line in text.split("\n")[:-1] or [text] if not line.isascii()]
    for name, before in TWICE.items():
        meant = [_chinese(_decoded(line, before)) for line in foreign]
        if sum(meant) >= EVIDENT and sum(1 for n in meant if n) >= MOST * len(foreign):
            return name
    return None


def _decoded(line: bytes, name: str) -> str:
    try:
        return line.decode(name)
    except UnicodeDecodeError:
        return ""


def _western(text: str, errors: str = "replace") -> bytes:
    """The bytes that a Western encoding shows as this text."""
    return text.translate(_WESTERN).encode("latin-1", errors)


def _chinese(text: str) -> int:
    return sum(1 for c in text if ord(c) in _CHINESE)


def _plain(path: Path, name: str, errors: str) -> Iterator[str]:
    with path.open(encoding=name, errors=errors, newline="") as f:
        yield from iter(lambda: f.readline(MAX_LINE_CHARS + 1), "")


def _mixed(path: Path) -> Iterator[str]:
    with path.open("rb") as f:
        for line in iter(lambda: f.readline(MAX_LINE_CHARS + 1), b""):
            name = _line_encoding(line) or "utf-8"
            yield from io.StringIO(line.decode(name, "surrogateescape"), newline="")


def _undone(path: Path, before: str) -> Iterator[str]:
    for line in _plain(path, "utf-8", "surrogateescape"):
        try:
            yield _western(line, "strict").decode("gb18030" if before == "gb2312" else before)
        except UnicodeError:  # not of this kind, as it stands
            yield line


def _checked(some: Iterator[str], path: Path) -> Iterator[str]:
    for at, line in enumerate(some, start=1):
        if len(line) > MAX_LINE_CHARS:
            raise ContractViolation(told("line_endless", path=path, line=at, most=MAX_LINE_CHARS))
        yield line


def _unreadable(path: Path, name: str) -> Said:
    if name == MIXED:
        at = first_of_each(path)
        return told("encoding_mixed", path=path, utf8_line=at["utf-8"], gb_line=at["gb18030"])
    return told("encoding_twice", path=path, name=TWICE[name].upper())


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


def _is_damaged_utf8(start: bytes) -> bool:
    """Whether at most one character in a hundred of the first megabyte's non-ASCII ones is lost when read as UTF-8."""
    text = start.decode("utf-8", errors="replace")
    foreign = sum(1 for c in text if c > "\x7f")
    return foreign > 0 and text.count("\ufffd") * 100 <= foreign
