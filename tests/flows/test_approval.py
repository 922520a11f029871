"""A release that waits for a person, on real parts: rejected on Prefect's page, then approved on the command line."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deploy import targets
from tests.flows.stack import QUICK, Stack, stack
from tests.tiny import write_base

pytestmark = pytest.mark.slow
APPROVAL = ("--set", "rollout.approval=required")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, tuple[str, ...]]]:
    base = write_base(tmp_path_factory.mktemp("base"))
    cheap = (f"train.base_model={base}", "quantize.forms=[int8]", "benchmark.duration_s=2")
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


def paused(at: Stack) -> str | None:
    """The id of the flow run that is paused, if one is."""
    body = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
    runs = asked(at, "flow_runs/filter", body)
    return str(runs[0]["id"]) if runs else None


def asked(at: Stack, path: str, body: dict[str, object]) -> Any:
    url = f"http://127.0.0.1:{at.ports['prefect']}/api/{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def test_rejected_on_prefects_page_it_is_undone_and_approved_on_the_command_line_it_goes_live(
    running: tuple[Stack, tuple[str, ...]],
) -> None:
    at, command = running
    first = begun(at, command)
    run = until(first, lambda: paused(at))
    assert targets.read(at.home, "local").state == "awaiting"
    said = {"approve": False, "who": "王审", "why": "misses refunds"}
    until(first, lambda: asked(at, f"flow_runs/{run}/resume", {"run_input": said})["status"] == "ACCEPT")
    _, told = first.communicate(timeout=300)
    rejected = targets.read(at.home, "local")

    second = begun(at, command)
    until(second, lambda: paused(at))
    at.run("approve", "1", "--why", "looked at again")
    answer, _ = second.communicate(timeout=300)

    assert first.returncode == 1 and "withdrawn by 王审 (on Prefect's page)" in told and "misses refunds" in told
    assert (rejected.state, rejected.live) == ("undone", None)
    assert (second.returncode, json.loads(answer)["release"]["version"]) == (0, 1)
    released = [entry["event"] for entry in at.json("history") if entry["event"]["kind"] == "released"]
    assert [event["detail"]["approval"]["why"] for event in released] == ["looked at again"]
