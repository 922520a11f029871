"""A deployment run whose worker is killed is found, marked, freed of its slot and run to its end, on a real server."""

import os
import signal
from collections.abc import Iterator

import pytest

from deploy.operate import group, launch, processes
from deploy.operate.orchestrator import WORKER
from tests.flows.runs import kill_worker, slots_in_use, start, state, told, until
from tests.flows.stack import Stack, stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("worker")) as made:
        made.run("sample", "--calls", "700", "--seed", "77", "--out", str(made.home / "calls.jsonl"))
        made.run("submit", str(made.home / "calls.jsonl"), "--name", "calls")
        yield made


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
