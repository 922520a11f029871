"""A small disk of its own, to fill and to make read-only."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Disk:
    """A mounted tmpfs."""

    at: Path

    def fill(self, leave_bytes: int = 0) -> None:
        """Write until nothing, or only so much, is left."""
        fd = os.open(self.at / "ballast", os.O_WRONLY | os.O_CREAT)
        for last in (False,) * 20 + (True,):  # others may write at the same moment
            stat = os.statvfs(self.at)
            try:
                os.posix_fallocate(fd, 0, stat.f_bavail * stat.f_frsize - leave_bytes)
                break
            except OSError:
                if last:
                    raise
        os.close(fd)

    def free(self) -> None:
        (self.at / "ballast").unlink()

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.at)], check=True)


@contextmanager
def mounted(at: Path, megabytes: int) -> Iterator[Disk]:
    """The disk while the block runs; the test is skipped where mounting is not allowed."""
    at.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(at)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield Disk(at)
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)
