"""The flight recorder: a line an event in `history.jsonl`, each with the digest of the one before; never rewritten.

The registry keeps the newest line's digest in MLflow too (its head), so that a file with its tail cut off shows.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, cast

from pydantic import Field

from data_contracts.errors import BundleCorrupt
from data_contracts.schema import Frozen
from deploy import disk
from deploy.operate import lock
from tasks import stages

FILE = "history.jsonl"
START = "0" * 64
Kind = Literal[
    "recorded",
    "promoted",
    "rolled_back",
    "approved",
    "released",
    "undone",
    "adopted",
    "started",
    "stopped",
    "refused",
    "removed",
    "gold_refreshed",
    "emergency",
    "operator_trusted",
    "operator_revoked",
]

SERVES = ("released", "adopted", "started", "stopped")
"""Lines after which a target serves something else than before; each names it."""


class Event(Frozen):
    """What happened to a version, and by whom. `detail` holds JSON values; never text of a call."""

    kind: Kind
    version: int | None
    by: str
    bundle_digest: str = ""
    detail: dict[str, object] = Field(default_factory=dict)

    @property
    def why(self) -> str:
        """One line: the reason that somebody gave, else what the last step of a rollout noted, or a verdict's decision."""
        detail = self.detail
        inner = [(detail.get("emergency"), "reason"), (detail.get("verdict"), "decision")]
        given = [detail.get(name) for name in ("why", "reason", "new_standard", "how")]
        given += [of.get(name) for of, name in inner if isinstance(of, dict)]
        return next((" ".join(str(text).split()) for text in (*given, self.note) if text), "")

    @property
    def note(self) -> str:
        """What the last step of a rollout noted."""
        steps = self.detail.get("steps")
        return str(steps[-1].get("note") or "") if isinstance(steps, list) and steps else ""


class Entry(Frozen):
    """One line. `digest` covers every other field; `previous` is the digest of the line before."""

    number: int
    at: str
    event: Event
    previous: str
    digest: str

    @property
    def head(self) -> str:
        """What the registry keeps to notice a cut tail: `<number>:<digest>`."""
        return f"{self.number}:{self.digest}"


def append(home: Path, event: Event) -> Entry:
    """Add one event, on disk when this returns; a line torn by a crash was never acknowledged and is dropped.

    Raises:
        ResourceInsufficient: the disk is full.
        StoreUnavailable: the file cannot be written.
        BundleCorrupt: the last whole line is not a history line.
    """
    path = home / FILE
    try:
        with locked(home), path.open("ab+") as f:
            os.chmod(path, 0o600)
            last = _last(f.fileno(), path)
            entry = _seal(last.number + 1 if last else 1, event, last.digest if last else START)
            f.write(_line(entry) + b"\n")
            f.flush()
            os.fsync(f.fileno())
            return entry
    except OSError as error:
        raise disk.unwritable(path, error) from error


def read(home: Path) -> tuple[Entry, ...]:
    """Every whole line, oldest first, chain not checked.

    Raises:
        BundleCorrupt: a line is not a history line.
    """
    return tuple(_entry(line, home / FILE, i) for i, line in enumerate(_lines(home), start=1))


def verify(home: Path, head: str = "") -> str | None:
    """What is wrong with the history, in one sentence, or None. `head`: the newest line the registry knows of."""
    previous = START
    entries: list[Entry] = []
    for i, line in enumerate(_lines(home), start=1):
        try:
            entry = _entry(line, home / FILE, i)
        except BundleCorrupt as error:
            return str(error)
        if (
            entry.number != i
            or entry.previous != previous
            or entry.digest != _seal(i, entry.event, previous, entry.at).digest
            or line != _line(entry)  # also a byte that means nothing, such as a space
        ):
            return f"{home / FILE} line {i} was changed, inserted, or follows a removed line; restore a backup"
        entries.append(entry)
        previous = entry.digest
    if not head:
        return None
    number = int(digits) if (digits := head.partition(":")[0]).isdecimal() else 0
    if number < 1:
        return (
            f"the registry's note of the history's newest line, {head[:80]!r}, is no such note: it was edited in MLflow"
        )
    if number > len(entries):
        return (
            f"{home / FILE} ends at line {len(entries)}, the registry saw {number}: its tail was cut; restore a backup"
        )
    if entries[number - 1].head != head:
        return f"{home / FILE} line {number} is not the one the registry saw: the file was replaced; restore a backup"
    return None


def standing(entries: tuple[Entry, ...]) -> Entry | None:
    """The entry that made the present champion the champion."""
    moves = [e for e in entries if e.event.kind in ("promoted", "rolled_back")]
    return moves[-1] if moves else None


def accepted(entries: tuple[Entry, ...], version: int) -> Entry | None:
    """The line with the gate's verdict by which a version was promoted, the last time it was; later ones do not change that."""
    made = [e for e in entries if e.event.kind == "promoted" and e.event.version == version]
    promotions = [e.number for e in made if "emergency" not in e.event.detail]
    told = entries[: promotions[-1]] if promotions else ()
    own = [e for e in told if e.event.kind == "recorded" and e.event.version == version]
    return next((e for e in reversed(own) if e.event.detail.get("decision") == "PROMOTE"), None)


def newest_standard(entries: tuple[Entry, ...]) -> Entry | None:
    """The line with the verdict that the champion was promoted by; of one that serves on an emergency verdict, which is nobody's
    standard, that of the newest champion before it."""
    moves = [e.event.version for e in entries if e.event.kind in ("promoted", "rolled_back")]
    found = (accepted(entries, version) for version in reversed(moves) if version is not None)
    return next((line for line in found if line is not None), None)


def locked(home: Path, name: str = "history") -> AbstractContextManager[None]:
    """Alone among all processes that share this home."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return lock.held(home / f".{name}.lock")


def _seal(number: int, event: Event, previous: str, at: str = "") -> Entry:
    body: dict[str, object] = {
        "number": number,
        "at": at or stages.now(),
        "event": event.model_dump(mode="json"),
        "previous": previous,
    }
    text = json.dumps(body, ensure_ascii=False, sort_keys=True)
    return Entry.model_validate({**body, "digest": hashlib.sha256(text.encode()).hexdigest()})


def _line(entry: Entry) -> bytes:
    return json.dumps(entry.model_dump(mode="json"), ensure_ascii=False, sort_keys=True).encode()


def _lines(home: Path) -> list[bytes]:
    path = home / FILE
    whole = path.read_bytes() if path.is_file() else b""
    return whole.split(b"\n")[:-1]


def _last(fd: int, path: Path) -> Entry | None:
    """The last whole entry; whatever follows it is cut off, unless only its line's end is missing: an editor may have taken that."""
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    if _is_whole(data[end:], path):
        os.write(fd, b"\n")
        data, end = data + b"\n", len(data) + 1
    if end != len(data):
        os.ftruncate(fd, end)
    lines = data[:end].split(b"\n")[:-1]
    return _entry(lines[-1], path, len(lines)) if lines else None


def _is_whole(line: bytes, path: Path) -> bool:
    """Whether it is a line as it was sealed."""
    try:
        entry = _entry(line, path, 0)
    except BundleCorrupt:
        return False
    return entry == _seal(entry.number, entry.event, entry.previous, entry.at) and line == _line(entry)


def _entry(line: bytes, path: Path, number: int) -> Entry:
    try:
        return Entry.model_validate(cast(Mapping[str, object], json.loads(line)))
    except ValueError as error:
        raise BundleCorrupt(f"{path} line {number} is not a history line; restore the file from a backup") from error
