"""A submitted file: what it is by its first bytes, and whether it is still what it was."""

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from data_contracts.errors import ContractViolation, WrongRequest
from data_contracts.messages import told
from deploy.store import sha256_file

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
WORKBOOK: tuple[str, dict[str, str]] = ("file_workbook", {})
FOREIGN: dict[bytes, tuple[str, dict[str, str]]] = {  # how other files begin, and what is said of them
    b"PK\x03\x04": WORKBOOK,
    b"PK\x05\x06": WORKBOOK,
    b"\xd0\xcf\x11\xe0": WORKBOOK,
    b"\x1f\x8b": ("file_archive", {"kind": "gzip", "command": "gunzip"}),
    b"BZh": ("file_archive", {"kind": "bzip2", "command": "bunzip2"}),
    b"\xfd7zXZ": ("file_archive", {"kind": "xz", "command": "unxz"}),
    b"\x28\xb5\x2f\xfd": ("file_archive", {"kind": "zstd", "command": "unzstd"}),
    b"7z\xbc\xaf": ("file_archive", {"kind": "7z", "command": "7z x"}),
    b"Rar!": ("file_archive", {"kind": "RAR", "command": "unrar x"}),
    b"%PDF": ("file_foreign", {"kind": "PDF"}),
    b"SQLite format": ("file_foreign", {"kind": "SQLite"}),
    b"ORC": ("file_foreign", {"kind": "ORC"}),
    b"Obj\x01": ("file_foreign", {"kind": "Avro"}),
    b"{\\rtf": ("file_foreign", {"kind": "RTF"}),
}
REASONS = {errno.ENOENT: "file_missing", errno.EACCES: "file_forbidden"}
PAGES = (b"<html", b"<!doctype", b"<?xml", b"<table")


def place(path: Path) -> Path:
    """With the home for its `~`; a user who is not there stays as written, and so is no file (`Path.expanduser` raises)."""
    return Path(os.path.expanduser(path))


def kind_of(path: Path) -> str:
    """`csv`, `jsonl` or `parquet`, by a look at its name and first bytes.

    Raises:
        WrongRequest: no such file, no ordinary one, or not to be read.
        ContractViolation: empty, or none of the three.
    """
    place = str(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait, reading a device might never end
            raise WrongRequest(told("file_is_folder" if path.is_dir() else "file_is_device", path=place))
        with path.open("rb") as f:
            start = f.read(64)
    except (OSError, ValueError) as error:  # a path may hold a zero, which no file's has
        number, why = (error.errno, error.strerror) if isinstance(error, OSError) else (None, str(error))
        raise WrongRequest(told(REASONS.get(number or 0, "file_unreadable"), path=place, why=why)) from error
    if not start:
        raise ContractViolation(told("file_empty", path=path))
    if start.startswith(b"PAR1"):
        return "parquet"
    for mark, (code, values) in FOREIGN.items():
        if start.startswith(mark):
            raise ContractViolation(told(code, path=path, **values))
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(PAGES):
        raise ContractViolation(told("file_web_page", path=path))
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None or kind == "parquet":
        suffix = repr(path.suffix or "")
        raise ContractViolation(told("file_suffix", path=path, suffix=suffix, allowed=", ".join(SUFFIXES)))
    return kind


class Seen(NamedTuple):
    """A file as it was when it was hashed."""

    digest: str
    state: tuple[int, int, int]


def see(path: Path) -> Seen:
    """The file's SHA-256, and what tells later whether it is still that file.

    Raises:
        WrongRequest, ContractViolation: as `kind_of`.
    """
    kind_of(path)
    before = state(path)
    return Seen(sha256_file(path), before)


def state(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written to or replaced."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def require_unchanged(path: Path, before: tuple[int, int, int]) -> None:
    """Return if nobody wrote to the file since.

    Raises:
        ContractViolation: somebody did.
    """
    if state(path) != before:
        raise ContractViolation(told("file_changed", path=path))
