"""The local stack: brought up once, repaired, brought down whole."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.settings import Settings
from configs.sources import load
from data_contracts.errors import ResourceInsufficient
from deploy.operate import orchestrator, ports, processes, stack
from deploy.operate.processes import Command


@pytest.fixture
def settings() -> Settings:
    names = ("prefect", "mlflow", "service", "console", "engines_from")
    free: list[int] = []
    for _ in names:
        free.append(ports.spare(19000 + 100 * (os.getpid() % 50), free))
    return load(sets=[f"ports.{name}={port}" for name, port in zip(names, free, strict=True)], env={})


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    stack.down(tmp_path)


def states(home: Path) -> dict[str, str]:
    return {part.name: part.state for part in stack.status(home)}


def wait_dead(process: processes.Process) -> None:
    while processes.alive(process):
        time.sleep(0.02)


def test_a_home_where_nothing_was_started_shows_every_part_stopped(home: Path) -> None:
    assert states(home) == dict.fromkeys(("prefect", "prefect-worker", "mlflow", "service", "console"), "stopped")
    assert stack.down(home) == ()


def test_down_stops_whatever_runs_under_the_home_and_status_tells_the_dead(home: Path) -> None:
    argv = (sys.executable, "-c", "import time; time.sleep(60)")
    kept, killed = (processes.start(home, Command(name=name, argv=argv)) for name in ("kept", "killed"))
    os.kill(killed.pid, signal.SIGKILL)
    wait_dead(killed)

    assert {name: states(home)[name] for name in ("kept", "killed")} == {"kept": "running", "killed": "died"}
    assert stack.down(home) == ("kept",)
    assert not processes.alive(kept)
    assert processes.recorded(home) == []


def test_a_held_port_is_named_with_its_setting(home: Path, settings: Settings) -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", settings.ports.prefect))
        stranger.listen()

        with pytest.raises(ResourceInsufficient, match=r"--set ports\.prefect=PORT"):
            processes.start(home, orchestrator.server(home, settings))


@pytest.mark.slow
def test_up_starts_everything_once_repairs_a_dead_part_and_down_leaves_nothing(home: Path, settings: Settings) -> None:
    stack.up(home, settings)
    before = {process.name: process.pid for process in processes.running(home)}
    assert set(before) == {"prefect", "prefect-worker", "mlflow", "console"}

    worker = processes.find(home, orchestrator.WORKER)
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    wait_dead(worker)
    assert states(home)["prefect-worker"] == "died"
    stack.up(home, settings)

    after = {process.name: process.pid for process in processes.running(home)}
    assert {name for name in after if after[name] != before[name]} == {"prefect-worker"}
    assert (home / "mlflow/mlflow.db").is_file() and (home / "prefect/prefect.db").is_file()
    assert set(stack.down(home)) == set(before)
    assert stack.down(home) == ()
    assert processes.recorded(home) == []
    assert ports.is_free(settings.ports.prefect) and ports.is_free(settings.ports.mlflow)
