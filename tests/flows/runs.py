"""Runs of a stack's worker, asked of its Prefect server, and the worker's sudden end."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.operate import group, processes
from deploy.operate.orchestrator import WORKER
from tests.flows.stack import QUICK, Stack


def ask(running: Stack, path: str, body: dict[str, object]) -> Any:
    url = f"http://127.0.0.1:{running.ports['prefect']}/api/{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def start(running: Stack, sets: Sequence[str] = QUICK[1::2]) -> str:
    """Ask for a run of the deployment; its id."""
    env = {**running.env, "PREFECT_API_URL": f"http://127.0.0.1:{running.ports['prefect']}/api"}
    argv = [str(Path(sys.executable).with_name("prefect")), "deployment", "run", "retrain/on-demand"]
    argv += ["--param", f"sets={json.dumps(sets)}"]
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
