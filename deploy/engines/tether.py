"""Run as a script by `server`: becomes the program it is given, tied to the process that asked for it.

`python -I -S tether.py PARENT SIGNAL PROGRAM ARGUMENT…`. Where the system can (Linux), the program gets the signal the moment its
parent ends, whatever ended it; only the standard library is imported, so a start costs milliseconds.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, ending: int, argv: list[str]) -> int:
    """Never returns, but when the parent is gone already."""
    when_parent_ends(ending)
    if os.getppid() != parent:
        return 1
    os.execv(argv[0], argv)


def when_parent_ends(ending: int) -> None:
    """Have the system send this process the signal when its parent ends; 0 for none."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ending)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
