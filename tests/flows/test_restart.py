"""The real command, killed by SIGKILL at every stage of the pipeline and in every write after it, ends as if it had not."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.operate import processes
from deploy.operate.stack import TRACKING
from tests import killer
from tests.flows.stack import QUICK, Stack, stack
from tests.killer import Plan
from tests.tiny import write_base

pytestmark = pytest.mark.slow
SEALED = r"os\.rename .*/\.scratch/(stages/\w+/\w+)/out/\S+ \S+/out/\.files\.json"
REGISTERED = r"send POST \S*/logged-models "
RECORD = r"os\.rename .*/rollouts/local\.json"
HISTORY = r"open w .*/history\.jsonl"
ALIAS = r"send POST \S*/registered-models/alias"
DELETED = r"send DELETE \S*/registered-models/alias"
HEAD = r"send POST \S*/registered-models/set-tag"
AFTER = r"open w .*/\.head\.lock"
GOING_BACK = [
    *(Plan(RECORD), Plan(RECORD, 2), Plan(HISTORY), Plan(RECORD), Plan(HISTORY)),  # not yet in the history
    *(Plan(HEAD), Plan(DELETED), Plan(ALIAS), Plan(AFTER), Plan(HEAD)),  # in the history; both aliases moved at the end
]
WRITES = {
    "opening the MLflow run again": [Plan(r"send POST \S*/runs/log-batch")],
    "the logged model": [Plan(REGISTERED)],
    "the version": [Plan(r"send POST \S*/model-versions/create")] * 2,
    "the verdict beside the bundle": [Plan(r"os\.rename .*\.attest/verdict\.json")],
    "the alias candidate": [Plan(ALIAS)],
    "the history: recorded": [Plan(HISTORY)] * 2,
    "the history's head": [Plan(HEAD)],
    "the rollout's plan": [Plan(RECORD)] * 2,
    "the rollout, staged": [Plan(RECORD, 2), Plan(RECORD)],
    "the rollout, verified": [Plan(RECORD, 2), Plan(RECORD)],
    "the rollout, about to switch": [Plan(RECORD, 2), Plan(RECORD)],
    "the history: released": [Plan(HISTORY)] * 2,
    "the rollout, live": [Plan(RECORD)] * 2,
    "the history: promoted": [Plan(HISTORY)] * 2,
    "the alias champion": [Plan(ALIAS, 2), Plan(ALIAS)],  # then the history has it: it is not recorded again
    "the end of the MLflow run": [Plan(r"send POST \S*/runs/update")] * 2,
}


@dataclass(frozen=True)
class Restarted(Stack):
    """A stack with a dataset, and the command that is killed. Its base is a random one: what is tested is the machinery."""

    sets: tuple[str, ...]

    @property
    def command(self) -> tuple[str, ...]:
        return ("retrain", "--dataset", "calls", *self.sets)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    base = write_base(tmp_path_factory.mktemp("base"))
    cheap = (f"train.base_model={base}", "quantize.forms=[int8]", "benchmark.duration_s=2")
    sets = (*QUICK, *(word for pair in cheap for word in ("--set", pair)))
    with stack(tmp_path_factory.mktemp("restart")) as made:
        made.run("sample", "--calls", "400", "--seed", "77", "--out", str(made.home / "calls.jsonl"))
        submit = ("submit", str(made.home / "calls.jsonl"), "--name", "calls")
        for plan in (Plan(r"os\.rename .*/store/datasets/\w+$"), Plan(SEALED)):
            made.run(*submit, plan=plan)
        made.run(*submit)
        yield Restarted(**vars(made), sets=sets)


def test_killed_twice_at_every_stage_each_is_completed_once(running: Restarted) -> None:
    """Right before a stage appears in the store: its work is done, and lost. The third start of it completes it."""
    log, done, nth = running.home / "starts", killer.stages_of(running.home / "store"), 1
    running.run(*running.command, plan=Plan(SEALED, 1, str(log)))
    while True:  # dies where the start before died, then in the stage after that, in turn
        running.run(*running.command, plan=Plan(f"{SEALED}|{REGISTERED}", nth, str(log)))
        now = killer.stages_of(running.home / "store")
        assert done.items() <= now.items(), "a finished stage was done again"
        done, nth = now, 3 - nth
        if re.search(REGISTERED, list(killer.told(log))[-1]):
            break

    starts = Counter(found[1] for line in killer.told(log) if (found := re.search(SEALED, line)))
    finished = [key for key in done if not key.startswith("stages/accept/")]
    assert len(finished) >= 16
    assert starts == dict.fromkeys(finished, 3)


@pytest.mark.parametrize("write", WRITES)
def test_then_killed_in_every_write_that_follows(running: Restarted, write: str) -> None:
    done = killer.stages_of(running.home / "store")

    for plan in WRITES[write]:
        running.run(*running.command, plan=plan)

    assert killer.stages_of(running.home / "store") == done


def test_then_it_ends_as_if_it_had_never_been_killed(running: Restarted) -> None:
    from mlflow import MlflowClient

    ending = running.json(*running.command)
    client = MlflowClient(f"http://127.0.0.1:{running.ports['mlflow']}")
    experiment = client.get_experiment_by_name("tingsu")
    runs = client.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = Counter(r.info.run_name for r in runs if "mlflow.parentRunId" in r.data.tags)

    assert ending["verdict"]["decision"] == "PROMOTE"
    assert [p.info.status for p in parents] == ["FINISHED"]
    assert len(children) >= 16 and set(children.values()) == {1}
    assert {r.info.status for r in runs} == {"FINISHED"}
    model = client.get_registered_model("complaints")
    assert (len(client.search_model_versions("name='complaints'")), model.aliases["champion"]) == (1, "1")
    events = [entry["event"]["kind"] for entry in running.json("history")]
    assert Counter(events)["recorded"] == 1
    assert set(events) == {"recorded", "released", "promoted"}
    assert running.run("status").stderr == ""  # nothing disagrees
    assert served(running) == "1"


def test_a_tracking_server_that_dies_at_the_alias_of_the_champion_leaves_a_promotion_the_same_command_ends(
    running: Restarted,
) -> None:
    sets = (*running.sets, "--set", "train.learning_rate=0.0004", "--set", "gate.approval=true")
    running.run("retrain", "--dataset", "calls", *sets)
    assert served(running) == "1"
    server = processes.find(running.home, TRACKING)
    assert server is not None

    failed = running.run("promote", "2", *sets, plan=Plan(ALIAS, 2, victim=server.pid), ok=(1,))
    assert failed.stderr.startswith("tingsu: MLflow at "), failed.stderr
    assert served(running) == "2"
    running.run("up")
    assert "alias 'champion' of complaints is on version 1, the history says 2" in running.run("status", ok=(4,)).stderr
    running.run("promote", "2", *sets)

    assert aliases(running) == {"candidate": "2", "champion": "2", "previous": "1"}
    assert running.run("status").stderr == ""


def test_a_rollback_killed_in_every_write_ends_at_the_version_before_and_goes_no_further(running: Restarted) -> None:
    because = ("--why", "it misses refunds")
    for plan in GOING_BACK:
        running.run("rollback", *because, plan=plan)
    for words in ((), (), ("--to", "1")):
        assert running.json("rollback", *because, *words)["version"] == 1

    back = [entry["event"] for entry in running.json("history") if entry["event"]["kind"] == "rolled_back"]
    assert [event["detail"]["why"] for event in back] == ["it misses refunds"]
    assert "it misses refunds" in running.run("why", "1").stdout
    assert (aliases(running), served(running)) == ({"candidate": "2", "champion": "1"}, "1")
    assert running.run("status").stderr == ""
    assert "no previous version to return to" in running.run("rollback", "--to", "2", ok=(3,)).stderr


def test_undo_goes_back_once_and_takes_the_champion_along(running: Restarted) -> None:
    assert running.json("undo")["version"] == 1  # the rollback was one already
    running.run("promote", "2", *running.sets)

    for _ in range(2):
        assert running.json("undo", "--why", "it misses refunds")["version"] == 1

    assert (aliases(running), served(running)) == ({"candidate": "2", "champion": "1"}, "1")
    assert running.run("status").stderr == ""
    left = [entry["event"] for entry in running.json("history") if entry["event"]["kind"] == "released"][-1]
    assert "it misses refunds" in str(left["detail"]["steps"])


def test_what_gc_removed_is_made_again_the_same_and_nothing_else_is_missing(running: Restarted, tmp_path: Path) -> None:
    def learnt_at(rate: str) -> dict[str, Any]:
        sets = (*running.sets, "--set", f"train.learning_rate={rate}", "--set", "gate.approval=true")
        return dict(running.json("retrain", "--dataset", "calls", *sets))

    old = learnt_at("0.0005")
    learnt_at("0.0006")
    few = ("--older", "0", "--keep-runs", "1", "--set", "retention.keep_versions=1")
    removed = {one["kind"]: one for one in running.json("gc", *few)}
    champion = running.run(*running.command, "--json")
    again = learnt_at("0.0005")

    assert old["bundle"]["digest"] in removed["bundle"]["names"][0] and removed["bundle"]["count"] == 1
    assert {name.split("/")[1] for name in removed["stage"]["names"]} >= {"train", "merge", "quantize", "score", "pack"}
    assert " s\n" not in champion.stderr and json.loads(champion.stdout)["version"]["version"] == 1
    assert (again["bundle"], again["version"]["version"]) == (old["bundle"], old["version"]["version"])
    assert running.json("audit", "export", "--out", str(tmp_path / "audit"))["missing"] == []
    assert served(running) == "1" and running.run("status").stderr == ""


def aliases(running: Stack) -> dict[str, str]:
    from mlflow import MlflowClient

    client = MlflowClient(f"http://127.0.0.1:{running.ports['mlflow']}")
    return dict(client.get_registered_model("complaints").aliases)


def served(running: Restarted) -> str:
    """The version that answers."""
    url = f"http://127.0.0.1:{running.ports['service']}"
    return str(running.json("classify", "你好", "--url", url)["model_version"]).partition("+")[0]
