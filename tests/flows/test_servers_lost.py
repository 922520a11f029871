"""Prefect and MLflow killed in the middle of a run: one sentence, and what was finished stays."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows.ports import free_ports

ROOT = Path(__file__).parent.parent.parent
LOW_BAR = "gate.bounds=[{metric: error_share, at_most: 0.0}, {metric: quantization_loss_f1, at_most: 0.9}]"
QUICK = [
    *("--set", LOW_BAR, "--set", "train.epochs=1", "--set", "benchmark.duration_s=3", "--set", "benchmark.warmup_s=1"),
    *("--set", "gate.resamples=200", "--set", "quantize.forms=[int8]"),
]


@dataclass
class Stack:
    """A home whose servers run."""

    home: Path
    env: dict[str, str]

    def start(self, *words: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-P", "-m", "flows", *words]
        return subprocess.Popen(argv, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *words: str) -> str:
        process = self.start(*words)
        out, err = process.communicate(timeout=900)
        assert process.returncode == 0, out + err
        return out

    def stages(self) -> set[str]:
        return {
            f.parent.relative_to(self.home / "store/stages").as_posix()
            for f in self.home.glob("store/stages/*/*/record.json")
        }

    def retrain_until(self, stage: str, victim: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Kill a server as soon as a stage is finished; how the run then ended."""
        process = self.start("retrain", *QUICK, *more)
        while not any(self.home.glob(f"store/stages/{stage}/*/record.json")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        pid = json.loads((self.home / f"run/{victim}.json").read_text())["pid"]
        os.killpg(pid, signal.SIGKILL)
        out, err = process.communicate(timeout=900)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("stack")
    names = ("service", "console", "mlflow", "prefect", "engines_from")
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    env |= {"PYTHONPATH": str(ROOT), "TINGSU_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    env |= {f"TINGSU_PORTS__{n.upper()}": str(port) for n, port in zip(names, free_ports(len(names)), strict=True)}
    made = Stack(home, env)
    try:
        made.run("up")
        made.run("sample", "--calls", "600", "--out", str(home / "calls.jsonl"))
        made.run("submit", str(home / "calls.jsonl"))
        yield made
    finally:
        made.run("down")


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "stage", "name"), [("mlflow", "split", "MLflow"), ("prefect", "train", "Prefect")])
def test_a_server_killed_during_a_run_is_said_and_the_finished_stages_are_kept(
    stack: Stack, victim: str, stage: str, name: str
) -> None:
    # Without mlflow.uri a run goes on with the database beneath the server it has lost.
    server = f"mlflow.uri=http://127.0.0.1:{stack.env['TINGSU_PORTS__MLFLOW']}"
    ended = stack.retrain_until(stage, victim, "--set", server)
    kept = stack.stages()

    assert ended.returncode == 1, ended.stderr
    assert len([line for line in ended.stderr.splitlines() if line.startswith(f"tingsu: {name} at ")]) == 1, (
        ended.stderr
    )
    assert "Traceback" not in ended.stderr
    assert any(key.startswith(f"{stage}/") for key in kept)
    stack.run("up")
