"""The pages of dropped activations are kept for the next batch or step."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's names for mallopt's options, in malloc.h
DEFAULT_TRIM_BYTES, DEFAULT_MMAPS = 128 * 1024, 65536


@contextmanager
def kept() -> Iterator[None]:
    """What is freed inside is reused, not given back to the system until the end.

    glibc gives every large tensor back when it is dropped, and the system hands out each of its pages anew, zeroed: two
    thirds of all page faults, 5 to 10 % of a training step's time, 18 % of a scored batch's. Without glibc nothing changes.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(MMAP_MAX, DEFAULT_MMAPS)
        libc.mallopt(TRIM_THRESHOLD, DEFAULT_TRIM_BYTES)
        libc.malloc_trim(0)
