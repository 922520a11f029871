"""The main job on real parts: Prefect server and worker, MLflow, Great Expectations, the tiny base, the service.

One stack and one pipeline run for all tests here. The thresholds are set so low that a model trained for an epoch is
promoted: what is tested is the machinery, not the model.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests import killer
from tests.flows.stack import QUICK, ROOT, Stack, stack
from tests.killer import Plan

IN_TRAINING = Plan(r"open w .*/checkpoint-20/trainer_state", 1)  # one whole checkpoint, and half of the second
IN_COMMIT = Plan(r"os\.rename .*/stages/quantize/\w+/out .*/store/stages/quantize/", 1)
BEFORE_CHAMPION = Plan(r"send POST \S*/registered-models/alias", 2)  # recorded, live, and in the history


SERVERS = ("logs", "mlflow", "prefect")


@dataclass(frozen=True)
class Job(Stack):
    """A running stack, what the commands answered, and every stage's record as each kill left them."""

    dataset: dict[str, Any]
    first: dict[str, Any]
    kept: tuple[dict[str, bytes], ...]
    warned: str


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """The first run is killed three times before it ends; nothing below may show that."""
    with stack(tmp_path_factory.mktemp("job")) as made:
        made.run("sample", "--calls", "700", "--seed", "77", "--out", str(made.home / "calls.jsonl"))
        dataset = made.json("submit", str(made.home / "calls.jsonl"), "--name", "seventy")
        command = ("retrain", "--dataset", dataset["id"], *QUICK)
        kept = []
        for plan in (IN_TRAINING, IN_COMMIT, BEFORE_CHAMPION):
            made.run(*command, plan=plan)
            kept.append(killer.stages_of(made.home / "store"))
        warned = made.run("status", ok=(4,)).stderr
        yield Job(**vars(made), dataset=dataset, first=made.json(*command), kept=tuple(kept), warned=warned)


def test_a_run_killed_in_training_in_a_commit_and_in_the_release_did_nothing_twice(job: Job) -> None:
    *_, last = stages = [*job.kept, killer.stages_of(job.home / "store")]

    assert [sum(key.startswith("stages/train/") for key in then) for then in stages[:2]] == [0, 1]
    assert [sum(key.startswith("stages/quantize/") for key in then) for then in stages[1:3]] == [0, 2]
    assert all(then.items() <= last.items() for then in stages)
    assert "alias 'champion' of complaints is on version None, the history says 1" in job.warned
    assert job.run("status").stderr == ""


def test_status_asks_without_mlflows_client_whose_import_alone_takes_seconds(job: Job) -> None:
    argv = [sys.executable, "-X", "importtime", "-P", "-m", "flows", "status"]
    told = subprocess.run(argv, env=job.env, capture_output=True, text=True, timeout=120)

    assert told.returncode == 0
    assert "tasks.audit" in told.stderr and "mlflow" not in told.stderr


def test_every_hop_is_measured_on_the_same_gold_calls(job: Job) -> None:
    reports = job.first["reports"]

    assert list(reports) == ["baseline", "untuned", "adapter", "merged", "int8", "gguf-q8_0", "served"]
    assert len({report["rows_digest"] for report in reports.values()}) == 1
    assert all(report["rows"] == reports["served"]["rows"] > 80 for report in reports.values())


def test_what_is_served_is_what_was_measured(job: Job) -> None:
    int8, served = job.first["reports"]["int8"]["metrics"], job.first["reports"]["served"]["metrics"]

    assert served["macro_f1"] == pytest.approx(int8["macro_f1"], abs=0.02)
    assert served["calibration_error_share"] == pytest.approx(int8["calibration_error_share"], abs=0.02)


def test_promote_makes_a_champion_that_serves(job: Job) -> None:
    assert job.first["verdict"]["decision"] == "PROMOTE"
    assert job.first["release"]["endpoint"].endswith(str(job.ports["service"]))
    answer = job.json("classify", "客户：宽带断了三天没人来修", "--url", job.first["release"]["endpoint"])

    assert answer["decision"] in ("auto", "review")
    assert answer["synthetic"] is True
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert job.run("verify", job.first["release"]["endpoint"]).returncode == 0


def test_a_dry_run_of_a_promotion_shows_states_and_changes_and_touches_nothing(job: Job) -> None:
    def files() -> dict[Path, bytes]:
        """Of the home, but for what its running servers write by themselves."""
        own = [path for path in job.home.rglob("*") if path.relative_to(job.home).parts[0] not in SERVERS]
        return {path: path.read_bytes() for path in own if path.is_file()}

    before, running = files(), job.json("status")
    told = job.run("promote", "1", "--dry-run", "--set", "serve.max_turns=9").stdout
    deployed = job.json("deploy", "--dry-run")

    assert "+  --set=serve.max_turns=9" in told
    assert "version 1 may be promoted" in told and "Nothing was changed" in told
    assert [change["what"].split(",")[0] for change in deployed["changes"]] == ["process service"]
    assert [part["pid"] for part in job.json("status")] == [part["pid"] for part in running]
    assert files() == before


def test_mlflow_has_a_nested_run_a_stage_with_metrics_figures_and_the_dataset(job: Job) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"http://127.0.0.1:{job.ports['mlflow']}")
    experiment = client.get_experiment_by_name("tingsu")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]

    assert len(parents) == 1
    assert parents[0].info.status == "FINISHED"
    assert parents[0].data.tags["verdict"] == "PROMOTE"
    assert parents[0].data.tags["synthetic"] == "true"
    assert parents[0].inputs.dataset_inputs[0].dataset.name == "seventy"
    assert parents[0].data.params["train.epochs"] == "1"
    assert {c.info.run_name for c in children} >= {
        "split",
        "train",
        "merge",
        "quantize int8",
        "measure served",
        "benchmark",
        "judge",
    }
    served = next(c for c in children if c.info.run_name == "measure served")
    names = {a.path for a in client.list_artifacts(served.info.run_id)}
    assert {"report.json", "confusion.png", "reliability.png", "latency.png"} <= names, names
    model = client.get_registered_model("complaints")
    assert model.aliases["champion"] == str(job.first["version"]["version"])


def test_the_same_command_again_reuses_every_stage(job: Job) -> None:
    again = job.run("retrain", "--dataset", job.dataset["id"], *QUICK, "--json")

    lines = [line for line in again.stderr.splitlines() if line.endswith(" s") or line.endswith("reused")]
    assert len(lines) >= 18
    assert [line for line in lines if not line.endswith("reused")] == []
    assert json.loads(again.stdout)["version"] == job.first["version"]


def test_the_same_file_again_is_the_same_dataset(job: Job) -> None:
    again = job.json("submit", str(job.home / "calls.jsonl"), "--name", "seventy")

    assert again["id"] == job.dataset["id"]
    assert len(job.json("datasets")) == 1


def test_a_deployment_run_goes_through_server_and_worker(job: Job) -> None:
    prefect = Path(sys.executable).with_name("prefect")
    env = {**job.env, "PREFECT_API_URL": f"http://127.0.0.1:{job.ports['prefect']}/api"}
    sets = json.dumps(QUICK[1::2])
    argv = [prefect, "deployment", "run", "retrain/on-demand", "--param", f"sets={sets}", "--watch"]
    found = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env=env, timeout=600)

    assert found.returncode == 0, found.stdout + found.stderr
    assert "Completed" in found.stdout
    listed = subprocess.run([str(prefect), "deployment", "ls"], capture_output=True, text=True, env=env, timeout=120)
    assert "nightly" in listed.stdout


def test_the_auditor_gets_an_answer(job: Job) -> None:
    version = job.first["version"]["version"]
    text = job.run("why", str(version)).stdout

    assert job.first["bundle"]["digest"][:12] in text
    assert job.dataset["id"][:12] in text
    assert {e["event"]["kind"] for e in job.json("history")} >= {"recorded", "released", "promoted"}
    assert job.json("gate", str(version))["decision"] == "PROMOTE"
    assert job.json("models")[0]["version"]["version"] == version


def test_a_champion_is_judged_anew_when_the_thresholds_change(job: Job) -> None:
    strict = ["--set", "gate.bounds=[{metric: macro_f1, at_least: 0.99}]"]
    found = job.run("retrain", "--dataset", "seventy", *QUICK, *strict, "--json", ok=(3,))
    ending = json.loads(found.stdout)

    assert ending["bundle"] == job.first["bundle"]
    assert ending["verdict"]["decision"] == "REJECT"
    assert ending["release"] is None
    assert job.run("verify", f"http://127.0.0.1:{job.ports['service']}").returncode == 0


def test_a_worse_model_is_not_released(job: Job) -> None:
    strict = ["--set", "gate.bounds=[{metric: macro_f1, at_least: 0.99}]"]
    worse = ["--set", "train.learning_rate=1e-5", "--set", "quantize.forms=[]", "--set", "quantize.serve=merged"]
    found = job.run("retrain", "--dataset", job.dataset["id"], *QUICK, *strict, *worse, ok=(3,))

    assert "REJECT" in found.stdout
    worst = job.json("models")[0]["version"]["version"]
    refused = job.run("promote", str(worst), ok=(3,))
    assert "REJECT" in refused.stderr
    assert job.json("classify", "你好", "--url", f"http://127.0.0.1:{job.ports['service']}")[
        "model_version"
    ].startswith("1+")


KINDS = {
    *(
        "mobile",
        "spoken_mobile",
        "landline",
        "id_card",
        "bank_card",
        "email",
        "plate",
        "address",
        "name",
        "titled_name",
    ),
}


def test_nothing_personal_reached_any_file(job: Job) -> None:
    """Of every type that is planted, in whatever form: spoken digits are searched for as digits too."""
    from data_contracts.personal import spoken
    from data_contracts.samples import generate_with_truth

    pieces = [p for _, truth in generate_with_truth(700, 77) for p in truth.planted]
    digits = {spoken.plain(spoken.digits(p.value)) for p in pieces if p.kind == "spoken_mobile"}
    planted = {p.value.encode() for p in pieces} | {number.encode() for number in digits}
    assert {p.kind for p in pieces} == KINDS and len(planted) > 200
    planted |= submitted_by_name(job)
    found, read = set(), 0
    for path in job.home.rglob("*"):
        with suppress(FileNotFoundError):  # Prefect's leases come and go while its server runs
            if path.is_file() and path.name != "calls.jsonl" and path.stat().st_size < 50_000_000 and not is_ours(path):
                content, read = readable(path), read + 1
                found |= {
                    (path.relative_to(job.home).as_posix(), value.decode()) for value in planted if value in content
                }

    assert read > 200
    assert found == set()


def submitted_by_name(job: Job) -> set[bytes]:
    """What is personal in a file's name, its columns' and its dataset's, once such files were accepted and refused."""
    named, column, known = "13987654321", "13987654322", "13987654323"
    header = f"会话编号{column}"
    lines = (job.home / "calls.jsonl").read_text(encoding="utf-8").replace('"conversation_id"', f'"{header}"')
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"投诉_{named}_高敏.jsonl"
        path.write_text(lines, encoding="utf-8")
        words = ("submit", str(path), "--map", f"conversation_id={header}", "--name", f"投诉{known}")
        job.run(*words)
        job.run(*words, "--set", "data.min_rows=100000", ok=(3,))
    return {number.encode() for number in (named, column, known)}


def is_ours(path: Path) -> bool:
    """Whether it is MLflow's copy of a file of the project, whose model of names has common ones in it."""
    own = ROOT / path.as_posix().partition("/artifacts/code/")[2]
    return own.is_file() and own.read_bytes() == path.read_bytes()


def readable(path: Path) -> bytes:
    """A file's bytes; of a table, which is packed, its cells."""
    import polars as pl

    if path.suffix != ".parquet":
        return path.read_bytes()
    return "\n".join(str(row) for row in pl.read_parquet(path).iter_rows()).encode()
