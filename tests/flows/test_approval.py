"""A release that waits for a person, on real parts: rejected on Prefect's page, then approved on the command line."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from deploy import targets
from tests.flows import runs
from tests.flows.runs import ask
from tests.flows.stack import QUICK, Stack, stack
from tests.tiny import write_base

pytestmark = pytest.mark.slow
APPROVAL = ("--set", "rollout.approval=required")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, tuple[str, ...]]]:
    base = write_base(tmp_path_factory.mktemp("base"))
    cheap = (f"train.base_model={base}", "quantize.forms=[int8]", "benchmark.duration_s=2", "rollout.canary.steps=[]")
    sets = (*QUICK, *(word for pair in cheap for word in ("--set", pair)), *APPROVAL)
    with stack(tmp_path_factory.mktemp("approval")) as made:
        made.run("sample", "--calls", "400", "--seed", "77", "--out", str(made.home / "calls.jsonl"))
        made.run("submit", str(made.home / "calls.jsonl"), "--name", "calls")
        yield made, ("retrain", "--dataset", "calls", *sets, "--json")


def begun(at: Stack, words: tuple[str, ...]) -> subprocess.Popen[str]:
    argv = [sys.executable, "-P", "-m", "flows", *words]
    return subprocess.Popen(argv, env=at.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(process: subprocess.Popen[str], ready: Callable[[], Any]) -> Any:
    while not (found := ready()):
        assert process.poll() is None, process.communicate()
        time.sleep(1)
    return found


def paused(at: Stack, since: float = 0.0) -> str | None:
    """The id of a run that has been paused since then, if one is."""
    body: dict[str, object] = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
    found = ask(at, "flow_runs/filter", body)
    return next(
        (str(r["id"]) for r in found if datetime.fromisoformat(r["state"]["timestamp"]).timestamp() > since), None
    )


def test_rejected_on_prefects_page_it_is_undone_and_approved_on_the_command_line_it_goes_live(
    running: tuple[Stack, tuple[str, ...]],
) -> None:
    at, command = running
    first = begun(at, command)
    run = until(first, lambda: paused(at))
    assert targets.read(at.home, "local").state == "awaiting"
    said = {"answer": "reject", "who": "王审", "why": "misses refunds"}
    until(first, lambda: ask(at, f"flow_runs/{run}/resume", {"run_input": said})["status"] == "ACCEPT")
    _, told = first.communicate(timeout=300)
    rejected = targets.read(at.home, "local")
    waits = at.run("promote", "1", *command[3:-1], ok=(4,))

    second = begun(at, command)
    until(second, lambda: paused(at))
    at.run("approve", "1", "--why", "looked at again")
    answer, _ = second.communicate(timeout=300)

    assert first.returncode == 1 and "withdrawn by 王审 (on Prefect's page)" in told and "misses refunds" in told
    assert (rejected.state, rejected.live) == ("undone", None)
    assert "version 1 is staged and verified on local and waits for a person" in waits.stderr
    assert (second.returncode, json.loads(answer)["release"]["version"]) == (0, 1)
    released = [entry["event"] for entry in at.json("history") if entry["event"]["kind"] == "released"]
    assert [event["detail"]["approval"]["why"] for event in released] == ["looked at again"]


def test_a_worker_that_is_killed_loses_neither_the_question_nor_its_answer_and_gc_works_meanwhile(
    running: tuple[Stack, tuple[str, ...]],
) -> None:
    at, command = running
    run = runs.start(at, [*command[4:-1:2], "train.learning_rate=0.0007"])
    runs.until(lambda: paused(at), 400)
    asking = (runs.state(at, run), runs.slots_in_use(at))  # a run without its slot is ended by Prefect
    runs.kill_worker(at)
    killed = time.time()

    at.run("up")
    runs.until(lambda: (again := paused(at, killed)) and shown(at, again), 300)
    question = shown(at, str(paused(at, killed)))
    removed = at.json("gc", "--older", "0", "--keep-runs", "1", "--set", "retention.keep_versions=1")
    runs.kill_worker(at)
    at.run("sample", "--calls", "400", "--seed", "78", "--out", str(at.home / "newer.jsonl"))
    at.run("submit", str(at.home / "newer.jsonl"))  # what the killed run had chosen is not the newest any more
    said = {"answer": "approve", "who": "王审", "why": "read the misses"}
    answered = ask(at, f"flow_runs/{paused(at)}/resume", {"run_input": said})["status"]
    at.run("up")
    runs.until(lambda: runs.state(at, run) == "Completed", 200)

    assert (asking, answered) == (("Running", 1), "ACCEPT")
    assert "**Version 2** is staged" in question and "版本 2" in question and "PROMOTE" in question
    assert "bundle" not in {tally["kind"] for tally in removed}
    released = [entry["event"] for entry in at.json("history") if entry["event"]["kind"] == "released"][-1]
    assert (released["version"], released["detail"]["approval"]["by"]) == (2, "王审 (on Prefect's page)")
    assert targets.read(at.home, "local").state == "live"


def shown(at: Stack, run: str) -> str:
    """What the page shows beside the form."""
    found = ask(at, f"flow_runs/{run}/input/filter", {"prefix": "paused-", "limit": 100})
    return next((str(each["value"]) for each in reversed(found) if each["key"].endswith("-description")), "")
