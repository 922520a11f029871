"""Memory that is kept between batches or steps is given back in the end."""

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import ctypes, resource
from deploy.engines import heap

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * PAGE >> 20

def use(megabytes):
    place = libc.malloc(megabytes << 20)
    ctypes.memset(place, 1, megabytes << 20)
    libc.free(place)

before = resident()
with heap.kept():
    use(200)
    kept = resident() - before
print(kept, resident() - before)
use(200)
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_kept_inside_and_given_back_after() -> None:
    program = PROGRAM.replace("PAGE", str(mmap.PAGESIZE))
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True
    )

    kept, after, later = map(int, done.stdout.split())
    assert kept > 190
    assert after < 20
    assert later < 20
