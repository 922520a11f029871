"""How much memory this process and those it starts may still take: of its control group, in a container, or of the machine."""

from dataclasses import dataclass
from pathlib import Path

from deploy import cgroups

COUNTERS = Path("/proc/vmstat")
MB = 2**20
DRIVER_MB = 600.0
"""Of a GPU, for one process: CUDA's context and kernels, which torch does not count. 300 to 600 MB are usual; none was at hand here."""


@dataclass(frozen=True)
class Memory:
    """`limit_mb` is what all may take together, `free_mb` what is left of it."""

    limit_mb: float
    free_mb: float


@dataclass(frozen=True)
class Gpu:
    """`held_mb` of it are one engine's; `memory` is that of the whole device."""

    held_mb: float
    memory: Memory


def memory(groups: Path = cgroups.GROUPS, mount: Path = cgroups.MOUNT) -> Memory:
    """The tightest of the machine and of every control group above us that has a limit (cgroup v2 and v1)."""
    import psutil

    machine = psutil.virtual_memory()
    found = [Memory(machine.total / MB, machine.available / MB)]
    found += [left for folder in cgroups.folders("memory", groups, mount) if (left := _left(folder)) is not None]
    return min(found, key=lambda each: each.free_mb)


def gpu_of(reserved: int, free: int, total: int) -> Gpu:
    """From bytes, as torch tells them; what the driver keeps for a process is in none of torch's numbers for it.

    Never less than nothing, and never more than is in use: other processes may share the device.
    """
    held = min(reserved / MB + DRIVER_MB, (total - free) / MB)
    return Gpu(max(held, 0.0), Memory(total / MB, free / MB))


def oom_kills(counters: Path = COUNTERS) -> int | None:
    """How many processes the kernel has killed for memory since it runs; None where it does not say."""
    try:
        found = dict(line.split() for line in counters.read_text().splitlines())
    except OSError:
        return None
    return int(found["oom_kill"]) if "oom_kill" in found else None


def _left(folder: Path) -> Memory | None:
    """What a group may still take; pages of files read once count as free, for the kernel takes them back first."""
    for limit_file, used_file, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            limit = (folder / limit_file).read_text().strip()
            used = int((folder / used_file).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except OSError:
            continue
        if limit != "max":
            return Memory(int(limit) / MB, (int(limit) - used + int(stat.get(cache, 0))) / MB)
    return None
