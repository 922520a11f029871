"""A submitted file: what it is by its first bytes, and whether it is still what it was."""

import stat
from pathlib import Path
from typing import NamedTuple

from data_contracts.errors import ConfigurationError, ContractViolation
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
WORKBOOK = "is an Excel workbook or an archive; save the sheet as 'CSV UTF-8' and submit that"
FOREIGN = {  # how other files begin
    b"PK\x03\x04": WORKBOOK,
    b"PK\x05\x06": WORKBOOK,
    b"\xd0\xcf\x11\xe0": WORKBOOK,
    b"\x1f\x8b": "is a gzip archive; unpack it (gunzip) and submit what is in it",
    b"BZh": "is a bzip2 archive; unpack it (bunzip2) and submit what is in it",
    b"\xfd7zXZ": "is an xz archive; unpack it (unxz) and submit what is in it",
    b"\x28\xb5\x2f\xfd": "is a zstd archive; unpack it (unzstd) and submit what is in it",
    b"7z\xbc\xaf": "is a 7z archive; unpack it and submit what is in it",
    b"Rar!": "is a RAR archive; unpack it and submit what is in it",
    b"%PDF": "is a PDF; export the calls as CSV, JSONL or Parquet",
    b"SQLite format": "is an SQLite database; export its table as CSV",
    b"ORC": "is an ORC file; export the calls as Parquet",
    b"Obj\x01": "is an Avro file; export the calls as Parquet",
    b"{\\rtf": "is a text document (RTF); export the calls as CSV, JSONL or Parquet",
}
PAGES = (b"<html", b"<!doctype", b"<?xml", b"<table")


def kind_of(path: Path) -> str:
    """`csv`, `jsonl` or `parquet`, by a look at its name and first bytes.

    Raises:
        ConfigurationError: no such file, no ordinary one, or not to be read.
        ContractViolation: empty, or none of the three.
    """
    needed = "give the path of a CSV, JSONL or Parquet file of labelled calls"
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait, reading a device might never end
            what = "it is a folder" if path.is_dir() else "it is a pipe or a device, not a file"
            raise ConfigurationError(f"file {str(path)!r} cannot be read: {what}; {needed}")
        with path.open("rb") as f:
            start = f.read(64)
    except (OSError, ValueError) as error:  # a path may hold a zero, which no file's has
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"file {str(path)!r} cannot be read: {reason}; {needed}") from error
    if not start:
        raise ContractViolation(f"{path} is empty; it needs a call a row, with a text and a category")
    if start.startswith(b"PAR1"):
        return "parquet"
    for mark, what in FOREIGN.items():
        if start.startswith(mark):
            raise ContractViolation(f"{path} {what}")
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(PAGES):
        raise ContractViolation(f"{path} is a web page or XML, as some platforms export 'Excel'; save it as CSV UTF-8")
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None or kind == "parquet":
        allowed = ", ".join(SUFFIXES)
        raise ContractViolation(
            f"{path}: its content is not Parquet and its name ends in {path.suffix or 'nothing'!r}; allowed: {allowed}"
        )
    return kind


class Seen(NamedTuple):
    """A file as it was when it was hashed."""

    digest: str
    state: tuple[int, int, int]


def see(path: Path) -> Seen:
    """The file's SHA-256, and what tells later whether it is still that file.

    Raises:
        ConfigurationError, ContractViolation: as `kind_of`.
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
        raise ContractViolation(f"{path} was changed while it was read; wait until it is whole, then submit it again")
