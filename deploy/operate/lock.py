"""One holder at a time for a piece of state on this machine. The kernel frees the lock when its holder dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy import disk


@contextmanager
def held(path: Path, wait: bool = True, shared: bool = False) -> Iterator[None]:
    """Hold the lock file while the block runs; its text is the holder's pid. `shared`: together with others who share it.

    Raises:
        BlockingIOError: another process holds it and `wait` is off.
        ResourceInsufficient, StoreUnavailable: the disk is full or not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise disk.unwritable(path, error) from error
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        os.ftruncate(fd, 0)
        with suppress(OSError):  # on a full disk the lock holds all the same
            os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)


def holder(path: Path) -> str:
    """The pid written by the last holder, or `?`."""
    return (path.read_text().strip() if path.is_file() else "") or "?"


def is_held(path: Path) -> bool:
    """Whether the last holder still has it, found out without taking it: a process may outlive what it held it for."""
    try:
        opened = list(Path(f"/proc/{holder(path)}/fd").iterdir())
    except PermissionError:  # another user's, and alive
        return True
    except OSError:
        return False
    for fd in opened:
        with suppress(OSError):  # closed meanwhile
            if Path(os.readlink(fd)) == path.resolve():
                return True
    return False


def is_shared_by_any(path: Path) -> bool:
    """Whether anybody has it, also another than the last of those who share it. It is taken for a moment, so that this is for a lock
    that everybody waits for; the file stays as it is.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
