"""The real command, killed by SIGKILL at every stage of the pipeline and in every write after it, ends as if it had not."""

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests import killer
from tests.flows.stack import QUICK, Stack, stack
from tests.killer import Plan

pytestmark = pytest.mark.slow
COMMAND = ("retrain", "--dataset", "calls", *QUICK)
SEALED = r"os\.rename .*/\.scratch/(stages/\w+/\w+)/out/\S+ \S+/out/\.files\.json"
REGISTERED = r"send POST \S*/logged-models "
RECORD = r"os\.rename .*/rollouts/local\.json"
HISTORY = r"open w .*/history\.jsonl"
ALIAS = r"send POST \S*/registered-models/alias"
WRITES = {
    "opening the MLflow run again": [Plan(r"send POST \S*/runs/log-batch")],
    "the logged model": [Plan(REGISTERED)],
    "the version": [Plan(r"send POST \S*/model-versions/create")] * 2,
    "the verdict beside the bundle": [Plan(r"os\.rename .*\.attest/verdict\.json")],
    "the alias candidate": [Plan(ALIAS)],
    "the history: recorded": [Plan(HISTORY)] * 2,
    "the history's head": [Plan(r"send POST \S*/registered-models/set-tag")],
    "the rollout's plan": [Plan(RECORD)] * 2,
    "the rollout, staged": [Plan(RECORD, 2), Plan(RECORD)],
    "the rollout, verified": [Plan(RECORD, 2), Plan(RECORD)],
    "the history: released": [Plan(HISTORY)] * 2,
    "the rollout, live": [Plan(RECORD, 2), Plan(RECORD)],
    "the history: promoted": [Plan(HISTORY, 2), Plan(HISTORY)],
    "the alias champion": [Plan(ALIAS, 2)] * 2,
    "the end of the MLflow run": [Plan(r"send POST \S*/runs/update")] * 2,
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("restart")) as made:
        made.run("sample", "--calls", "700", "--seed", "77", "--out", str(made.home / "calls.jsonl"))
        submit = ("submit", str(made.home / "calls.jsonl"), "--name", "calls")
        for plan in (Plan(r"os\.rename .*/store/datasets/\w+$"), Plan(SEALED)):
            made.run(*submit, plan=plan)
        made.run(*submit)
        yield made


def test_killed_twice_at_every_stage_each_is_completed_once(running: Stack) -> None:
    """Right before a stage appears in the store: its work is done, and lost. The third start of it completes it."""
    log, done, nth = running.home / "starts", killer.stages_of(running.home / "store"), 1
    running.run(*COMMAND, plan=Plan(SEALED, 1, str(log)))
    while True:  # dies where the start before died, then in the stage after that, in turn
        running.run(*COMMAND, plan=Plan(f"{SEALED}|{REGISTERED}", nth, str(log)))
        now = killer.stages_of(running.home / "store")
        assert done.items() <= now.items(), "a finished stage was done again"
        done, nth = now, 3 - nth
        if re.search(REGISTERED, list(killer.told(log))[-1]):
            break

    starts = Counter(found[1] for line in killer.told(log) if (found := re.search(SEALED, line)))
    finished = [key for key in done if not key.startswith("stages/accept/")]
    assert len(finished) >= 20
    assert starts == dict.fromkeys(finished, 3)


@pytest.mark.parametrize("write", WRITES)
def test_then_killed_in_every_write_that_follows(running: Stack, write: str) -> None:
    done = killer.stages_of(running.home / "store")

    for plan in WRITES[write]:
        running.run(*COMMAND, plan=plan)

    assert killer.stages_of(running.home / "store") == done


def test_then_it_ends_as_if_it_had_never_been_killed(running: Stack) -> None:
    from mlflow import MlflowClient

    ending = running.json(*COMMAND)
    client = MlflowClient(f"http://127.0.0.1:{running.ports['mlflow']}")
    experiment = client.get_experiment_by_name("tingsu")
    runs = client.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = Counter(r.info.run_name for r in runs if "mlflow.parentRunId" in r.data.tags)

    assert ending["verdict"]["decision"] == "PROMOTE"
    assert [p.info.status for p in parents] == ["FINISHED"]
    assert len(children) >= 20 and set(children.values()) == {1}
    assert {r.info.status for r in runs} == {"FINISHED"}
    model = client.get_registered_model("complaints")
    assert (len(client.search_model_versions("name='complaints'")), model.aliases["champion"]) == (1, "1")
    events = [entry["event"]["kind"] for entry in running.json("history")]
    assert Counter(events)["recorded"] == 1
    assert set(events) == {"recorded", "released", "promoted"}
    assert running.run("status").stderr == ""  # nothing disagrees
    assert served(running) == "1"


def test_a_rollback_killed_in_every_write_ends_at_the_version_before(running: Stack) -> None:
    from mlflow import MlflowClient

    running.run(*COMMAND, "--set", "train.learning_rate=0.0004")
    assert served(running) == "2"

    for plan in (
        *(Plan(RECORD), Plan(RECORD, 2), Plan(RECORD)),
        *(Plan(HISTORY, 2), Plan(HISTORY), Plan(ALIAS)),
        Plan(r"send DELETE \S*/registered-models/alias"),
    ):
        running.run("rollback", plan=plan)
    running.run("rollback")

    model = MlflowClient(f"http://127.0.0.1:{running.ports['mlflow']}").get_registered_model("complaints")
    assert (model.aliases["champion"], "previous" in model.aliases, served(running)) == ("1", False, "1")
    assert running.run("status").stderr == ""


def served(running: Stack) -> str:
    """The version that answers."""
    url = f"http://127.0.0.1:{running.ports['service']}"
    return str(running.json("classify", "你好", "--url", url)["model_version"]).partition("+")[0]
