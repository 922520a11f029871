"""One holder at a time for a piece of state on this machine. The kernel frees the lock when its holder dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file while the block runs; its text is the holder's pid.

    Raises:
        BlockingIOError: another process holds it and `wait` is off.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)


def holder(path: Path) -> str:
    """The pid written by the last holder, or `?`."""
    return (path.read_text().strip() if path.is_file() else "") or "?"
