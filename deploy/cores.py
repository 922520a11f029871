"""How many cores there are to work on."""

import os


def usable() -> int:
    """Cores this process may run on; libraries that count for themselves count those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
