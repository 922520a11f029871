"""The processes a started process stands for: its group, and all it started that left the group."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress

from deploy.operate import launch


def is_running(pid: int, started: str) -> bool:
    """Whether this very process runs: the same pid, started at the same moment, and no zombie."""
    return launch.identity(pid) == started and not _is_zombie(pid)


def members(pid: int, started: str) -> list[int]:
    """Live pids of the group led by `pid`, of their descendants and of those with its mark, also after its own end.

    A group keeps its number from being given to a new process until it is empty, so these are never strangers. The mark
    finds what left the group and lost its parent: a flow whose Prefect worker was killed.
    """
    import psutil

    if not started.startswith(f"{launch.boot()}:") or launch.identity(pid) not in ("", started):
        return []
    mark = f"{pid}:{started}"
    found = {other for other in psutil.pids() if _group(other) == pid or _mark(other) == mark}
    for other in tuple(found):
        with suppress(psutil.Error):
            found.update(child.pid for child in psutil.Process(other).children(recursive=True))
    return sorted(other for other in found if not _is_zombie(other))


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal each; one that is gone already is fine."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def memory_mb(pids: Iterable[int]) -> float:
    """Resident memory together."""
    import psutil

    total = 0.0
    for pid in pids:
        with suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss / 1e6
    return total


def _group(pid: int) -> int:
    with suppress(OSError):
        return os.getpgid(pid)
    return -1


def _mark(pid: int) -> str:
    import psutil

    with suppress(psutil.Error, OSError):
        return str(psutil.Process(pid).environ().get(launch.STARTED_BY, ""))
    return ""


def _is_zombie(pid: int) -> bool:
    import psutil

    with suppress(psutil.Error):
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return False
