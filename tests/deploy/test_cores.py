"""How many cores there are to work on, as the control groups of a container say."""

import os
from pathlib import Path

import pytest

from deploy import cores

THERE = len(os.sched_getaffinity(0))


def limited(home: Path, lines: str, files: dict[str, str]) -> int:
    """What is usable in a container whose groups are these, on a machine of as many cores as this one."""
    (home / "cgroup").write_text(lines)
    for name, text in files.items():
        (home / "mount" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "mount" / name).write_text(text)
    return cores.usable(home / "cgroup", home / "mount")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", THERE),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("1900000 1000000\n", 1),
        ("99900000 100000\n", THERE),
    ],
)
def test_a_limit_counts_in_whole_cores_and_never_below_one(tmp_path: Path, text: str, expected: int) -> None:
    assert limited(tmp_path, "0::/\n", {"cpu.max": text}) == expected


def test_the_tightest_group_above_decides(tmp_path: Path) -> None:
    files = {"pod/cpu.max": "100000 100000\n", "pod/app/cpu.max": "max 100000\n"}

    assert limited(tmp_path, "0::/pod/app\n", files) == 1


def test_version_1_is_read_by_its_own_files(tmp_path: Path) -> None:
    files = {"cpu/docker/abc/cpu.cfs_quota_us": "100000\n", "cpu/docker/abc/cpu.cfs_period_us": "100000\n"}

    assert limited(tmp_path, "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n", files) == 1


def test_without_a_limit_it_is_what_the_process_may_run_on(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}

    assert limited(tmp_path, "4:cpu,cpuacct:/\n", files) == THERE
    assert cores.usable(tmp_path / "no-such-file", tmp_path) == THERE
