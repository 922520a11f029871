"""Training over two processes: the same batches, losses and adapter as in one, and the loss of a process is survived."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from configs.training import TrainSettings
from data_contracts.artifacts import Adapter
from data_contracts.errors import ModelLoadError, ResourceInsufficient
from tasks import train
from tasks.batches import Batches
from tasks.ranks import Group
from tasks.stages import Work
from tests.tiny import Bench, make_bench

ROOT = Path(__file__).parents[2]
QUICK = TrainSettings(
    epochs=2, learning_rate=5e-3, rank=4, batch_tokens=256, dropout=0.0, checkpoint_steps=1, precision="fp32"
)
TWO = QUICK.model_copy(update={"processes": 2})


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("ranks"), rows=24)


def fit(bench: Bench, name: str, settings: TrainSettings) -> tuple[Adapter, Work]:
    work = bench.work(name)
    shutil.rmtree(work.out)
    work.out.mkdir()
    return train.fit(bench.splits, bench.base, bench.prompt, bench.taxonomy, settings, work), work


def log(work: Work, name: str) -> list[float]:
    """A logged number at each step."""
    last = max((work.scratch / "checkpoints").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    entries = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return [entry[name] for entry in entries if name in entry]


def tensors(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return dict(load_file(folder / "adapter_model.safetensors"))


@pytest.fixture(scope="module")
def one(bench: Bench) -> tuple[Adapter, Work]:
    return fit(bench, "one", QUICK)


@pytest.fixture(scope="module")
def two(bench: Bench) -> tuple[Adapter, Work]:
    return fit(bench, "two", TWO)


def test_two_processes_have_the_losses_of_one_at_every_step(
    one: tuple[Adapter, Work], two: tuple[Adapter, Work]
) -> None:
    alone, together = log(one[1], "loss"), log(two[1], "loss")

    assert len(together) == two[0].metrics["steps"] == 2 * 5  # batches of 5, 5, 5, 1 and 8
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    np.testing.assert_allclose(log(two[1], "grad_norm"), log(one[1], "grad_norm"), rtol=1e-3)
    assert alone[-1] < alone[0]


def test_two_processes_make_the_adapter_of_one(one: tuple[Adapter, Work], two: tuple[Adapter, Work]) -> None:
    alone, together = tensors(one[1].out / "adapter"), tensors(two[1].out / "adapter")

    assert alone.keys() == together.keys()
    for name, values in alone.items():
        np.testing.assert_allclose(together[name], values, atol=1e-4, err_msg=name)
    assert two[0].metrics["validation_macro_f1"] == pytest.approx(one[0].metrics["validation_macro_f1"])
    assert (one[0].metrics["processes"], two[0].metrics["processes"]) == (1, 2)
    assert one[0].settings == two[0].settings


def test_every_row_of_a_batch_goes_to_one_process_and_a_process_may_get_none() -> None:
    lengths = [40] * 26
    whole = Batches(lengths, 256, seed=3)
    shares = [Batches(lengths, 256, 3, Group(rank, 2)) for rank in range(2)]

    for epoch in range(2):
        for batches in (whole, *shares):
            batches.set_epoch(epoch)
        for batch, left, right in zip(whole, *shares, strict=True):
            assert sorted(left + right) == sorted(batch)
            assert len(left) - len(right) in (0, 1)
    assert min(map(len, shares[1])) == 0


def members(starter: int) -> dict[int, psutil.Process]:
    """The training processes that a process started, by rank."""
    found = {}
    for process in psutil.Process(starter).children(recursive=True):
        try:
            if "tasks.train" in process.cmdline() and (rank := process.environ().get("RANK")):
                found[int(rank)] = process
        except psutil.Error:
            continue
    return found


def wait_for(happened, seconds: float = 120) -> None:  # type: ignore[no-untyped-def]
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_the_same_work_goes_on_in_one(
    bench: Bench, one: tuple[Adapter, Work]
) -> None:
    seen: dict[int, psutil.Process] = {}

    def kill() -> None:
        wait_for(lambda: len(seen.update(members(os.getpid())) or seen) == 2)
        wait_for(lambda: any(bench.work("killed").scratch.glob("checkpoints/checkpoint-*/trainer_state.json")))
        seen[1].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ResourceInsufficient, match=r"process 2 of 2 was ended by SIGKILL.*the others were stopped"):
        fit(bench, "killed", TWO)
    killer.join()
    assert not any(process.is_running() for process in seen.values())

    adapter, work = fit(bench, "killed", QUICK)

    assert 0 < adapter.metrics["steps"] < one[0].metrics["steps"]
    for name, values in tensors(one[1].out / "adapter").items():
        np.testing.assert_allclose(tensors(work.out / "adapter")[name], values, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_training_goes_on_in_two_processes_bit_identical_with_dropout(bench: Bench) -> None:
    settings = TWO.model_copy(update={"dropout": 0.1})
    _, work = fit(bench, "dropout", settings)
    want = tensors(work.out / "adapter")
    (work.scratch / "checkpoints/checkpoint-10/trainer_state.json").unlink()

    again, work = fit(bench, "dropout", settings)

    assert again.metrics["steps"] == 1
    for name, values in tensors(work.out / "adapter").items():
        np.testing.assert_array_equal(values, want[name])


@pytest.mark.slow
def test_what_a_process_refuses_is_said_as_if_it_were_alone(bench: Bench, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(bench.base.path, base)
    (base / "model.safetensors").write_bytes(b"damaged")
    broken = Bench(
        bench.store, bench.splits, bench.base.model_copy(update={"path": str(base)}), bench.prompt, bench.taxonomy
    )

    with pytest.raises(ModelLoadError, match="cannot be loaded as merged weights"):
        fit(broken, "refused", TWO)


STARTER = """
import sys
from tasks import ranks
ranks.run("tasks.train", open(sys.argv[1] + "/plan.json").read(), 2, __import__("pathlib").Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_no_training_process_outlives_its_starter(two: tuple[Adapter, Work], tmp_path: Path) -> None:
    shutil.copytree(two[1].scratch, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "best"))
    plan = json.loads((tmp_path / "run/plan.json").read_text())
    (tmp_path / "run/plan.json").write_text(json.dumps({**plan, "scratch": str(tmp_path / "run"), "checkpoint": None}))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    starter = subprocess.Popen([sys.executable, "-P", "-c", STARTER, str(tmp_path / "run")], env=env)
    wait_for(lambda: len(members(starter.pid)) == 2)
    started = members(starter.pid)

    starter.kill()
    starter.wait()

    wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in started.values()), 30)


@pytest.mark.slow
def test_torchrun_starts_the_same_training(two: tuple[Adapter, Work], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    plan = json.loads((two[1].scratch / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, "scratch": str(folder), "checkpoint": None}))
    argv = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}  # torch leaves a folder of its own there

    subprocess.run([*argv, "-m", "tasks.train", str(folder)], env=env, check=True, timeout=300)

    assert json.loads((folder / "answer.json").read_text())["steps"] == two[0].metrics["steps"]
    for name, values in tensors(folder / "best").items():
        np.testing.assert_array_equal(values, tensors(two[1].out / "adapter")[name])
