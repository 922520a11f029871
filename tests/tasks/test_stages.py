"""A stage is done once, appears whole or not at all, and is keyed by inputs and code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.training import TrainSettings
from data_contracts.artifacts import Base
from data_contracts.schema import Frozen
from deploy.store import FolderStore
from tasks import stages
from tasks.stages import Work, run


class Number(Frozen):
    value: int


def test_a_stage_is_done_once(tmp_path: Path) -> None:
    store, starts = FolderStore(tmp_path), []

    def step(work: Work) -> Number:
        starts.append(work.key)
        (work.out / "x").write_text("1")
        return Number(value=7)

    first, again = (run(store, "stages/count/a", Number, step) for _ in range(2))

    assert (first.result, again.result) == (Number(value=7), Number(value=7))
    assert (first.reused, again.reused) == (False, True)
    assert starts == ["stages/count/a"]


def test_a_failed_step_leaves_nothing_but_its_scratch(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)

    def fail(work: Work) -> Number:
        (work.out / "half").write_text("half")
        (work.scratch / "checkpoint").write_text("kept")
        raise ValueError("crash")

    def go_on(work: Work) -> Number:
        assert (work.scratch / "checkpoint").read_text() == "kept"
        assert list(work.out.iterdir()) == []
        return Number(value=1)

    with pytest.raises(ValueError, match="crash"):
        run(store, "stages/fail/a", Number, fail)
    assert not store.has("stages/fail/a")
    assert run(store, "stages/fail/a", Number, go_on).result == Number(value=1)


def test_a_damaged_record_is_done_again(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    run(store, "stages/d/a", Number, lambda work: Number(value=1))
    (tmp_path / "stages/d/a/record.json").write_text("{}")

    assert run(store, "stages/d/a", Number, lambda work: Number(value=2)).result == Number(value=2)


def test_a_stage_with_one_changed_byte_is_done_again(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)

    def step(work: Work) -> Number:
        (work.out / "weights").write_bytes(b"1234")
        return Number(value=1)

    run(store, "stages/d/a", Number, step)
    (tmp_path / "stages/d/a/weights").write_bytes(b"1235")

    assert run(store, "stages/d/a", Number, step).reused is False
    assert (tmp_path / "stages/d/a/weights").read_bytes() == b"1234"


def test_two_processes_do_a_stage_once(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from deploy.store import FolderStore; from tasks.stages import run; from tests.tasks.test_stages import Number\n"
        "root = Path(sys.argv[1])\n"
        "def step(work):\n"
        "    with (root / 'starts').open('a') as f: f.write('x')\n"
        "    time.sleep(1.0)\n"
        "    return Number(value=3)\n"
        "print(run(FolderStore(root / 'store'), 'stages/two/a', Number, step).result.value)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(stages.ROOT)}
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]

    assert [p.communicate(timeout=60)[0].strip() for p in both] == ["3", "3"]
    assert (tmp_path / "starts").read_text() == "x"


def test_the_key_covers_the_code_a_step_runs_as_a_process() -> None:
    found = stages._closure("tasks.benchmark")

    assert {"deploy.service.app", "deploy.service.child", "deploy.service.text", "deploy.engines.transformers"} <= found
    assert "deploy.engines" in found


def test_the_key_changes_with_an_input() -> None:
    keys = {stages.stage_key("split", {"0": Number(value=v)}, sys.modules["tasks.stages"]) for v in (1, 2)}

    assert len(keys) == 2


def test_the_key_does_not_say_where_a_base_model_lies() -> None:
    here, there, other = (
        {"base": Base(path=path, name=path, digest=digest), "train": TrainSettings(base_model=path)}
        for path, digest in (("/a", "d" * 64), ("/b", "d" * 64), ("/a", "e" * 64))
    )
    module = sys.modules["tasks.stages"]

    assert stages.stage_key("train", here, module) == stages.stage_key("train", there, module)
    assert stages.stage_key("train", here, module) != stages.stage_key("train", other, module)


def test_the_code_of_a_step_covers_the_data_of_the_packages_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {path.name for name in stages._closure("tasks.pack") for path in stages._data(name)}

    assert {"words.yaml", "billing_dispute.yaml"} <= files
    assert files & {"tiny.yaml", "model.safetensors", "taxonomy.yaml"} == set()  # these reach a step as its inputs
    before = stages.code_digest("tasks.pack")
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"\n" if path.name == "words.yaml" else b""))
    stages.code_digest.cache_clear()
    assert stages.code_digest("tasks.pack") != before
    stages.code_digest.cache_clear()
