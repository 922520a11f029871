"""Which pages a training keeps: those of dropped activations for the next step, not those of a file that was read."""

import ctypes
import mmap
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's names for mallopt's options, in malloc.h
PAGEOUT = 21  # madvise's, in Linux's mman-common.h
DEFAULT_TRIM_BYTES, DEFAULT_MMAPS = 128 * 1024, 65536


@contextmanager
def kept() -> Iterator[None]:
    """What is freed inside is reused, not given back to the system until the end.

    glibc gives every large tensor back when it is dropped, and the system hands out each of its pages anew, zeroed: two
    thirds of all page faults, 5 to 10 % of a step's time. Without glibc nothing changes.
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


def page_out(address: int, size: int) -> None:
    """Take the whole pages of these bytes out of memory: they will not be read again soon.

    For weights, which are mapped from their file as long as one tensor of it is used; read again, a page comes from the file.
    It is a hint: nothing is lost, and where the system does not know it nothing happens.
    """
    libc, page = ctypes.CDLL(None), mmap.PAGESIZE
    start, end = -(-address // page) * page, (address + size) // page * page
    if hasattr(libc, "madvise") and start < end:
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), PAGEOUT)
