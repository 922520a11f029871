"""How many cores there are to work on: those this process may run on, and no more whole ones than a container's limit pays for."""

import os
from collections.abc import Iterator
from pathlib import Path

from deploy import cgroups


def usable(groups: Path = cgroups.GROUPS, mount: Path = cgroups.MOUNT) -> int:
    """At least 1; libraries that count for themselves count those of the machine.

    Of 64 cores with a limit of 4, 64 threads would all wait, 15 parts of 16 of each period, for those that were stopped.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([there, *(int(limit) for limit in _limits(groups, mount))]))


def _limits(groups: Path, mount: Path) -> Iterator[float]:
    """Cores, of every control group that has a limit (cgroup v2 and v1)."""
    for folder in cgroups.folders("cpu", groups, mount):
        for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            try:
                quota, period = " ".join((folder / file).read_text() for file in files).split()
            except OSError:
                continue
            if quota not in ("max", "-1"):
                yield int(quota) / int(period)
