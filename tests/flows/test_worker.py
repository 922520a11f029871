"""A deployment run whose worker is killed is found, marked, freed of its slot and run to its end, on a real server."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.operate import group, launch, processes
from deploy.operate.orchestrator import WORKER
from tests.flows.stack import QUICK, Stack, stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("worker")) as made:
        made.run("sample", "--calls", "700", "--seed", "77", "--out", str(made.home / "calls.jsonl"))
        made.run("submit", str(made.home / "calls.jsonl"), "--name", "calls")
        yield made


def ask(running: Stack, path: str, body: dict[str, object]) -> Any:
    url = f"http://127.0.0.1:{running.ports['prefect']}/api/{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def start(running: Stack) -> str:
    """Ask for a run of the deployment; its id."""
    env = {**running.env, "PREFECT_API_URL": f"http://127.0.0.1:{running.ports['prefect']}/api"}
    argv = [str(Path(sys.executable).with_name("prefect")), "deployment", "run", "retrain/on-demand"]
    argv += ["--param", f"sets={json.dumps(QUICK[1::2])}"]
    known = {run["id"] for run in ask(running, "flow_runs/filter", {})}
    subprocess.run(argv, check=True, capture_output=True, env=env, timeout=120)
    return str(next(run["id"] for run in ask(running, "flow_runs/filter", {}) if run["id"] not in known))


def state(running: Stack, run: str) -> str:
    found = ask(running, "flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    return str(found[0]["state_name"])


def told(running: Stack, run: str) -> list[str]:
    """Names of the states a run went through, oldest first."""
    url = f"http://127.0.0.1:{running.ports['prefect']}/api/flow_run_states/?flow_run_id={run}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        states = sorted(json.loads(answer.read()), key=lambda s: s["timestamp"])
    return [str(s["name"]) for s in states]


def until(holds: Any, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, f"not within {limit_s:.0f} s"
        time.sleep(0.2)


def kill_worker(running: Stack) -> None:
    """The worker and everything it started, at once."""
    worker = processes.find(running.home, WORKER)
    assert worker is not None
    group.send(group.members(worker.pid, worker.started), signal.SIGKILL)
    until(lambda: not processes.alive(worker), 10)


def slots_in_use(running: Stack) -> int:
    limits = ask(running, "v2/concurrency_limits/filter", {})
    return sum(int(limit["active_slots"]) for limit in limits)


def test_a_run_whose_worker_was_killed_goes_on_when_the_stack_is_up_again(running: Stack) -> None:
    first = start(running)
    second = start(running)  # waits for the slot the first one holds
    until(lambda: list(running.home.glob("store/stages/baseline/*/record.json")), 240)
    finished = {p: p.stat().st_mtime_ns for p in running.home.glob("store/stages/*/*/record.json")}
    kill_worker(running)
    assert (state(running, first), slots_in_use(running)) == ("Running", 1)

    running.run("up")

    names = told(running, first)
    assert names[names.index("Running") :][:3] == ["Running", "WorkerLost", "Scheduled"]
    until(lambda: {state(running, run) for run in (first, second)} == {"Completed"}, 400)
    assert {p: p.stat().st_mtime_ns for p in finished} == finished
    assert slots_in_use(running) == 0


def test_a_run_that_outlived_its_worker_is_ended_before_it_is_started_again(running: Stack) -> None:
    run = start(running)
    until(lambda: state(running, run) == "Running", 120)
    worker = processes.find(running.home, WORKER)
    assert worker is not None
    orphans = {pid: launch.identity(pid) for pid in group.members(worker.pid, worker.started) if pid != worker.pid}
    os.kill(worker.pid, signal.SIGKILL)

    running.run("up")

    assert orphans and not [pid for pid, started in orphans.items() if group.is_running(pid, started)]
    until(lambda: state(running, run) == "Completed", 240)
