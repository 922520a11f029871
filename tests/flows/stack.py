"""The real command line on a stack of its own, for tests: a home, free ports, `up` and `down`."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from configs.sources import load
from deploy.operate import prefect_database
from tests.flows.ports import free_ports
from tests.killer import PLAN, Plan

ROOT = Path(__file__).parent.parent.parent
NAMES = ("service", "console", "mlflow", "prefect", "engines_from")
LOW_BAR = "gate.bounds=[{metric: error_share, at_most: 0.0}, {metric: quantization_loss_f1, at_most: 0.9}]"
QUICK = [
    *("--set", LOW_BAR, "--set", "train.epochs=1", "--set", "benchmark.duration_s=3", "--set", "benchmark.warmup_s=1"),
    *("--set", "gate.resamples=200", "--set", "train.checkpoint_steps=10"),
]


@cache
def _database() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tingsu-prefect-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    prefect_database.ensure(folder, load("tiny"))
    return folder / "prefect"


def lay_database(home: Path) -> None:
    """Prefect's database, as the product makes it on first use, in a home: all its migrations take ten seconds, so once for all tests."""
    shutil.copytree(_database(), home / "prefect")


Answer = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Stack:
    """A home and the environment its commands run in."""

    home: Path
    env: dict[str, str]
    ports: dict[str, int]

    def run(self, *words: str, ok: tuple[int, ...] = (0,), plan: Plan | None = None) -> Answer:
        """A command to its end; with a plan it must be killed by it, unless that has another victim."""
        module = ["flows"] if plan is None else ["tests.killer", "flows"]
        env = self.env | ({PLAN: json.dumps(plan)} if plan else {})
        argv = [sys.executable, "-P", "-m", *module, *words]
        found = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=900)
        assert found.returncode in (ok if plan is None or plan.victim else (-9,)), (
            f"{words} {plan}: exit {found.returncode}\n{found.stdout}\n{found.stderr}"
        )
        return found

    def json(self, *words: str, ok: tuple[int, ...] = (0,)) -> Any:
        return json.loads(self.run(*words, "--json", ok=ok).stdout)


@contextmanager
def stack(home: Path) -> Iterator[Stack]:
    """A running stack, stopped at the end."""
    ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    env |= {"PYTHONPATH": str(ROOT), "TINGSU_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    env |= {f"TINGSU_PORTS__{name.upper()}": str(port) for name, port in ports.items()}
    made = Stack(home, env, ports)
    lay_database(home)
    try:
        made.run("up")
        yield made
    finally:
        made.run("down")
