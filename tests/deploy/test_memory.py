"""Free memory as a container sees it: the control groups of both kernels' generations, laid out as they lay them out."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.memory import DRIVER_MB, MB, Gpu, Memory, gpu_of, memory
from deploy.service.child import Usage
from deploy.service.room import TooLittleMemory, require_room

V1 = Path("/sys/fs/cgroup/memory")


def group(folder: Path, limit: str, used: int, stat: str, names: tuple[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(stat)


def v2(folder: Path, limit: str, used: int, cache: int = 0) -> None:
    group(folder, limit, used, f"anon 1\ninactive_file {cache}\n", ("memory.max", "memory.current"))


def v1(folder: Path, limit: str, used: int, cache: int = 0) -> None:
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    group(folder, limit, used, f"inactive_file 7\ntotal_inactive_file {cache}\n", names)


def groups(home: Path, text: str) -> Path:
    (home / "cgroup").write_text(text)
    return home / "cgroup"


def test_a_limited_group_counts_its_file_cache_as_free(tmp_path: Path) -> None:
    v2(tmp_path / "mount/pod/app", str(500 * MB), 300 * MB, cache=100 * MB)

    found = memory(groups(tmp_path, "0::/pod/app\n"), tmp_path / "mount")

    assert (found.limit_mb, found.free_mb) == (500, 300)


def test_the_tightest_group_above_decides(tmp_path: Path) -> None:
    v2(tmp_path / "mount/pod/app", "max", 300 * MB)
    v2(tmp_path / "mount/pod", str(400 * MB), 350 * MB)

    assert memory(groups(tmp_path, "0::/pod/app\n"), tmp_path / "mount").free_mb == 50


def test_version_1_is_read_under_its_own_mount_by_the_path_of_its_memory_controller(tmp_path: Path) -> None:
    v1(tmp_path / "mount/memory/docker/abc", str(200 * MB), 150 * MB, cache=10 * MB)
    lines = "5:cpu,cpuacct:/other\n4:memory:/docker/abc\n0::/\n"

    assert memory(groups(tmp_path, lines), tmp_path / "mount").free_mb == 60


def test_in_a_container_the_paths_of_the_host_lead_to_the_root_of_the_mount(tmp_path: Path) -> None:
    v1(tmp_path / "mount/memory", str(200 * MB), 150 * MB)

    assert memory(groups(tmp_path, "4:memory:/kubepods/burstable/pod1\n"), tmp_path / "mount").limit_mb == 200


@pytest.mark.parametrize("text", ["", "0::/\n", "4:memory:/\n"])
def test_without_a_limit_it_is_the_machine_s(tmp_path: Path, text: str) -> None:
    v1(tmp_path / "mount/memory", str(2**63 - 4096), 1)

    found = memory(groups(tmp_path, text), tmp_path / "mount")

    assert found.limit_mb == pytest.approx(psutil.virtual_memory().total / MB)
    assert 0 < found.free_mb < found.limit_mb


@pytest.fixture
def real() -> Iterator[Path]:
    folder = V1 / "tingsu-test"
    try:
        folder.mkdir(exist_ok=True)
        (folder / "memory.limit_in_bytes").write_text(str(300 * MB))
    except OSError:
        pytest.skip("no control group can be made here")
    yield folder
    folder.rmdir()


def test_in_a_real_group_of_this_kernel(real: Path) -> None:
    program = (
        f"from pathlib import Path; import os; Path('{real}/cgroup.procs').write_text(str(os.getpid()))\n"
        "from deploy.memory import memory; held = bytearray(100 * 2**20); print(memory())\n"
    )

    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    free = float(found.split("free_mb=")[1].rstrip(")\n"))
    assert "limit_mb=300.0" in found and 120 < free < 200


def test_of_a_shared_gpu_an_engine_holds_what_torch_reserved_and_the_driver_and_never_more_than_is_in_use() -> None:
    total, gb = 80_000 * MB, 1000 * MB

    assert gpu_of(2 * gb, free=70 * gb, total=total) == Gpu(2000 + DRIVER_MB, Memory(80_000, 70_000))
    assert gpu_of(2 * gb, free=total - 2 * gb, total=total).held_mb == 2000
    assert gpu_of(0, free=total, total=total).held_mb == 0


def test_a_second_engine_needs_room_on_the_gpu_and_beside_it_each_for_what_it_holds_there() -> None:
    """12 GB of the 15 are the GPU's: they are not asked of the machine's memory, nor its 3 of the GPU."""
    held = Usage(15_000, Gpu(12_000, Memory(24_000, 11_000)))

    with pytest.raises(TooLittleMemory, match="12000 MB are needed, 11000 of 24000 MB are free") as caught:
        require_room(held, 1.0, Memory(64_000, 50_000))
    assert caught.value.is_gpu
    roomy = Usage(15_000, Gpu(12_000, Memory(80_000, 18_000)))
    require_room(roomy, 1.5, Memory(64_000, 4_500))
    with pytest.raises(TooLittleMemory, match="18012 MB are needed, 18000 of 80000"):
        require_room(roomy, 1.501, Memory(64_000, 5_000))
    with pytest.raises(TooLittleMemory, match="4500 MB are needed, 4400 of 64000") as caught:
        require_room(roomy, 1.5, Memory(64_000, 4_400))
    assert not caught.value.is_gpu
    require_room(Usage(3_000), 1.0, Memory(64_000, 3_000))
