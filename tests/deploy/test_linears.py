"""Weights laid together: what was read from their file leaves memory."""

import ctypes
import hashlib
import mmap
import os
import sys
from pathlib import Path

import pytest

from deploy.engines import linears


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's madvise")
def test_what_is_paged_out_leaves_memory_and_is_as_it_was_when_read_again(tmp_path: Path) -> None:
    path, size = tmp_path / "weights", 64 << 20
    path.write_bytes(bytes(range(256)) * (size // 256))
    os.sync()
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE) as mapped:
        digest = hashlib.sha256(mapped).hexdigest()
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        before = resident_mb()
        linears.page_out(address + 1, size - 2)  # not at the pages' ends
        left = resident_mb()

        assert before - left > 56
        assert hashlib.sha256(mapped).hexdigest() == digest


def resident_mb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE >> 20
