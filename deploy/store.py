"""The store: everything Tingsu keeps, by key, in a local folder or an S3 bucket behind one small interface.

A key is a slash-separated name (`datasets/<id>`). A folder appears whole or not at all: `commit` writes its files first and
its `.files.json` last, which lists every file with size and SHA-256; without that list the folder does not exist.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from data_contracts.errors import BundleCorrupt, ConfigurationError, StoreUnavailable
from deploy import disk

LISTING = ".files.json"


class Measured(NamedTuple):
    """How much lies under a key, and when any of it was last written (seconds since 1970); zeros where there is nothing."""

    bytes: int
    newest_s: float


class Store(Protocol):
    """Where artefacts live. All methods raise StoreUnavailable when the place does not answer."""

    def has(self, key: str) -> bool:
        """Whether a committed folder, or a file, of this key exists."""
        ...

    def local(self, key: str) -> Path:
        """The folder or file on this machine, fetched if need be; verified when it is a committed folder."""
        ...

    def part(self, key: str, name: str) -> bytes:
        """One small file of a committed folder, without fetching the others.

        Raises:
            BundleCorrupt: it is not what was committed.
        """
        ...

    def verify(self, key: str) -> None:
        """Return if a committed folder is to the last byte what was committed; reads all of it.

        Raises:
            BundleCorrupt: names the file that is not.
        """
        ...

    def commit(self, folder: Path, key: str) -> None:
        """Move `folder` into the store under `key`, atomically. A key already there is kept: equal keys mean equal content."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Write one small file atomically."""
        ...

    def read(self, key: str) -> bytes | None:
        """Read one small file, or None."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Committed folders and single files directly below `prefix`, in order."""
        ...

    def delete(self, key: str) -> None:
        """Remove a folder or file; absent is fine."""
        ...

    def folders(self, prefix: str) -> tuple[str, ...]:
        """Every folder directly below `prefix`, in order: committed, half written or half removed."""
        ...

    def measure(self, key: str) -> Measured:
        """Everything that lies in a folder, committed or not."""
        ...

    def stale_uploads(self, end: bool) -> int:
        """How many uploads of dead processes take room, and with `end`, took."""
        ...

    def scratch(self, key: str) -> Path:
        """A private working folder on the store's disk that survives a crash; the same one for the same key."""
        ...


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def listing(folder: Path) -> dict[str, dict[str, object]]:
    """Relative file name → size in bytes and SHA-256, sorted by name, without the listing itself."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != LISTING)
    return {p.relative_to(folder).as_posix(): {"size": p.stat().st_size, "sha256": sha256_file(p)} for p in files}


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and digests of every file of a folder."""
    return hashlib.sha256(json.dumps(listing(folder), sort_keys=True).encode()).hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside, flush to disk, rename over. Readers see the old file or the new one.

    Raises:
        ResourceInsufficient: the disk is full.
        StoreUnavailable: the place is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
        try:
            with os.fdopen(fd, "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise disk.unwritable(path, error) from error


def create_once(path: Path, data: bytes) -> None:
    """Write a private file (0600) unless it is there; of two first uses at once one counts, for both.

    Raises:
        ResourceInsufficient: the disk is full.
        StoreUnavailable: the place is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd, beside = tempfile.mkstemp(dir=path.parent)  # created 0600
        try:
            with os.fdopen(fd, "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            with suppress(FileExistsError):
                os.link(beside, path)
        finally:
            Path(beside).unlink(missing_ok=True)
    except OSError as error:
        raise disk.unwritable(path, error) from error


class FolderStore:
    """A store in a local folder; `commit` is a rename."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, key: str) -> bool:
        path = self.root / key
        return path.is_file() or (path / LISTING).is_file()

    def local(self, key: str) -> Path:
        path = self.root / key
        if not path.exists():
            raise StoreUnavailable(
                f"{key} is not in the store {self.root}; it was removed, or belongs to another $TINGSU_HOME"
            )
        if (path / LISTING).is_file():
            verify_listing(path, key)
        return path

    def part(self, key: str, name: str) -> bytes:
        return (self.local(key) / name).read_bytes()

    def verify(self, key: str) -> None:
        verify_listing(self.root / key, key, digests=True)

    def commit(self, folder: Path, key: str) -> None:
        target = self.root / key
        if self.has(key):
            shutil.rmtree(folder)
            return
        write_atomically(folder / LISTING, json.dumps(listing(folder), indent=1).encode())
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(folder, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise disk.unwritable(f"{key} into the store {self.root}", error) from error
            self._settle(folder, key)

    def _settle(self, folder: Path, key: str) -> None:
        """Something lies under the key: another process's whole folder, which counts, or what a crash left of one."""
        if not self.has(key):
            shutil.rmtree(self.root / key)
            self.commit(folder, key)
        else:
            shutil.rmtree(folder)

    def write(self, key: str, data: bytes) -> None:
        write_atomically(self.root / key, data)

    def read(self, key: str) -> bytes | None:
        path = self.root / key
        return path.read_bytes() if path.is_file() else None

    def keys(self, prefix: str) -> Iterator[str]:
        base = self.root / prefix
        for path in sorted(base.iterdir()) if base.is_dir() else ():
            if not path.name.startswith(".") and self.has(f"{prefix}/{path.name}"):
                yield f"{prefix}/{path.name}"

    def delete(self, key: str) -> None:
        path = self.root / key
        if path.is_file():
            path.unlink()
        (path / LISTING).unlink(missing_ok=True)  # killed in between, the folder no longer exists
        shutil.rmtree(path, ignore_errors=True)

    def folders(self, prefix: str) -> tuple[str, ...]:
        base = self.root / prefix
        below = sorted(base.iterdir()) if base.is_dir() else ()
        return tuple(f"{prefix}/{p.name}" for p in below if p.is_dir() and not p.name.startswith("."))

    def measure(self, key: str) -> Measured:
        return measure(self.root / key)

    def stale_uploads(self, end: bool) -> int:
        return 0

    def scratch(self, key: str) -> Path:
        path = self.root / ".scratch" / key
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk.unwritable(f"to the store {self.root}", error) from error
        return path


def measure(folder: Path) -> Measured:
    """Of a folder on this machine; a file that goes meanwhile is not counted."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                found.append(path.stat())
    return Measured(sum(s.st_size for s in found), max((s.st_mtime for s in found), default=0.0))


def verify_listing(folder: Path, key: str, digests: bool = False) -> None:
    """Compare every file's size with the listing, and with `digests` its content.

    Raises:
        BundleCorrupt: a file is missing, has another size, or other bytes.
    """
    for name, entry in json.loads((folder / LISTING).read_text()).items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry["size"]:
            raise BundleCorrupt(
                f"{key}/{name} is missing or has changed size; delete {folder} and run the same command again"
            )
        if digests and sha256_file(path) != entry["sha256"]:
            raise BundleCorrupt(f"{key}/{name} was changed; delete {folder} and run the same command again")


def open_store(url: str, endpoint_url: str | None, home: Path) -> Store:
    """The store of `store.url`: empty for `<home>/store`, a folder, or `s3://bucket/prefix` (cached under `<home>/cache`).

    Raises:
        ConfigurationError: an address of another kind.
    """
    if url.startswith("s3://"):
        from deploy.s3 import S3Store

        return S3Store(url, endpoint_url, home / "cache")
    if "://" in url:
        raise ConfigurationError(f"store.url {url!r} is neither a folder nor s3://BUCKET/PREFIX; write one of the two")
    return FolderStore(Path(url).expanduser().absolute() if url else home / "store")
