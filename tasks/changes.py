"""What a mending keeps while it goes through a file of any length: the list of changes, on disk, and which rows stood before."""

from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from data_contracts.messages import say
from tasks import spreadsheet

if TYPE_CHECKING:
    import polars as pl

AT_ONCE = 10_000  # changes held
RECENT = 65_536  # rows held as Python values, of 200 bytes each
Change = tuple[int | None, str, str, str, str]
"""Row (None for the file), column, code, before, after; masked."""


class Changes:
    """The list, a CSV that opens in a spreadsheet, in the order they were found; `by_code`: how many of each."""

    def __init__(self, file: BinaryIO) -> None:
        self.by_code: Counter[str] = Counter()
        self._file, self._held, self._is_first = file, list[Change](), True

    def __enter__(self) -> "Changes":
        return self

    def add(self, changes: Iterable[Change]) -> None:
        """The next ones."""
        before = len(self._held)
        self._held += changes
        self.by_code.update(code for _, _, code, _, _ in self._held[before:])
        if len(self._held) >= AT_ONCE:
            self._write()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None and (self._held or self._is_first):
            self._write()

    def _write(self) -> None:
        table = spreadsheet.inert(_table(self._held))
        table.write_csv(self._file, include_bom=self._is_first, include_header=self._is_first)
        self._held, self._is_first = [], False


class Stood:
    """Which row first held what, by a digest of 16 bytes; 24 bytes a row."""

    def __init__(self, recent: int = RECENT) -> None:
        self._most, self._recent = recent, dict[bytes, int]()
        self._digests, self._rows = np.empty(0, "S16"), np.empty(0, np.int64)

    def first(self, digest: bytes, row: int) -> int | None:
        """The row before that held the same, or None; then this one is the first."""
        digest = digest.rstrip(b"\0")  # as numpy keeps it; all are of one length, so no two become one
        earlier = self._recent.get(digest)
        if earlier is None and len(self._rows):
            at = int(np.searchsorted(self._digests, np.bytes_(digest)))
            if at < len(self._rows) and self._digests[at] == digest:
                earlier = int(self._rows[at])
        if earlier is None:
            self._recent[digest] = row
            if len(self._recent) >= self._most:
                self._settle()
        return earlier

    def _settle(self) -> None:
        new, rows = np.array(list(self._recent), "S16"), np.array(list(self._recent.values()), np.int64)
        order = np.argsort(new)
        at = np.searchsorted(self._digests, new[order])
        self._digests, self._rows = np.insert(self._digests, at, new[order]), np.insert(self._rows, at, rows[order])
        self._recent = {}


def _table(changes: list[Change]) -> "pl.DataFrame":
    """The changes, each with what it is in both languages."""
    import polars as pl

    names = ("row", "column", "code", "before", "after")
    said = {code: say(code) for code in {change[2] for change in changes}}
    rows = [(*change, *said[change[2]]) for change in changes]
    schema = {name: pl.Int64 if name == "row" else pl.String for name in (*names, "what_en", "what_zh")}
    return pl.DataFrame(rows, schema=schema, orient="row")
