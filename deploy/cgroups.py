"""The control groups that this process is in, from its own to the outermost that is to be seen (Linux; both versions)."""

from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")


def folders(controller: str, groups: Path = GROUPS, mount: Path = MOUNT) -> Iterator[Path]:
    """Where a controller's files are: of our group and of those above it. In a container the path may be the host's, of which only the
    mount's root is there."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = mount / controller if controllers else mount
        inside = root / path.lstrip("/")
        yield from (folder for folder in (inside, *inside.parents) if folder.is_relative_to(root) and folder.is_dir())
