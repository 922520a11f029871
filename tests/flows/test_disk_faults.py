"""A full disk, a read-only one and a clock stepped back, for real: what was finished stays, and the same command goes on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from configs.places import MlflowSettings
from configs.training import TrainSettings
from data_contracts.artifacts import Adapter, Splits
from data_contracts.errors import ResourceInsufficient, StoreUnavailable
from deploy.store import FolderStore
from tasks import history, stages, train
from tasks.history import Event
from tasks.stages import Work
from tasks.tracking import Tracker
from tests import tiny
from tests.tasks import released
from tests.tmpfs import Disk, mounted

ROOT = Path(__file__).parent.parent.parent
SPLITS = Splits(key="k", dataset_id="d", family="f", counts={}, gold_digest="g")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "disk", megabytes=24) as disk:
        yield disk


def tingsu(*words: str, home: Path, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TINGSU_HOME": str(home)}
    argv = [*prefix, sys.executable, "-P", "-m", "flows", *words]
    return subprocess.run(argv, capture_output=True, text=True, env=env, timeout=300)


def write(bytes_: int) -> Callable[[Work], Splits]:
    def step(work: Work) -> Splits:
        (work.out / "data").write_bytes(b"x" * bytes_)
        return SPLITS

    return step


def test_a_stage_on_a_full_disk_says_so_keeps_what_was_finished_and_goes_on_when_there_is_room(disk: Disk) -> None:
    store = FolderStore(disk.at / "store")
    stages.run(store, "stages/split/done", Splits, write(1000))
    disk.fill(leave_bytes=1 << 20)

    with pytest.raises(ResourceInsufficient, match="Free space there, then run the same command again"):
        stages.run(store, "stages/split/big", Splits, write(4 << 20))
    assert not store.has("stages/split/big")
    assert stages.run(store, "stages/split/done", Splits, write(0)).reused

    disk.free()
    assert not stages.run(store, "stages/split/big", Splits, write(4 << 20)).reused


def test_training_whose_checkpoint_does_not_fit_goes_on_when_there_is_room(disk: Disk) -> None:
    bench = tiny.make_bench(disk.at, rows=48)
    settings = TrainSettings(base_model="x", epochs=2, batch_tokens=256, checkpoint_steps=2, precision="fp32")

    def fit(work: Work) -> Adapter:
        return train.fit(bench.splits, bench.base, bench.prompt, bench.taxonomy, settings, work)

    disk.fill(leave_bytes=150_000)
    with pytest.raises(ResourceInsufficient, match="Free space there"):
        stages.run(bench.store, "stages/train/x", Adapter, fit)
    assert list(disk.at.glob("store/.scratch/stages/train/x/keep/checkpoints/*"))
    disk.free()
    again = stages.run(bench.store, "stages/train/x", Adapter, fit).result
    undisturbed = stages.run(bench.store, "stages/train/y", Adapter, fit).result

    assert again.digest == undisturbed.digest


def test_mlflow_s_database_on_a_full_disk_is_one_sentence(disk: Disk) -> None:
    at = released.place(disk.at / "home")
    released.open_run(at, "one")
    disk.fill()

    with pytest.raises(ResourceInsufficient, match="is full"):
        for number in range(200):  # until SQLite needs a new page
            released.open_run(at, f"more {number}")
    disk.free()
    released.open_run(at, "two")
    with Tracker(MlflowSettings(), at.home).client() as client:
        assert len(client.search_runs([client.get_experiment_by_name("tingsu").experiment_id])) >= 2


def test_the_history_is_whole_after_the_disk_was_full(disk: Disk) -> None:
    event = Event(kind="recorded", version=1, by="tester", detail={"note": "x" * 3000})
    history.append(disk.at, event)
    disk.fill()

    with pytest.raises(ResourceInsufficient, match=r"history\.jsonl"):
        for _ in range(100):
            history.append(disk.at, event)
    disk.free()
    last = history.append(disk.at, event)

    assert history.verify(disk.at) is None
    assert len(history.read(disk.at)) == last.number


def test_a_command_without_room_to_begin_is_refused_before_it_starts_anything(disk: Disk) -> None:
    (disk.at / "calls.jsonl").write_text("{}\n")
    found = tingsu("submit", str(disk.at / "calls.jsonl"), home=disk.at / "home")

    assert found.returncode == 4, found.stderr
    assert "too few to begin: 64 MB are needed" in found.stderr
    assert list((disk.at / "home").iterdir()) == []


def test_a_read_only_store_answers_what_it_has_and_refuses_what_is_new(disk: Disk) -> None:
    store = FolderStore(disk.at / "store")
    store.commit(_folder(disk.at), "datasets/x")
    store.scratch("locks")
    disk.remount("ro")

    with pytest.raises(StoreUnavailable, match=r"Read-only file system\. Mend the permissions or the mount"):
        stages.run(store, "stages/split/new", Splits, write(10))
    assert (store.local("datasets/x") / "a").read_text() == "a"
    disk.remount("rw")


def _folder(at: Path) -> Path:
    folder = at / "made"
    folder.mkdir()
    (folder / "a").write_text("a")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("faketime") is None, reason="the Debian package faketime is not installed")
def test_a_clock_stepped_back_undoes_nothing(tmp_path: Path) -> None:
    at = released.place(tmp_path / "home")
    version = released.add(at, "one")
    released.registry.promote(at.registry, version.version)
    yesterday = ("faketime", "-f", "-36h")
    code = (
        "from pathlib import Path; from deploy.store import FolderStore; from tasks import stages, history\n"
        "from data_contracts.artifacts import Splits\n"
        f"home = Path({str(at.home)!r})\n"
        "done = stages.run(FolderStore(home / 'store'), 'stages/split/x', Splits, lambda work: 1/0)\n"
        "entry = history.append(home, history.Event(kind='refused', version=1, by='tester'))\n"
        "print(done.reused, entry.at < history.read(home)[-2].at, history.verify(home))\n"
    )
    stages.run(at.store, "stages/split/x", Splits, write(10))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    seen = subprocess.run([*yesterday, sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True)

    assert seen.stdout.split() == ["True", "True", "None"], seen.stderr
    for words in (("promote", "1", "--dry-run"), ("gate", "1"), ("history",), ("why", "1")):
        found = tingsu(*words, home=at.home, prefix=yesterday)
        assert found.returncode == 0, (words, found.stderr)
