"""Training that is killed goes on from its last whole checkpoint and ends bit-identical to a run that was not."""

import os
import shutil
from pathlib import Path

import pytest

from configs.training import TrainSettings
from tasks import train
from tasks.trainer import last_checkpoint, seal
from tests import killer
from tests.killer import Plan
from tests.tiny import Bench, make_bench

SETTINGS = {  # with dropout peft's own layers run and draw random numbers, without it our pass through the decoder
    name: TrainSettings(
        epochs=2, learning_rate=5e-3, rank=4, batch_tokens=256, dropout=dropout, checkpoint_steps=3, precision=name
    )
    for name, dropout in (("fp32", 0.1), ("bf16", 0.0))
}
MOMENTS = {
    "before the first checkpoint": r"mkdir .*/checkpoint-3\b",
    "in the first checkpoint, before its state": r"open w .*/checkpoint-3/trainer_state",
    "in a checkpoint, before its seal": r"os.rename .*/checkpoint-6/\.files",
    "in a checkpoint, before its adapter": r"open w .*/checkpoint-6/adapter_config",
    "dropping the oldest checkpoint": r"rmdir .*checkpoint-3",
    "saving the best adapter": r"open w .*/best\.new/adapter_config",
    "before the best adapter appears": r"os.rename .*/best\.new",
    "between the best adapter and its checkpoint": r"mkdir .*/checkpoint-STEPS\b",
    "after the last checkpoint": r"copytree .*/best ",
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("resume"), rows=36)


def fit(bench: Bench, name: str, precision: str) -> None:
    """One attempt: an empty `out`, and whatever the last attempt left in `scratch`; its result beside them."""
    work = bench.work(name)
    shutil.rmtree(work.out)
    work.out.mkdir()
    adapter = train.fit(bench.splits, bench.base, bench.prompt, bench.taxonomy, SETTINGS[precision], work)
    (work.out / "answer.json").write_text(adapter.model_dump_json(include={"digest", "history"}))
    (work.out / "steps").write_text(str(adapter.metrics["steps"]))


def outcome(bench: Bench, name: str) -> dict[str, bytes]:
    """Every byte a run leaves that must not depend on whether it was killed: adapter, history, the last checkpoint."""
    work = bench.work(name)
    last = last_checkpoint(work.scratch / "checkpoints")
    assert last is not None
    kept = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")
    files = {name: last / name for name in kept} | {
        "best": work.out / "adapter/adapter_model.safetensors",
        "answer": work.out / "answer.json",
    }
    return {"last": last.name.encode()} | {name: path.read_bytes() for name, path in files.items()}


@pytest.fixture(scope="module")
def whole(bench: Bench) -> dict[str, dict[str, bytes]]:
    """Uninterrupted runs."""
    for precision in SETTINGS:
        assert killer.run(fit, bench, f"whole-{precision}", precision) == 0
    return {precision: outcome(bench, f"whole-{precision}") for precision in SETTINGS}


TELLING = ("in the first checkpoint", "in a checkpoint, before its seal", "before the best", "between the best")
CASES = [(precision, moment) for precision in SETTINGS for moment in MOMENTS]


def is_quick(precision: str, moment: str) -> bool:
    return moment.startswith(TELLING if precision == "fp32" else TELLING[1])


@pytest.mark.parametrize(
    ("precision", "moment"), [pytest.param(*c, marks=[] if is_quick(*c) else pytest.mark.slow) for c in CASES]
)
def test_killed_twice_at_any_moment_it_ends_bit_identical(
    bench: Bench, whole: dict[str, dict[str, bytes]], precision: str, moment: str
) -> None:
    name, steps = f"{moment}-{precision}".replace(" ", "-"), whole[precision]["last"].decode().partition("-")[2]
    plan = Plan(MOMENTS[moment].replace("STEPS", steps))

    assert [killer.run(fit, bench, name, precision, plan=plan) for _ in range(2)] == [-9, -9]
    assert killer.run(fit, bench, name, precision) == 0

    assert outcome(bench, name) == whole[precision]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


DAMAGES = {
    "empty": lambda c: [p.unlink() for p in c.iterdir()],
    "not sealed": lambda c: (c / ".files.json").unlink(),
    "seal cut": lambda c: cut(c / ".files.json"),
    "state missing": lambda c: (c / "trainer_state.json").unlink(),
    "state cut": lambda c: cut(c / "trainer_state.json"),
    "optimizer cut": lambda c: cut(c / "optimizer.pt"),
    "random state missing": lambda c: (c / "rng_state.pth").unlink(),
    "adapter changed in one byte": lambda c: flip(c / "adapter_model.safetensors"),
}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


LATER = ("seal cut", "not sealed", "state cut", "adapter changed in one byte")


@pytest.mark.parametrize("damage", [pytest.param(d, marks=pytest.mark.slow if d in LATER else []) for d in DAMAGES])
def test_a_checkpoint_that_is_not_whole_is_skipped(
    bench: Bench, whole: dict[str, dict[str, bytes]], tmp_path: Path, damage: str
) -> None:
    source, name = bench.work("whole-fp32"), f"damaged-{damage}".replace(" ", "-")
    shutil.copytree(source.scratch, bench.work(name).scratch, dirs_exist_ok=True)
    last = last_checkpoint(bench.work(name).scratch / "checkpoints")
    assert last is not None
    DAMAGES[damage](last)

    before = last_checkpoint(last.parent)
    assert before is not None and before != last
    assert killer.run(fit, bench, name, "fp32") == 0

    assert outcome(bench, name) == whole["fp32"]
    done = float((bench.work(name).out / "steps").read_text())
    assert done == int(last.name.split("-")[1]) - int(before.name.split("-")[1])


class Bomb:
    """A pickle that runs code when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("file", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_never_runs_code(
    bench: Bench, whole: dict[str, dict[str, bytes]], tmp_path: Path, file: str
) -> None:
    import torch

    name, mark = f"bomb-{file}", tmp_path / "ran"
    shutil.copytree(bench.work("whole-fp32").scratch, bench.work(name).scratch, dirs_exist_ok=True)
    checkpoints = bench.work(name).scratch / "checkpoints"
    shutil.rmtree(
        checkpoints / whole["fp32"]["last"].decode()
    )  # nothing is left to train after it, so not all of it is read
    last = last_checkpoint(checkpoints)
    assert last is not None
    torch.save(Bomb(mark), last / file)
    seal(last)  # whoever can put a file there can seal it too
    torch.load(last / file, weights_only=False)
    assert mark.exists()
    mark.unlink()

    assert killer.run(fit, bench, name, "fp32") == 1
    assert not mark.exists()
