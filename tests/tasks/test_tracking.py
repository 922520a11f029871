"""Runs land in MLflow by explicit id, comparable at a glance, on the embedded file or a server, and nowhere else."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from configs.dataset import DataSettings
from configs.places import MlflowSettings
from configs.settings import Settings
from data_contracts import samples, taxonomy
from data_contracts.artifacts import Splits
from data_contracts.errors import StoreUnavailable
from deploy.store import FolderStore
from tasks import accept, catalog, registry, summary, tracking
from tasks.audit import audit
from tasks.summary import Summary
from tasks.tracking import Stage, Tracker
from tests.tasks import released
from tests.tasks.released import Place


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    home = tmp_path / "家 home"
    home.mkdir()
    monkeypatch.chdir(home)
    return released.place(home)


def test_a_parent_run_holds_the_resolved_settings_and_is_nested(at: Place) -> None:
    tracker = at.registry.tracker
    settings = Settings().model_dump(mode="json")
    parent = tracker.open_run("retrain tiny", {"dataset": "三月", "mlflow.user": "lin"}, settings)
    child = tracker.child(parent, Stage(name="fit", params={"rank": 16}, metrics={"train/f1": 0.5}, seconds=90))

    with tracker.client() as client:
        run, nested = client.get_run(parent.run_id), client.get_run(child.run_id)
    assert run.data.params["train.epochs"] == "3"
    assert len(run.data.params) >= len(summary.flatten(settings)) - 1
    assert run.data.tags["dataset"] == "三月"
    assert nested.data.tags["mlflow.parentRunId"] == parent.run_id
    assert nested.data.params == {"rank": "16"}
    assert nested.info.status == "FINISHED"
    assert nested.info.end_time - nested.info.start_time == 90_000


def test_everything_lies_under_home(at: Place) -> None:
    folder = at.home / "figures"
    folder.mkdir()
    (folder / "混淆.txt").write_text("x")
    parent = released.open_run(at, "r")
    at.registry.tracker.child(parent, Stage(name="evaluate", artifacts=(folder, folder / "混淆.txt")))

    assert len(list((at.home / "mlflow/artifacts").rglob("混淆.txt"))) == 2
    assert not (at.home / "mlruns").exists()
    assert not (at.home / "mlflow.db").exists()


def test_training_history_is_plotted_by_step(at: Place) -> None:
    parent = released.open_run(at, "r")
    rows = ({"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0, "grad": float("inf")})
    child = at.registry.tracker.child(parent, Stage(name="fit", history=rows))

    with at.registry.tracker.client() as client:
        points = client.get_metric_history(child.run_id, "train/loss")
        names = client.get_run(child.run_id).data.metrics
    assert [(p.step, p.value) for p in points] == [(10, 2.0), (20, 1.0)]
    assert set(names) == {"train/loss"}


def test_a_killed_run_is_taken_up_again_and_a_finished_one_is_not(at: Place) -> None:
    first = released.open_run(at, "r", key="k1")

    assert released.open_run(at, "r", key="k1") == first
    assert released.open_run(at, "r", key="k2") != first
    at.registry.tracker.finish(first)
    assert released.open_run(at, "r", key="k1") != first


def test_a_stage_done_again_replaces_its_child(at: Place) -> None:
    parent = released.open_run(at, "r")
    at.registry.tracker.child(parent, Stage(name="fit", params={"rank": 8}))
    again = at.registry.tracker.child(parent, Stage(name="fit", params={"rank": 16}))

    with at.registry.tracker.client() as client:
        children = tracking._children(client, parent, "fit")
    assert [c.info.run_id for c in children] == [again.run_id]


def test_a_stage_that_a_killed_start_has_logged_keeps_its_child(at: Place) -> None:
    parent = released.open_run(at, "r", key="k")
    stages = [Stage(name="fit", tags={tracking.STAGE_KEY: key}) for key in ("a", "a", "b")]

    first, again, other = (at.registry.tracker.child(parent, stage).run_id for stage in stages)

    assert first == again != other


def test_dataset_and_gold_are_inputs_with_their_digests(at: Place) -> None:
    run = released.open_run(at, "r")
    at.registry.tracker.log_dataset(run, released.DATASET)
    splits = Splits(key="s", dataset_id="d", family="complaints", counts={"gold": 20}, gold_digest="g" * 64)
    at.registry.tracker.log_gold(run, splits)

    with at.registry.tracker.client() as client:
        inputs = client.get_run(run.run_id).inputs.dataset_inputs
    found = {i.dataset.name: (i.dataset.digest, i.tags[0].value) for i in inputs}
    assert found == {"三月": ("d" * 36, "training"), "gold-complaints": ("g" * 36, "evaluation")}


def test_what_was_found_in_a_submission_is_in_the_run_and_no_word_of_a_call_is(at: Place, tmp_path: Path) -> None:
    records = list(samples.generate(80, seed=31))
    for at_row in range(4):
        records[at_row] |= {"turns": records[9]["turns"], "conversation_id": f"near-{at_row}"}
    path = tmp_path / "calls.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    store, settings = FolderStore(tmp_path / "store"), DataSettings(min_rows=50, min_rows_per_category=2)
    dataset = accept.submit(path, taxonomy.load(), {}, "calls", settings, store, tmp_path / "out")
    run = released.open_run(at, "r")
    at.registry.tracker.log_dataset(run, dataset, catalog.answer_of(store, dataset))

    with at.registry.tracker.client() as client:
        place = Path(client.download_artifacts(run.run_id, "dataset", str(tmp_path)))
    files = {p.relative_to(place).as_posix(): p.read_text(encoding="utf-8") for p in place.rglob("*") if p.is_file()}
    assert {"summary.json", "data_docs/index.html"} <= files.keys()
    assert "near_conflict" in files["summary.json"]
    words = [
        line.split("：")[1] for text in catalog.calls_of(store, dataset)["input_text"] for line in text.split("\n")
    ]
    assert [w for w in words if len(w) > 8 and any(w[:9] in text for text in files.values())] == []


def test_the_parent_shows_the_served_hop_and_where_quality_was_lost(at: Place) -> None:
    reports = (released.report("served", 0.83), released.report("merged", 0.85))
    run = released.open_run(at, "r")
    what = Summary(dataset=released.DATASET, reports=reports, speed=released.SPEED, seconds={"fit": 3.0})
    at.registry.tracker.summarise(run, what)

    with at.registry.tracker.client() as client:
        data = client.get_run(run.run_id).data
    expected = {
        "gold/macro_f1": 0.83,
        "gold_low/macro_f1": 0.78,
        "hops/merged.macro_f1": 0.85,
        "hops/served.macro_f1": 0.83,
        "speed/p95_ms": 40,
        "seconds/fit": 3,
        "recall/退款_是": 0.8,
    }
    assert {name: round(data.metrics[name], 6) for name in expected} == expected
    assert not any("nll" in name for name in data.metrics)
    assert "| served | 0.830 [0.780, 0.880] |" in data.tags["mlflow.note.content"]
    assert "Synthetic" in data.tags["mlflow.note.content"]


def test_hops_are_listed_on_their_way_to_production() -> None:
    reports = [released.report(hop, 0.8) for hop in ("served", "baseline", "int8", "adapter")]

    assert [r.hop for r in summary.in_order(reports)] == ["baseline", "adapter", "int8", "served"]


@pytest.mark.parametrize(
    ("name", "shown"), [("退款", "退款"), ("a/b", "a_b"), ("..", "_"), ("a'b\n", "a_b_"), ("", "_")]
)
def test_any_category_key_becomes_a_metric_name(name: str, shown: str) -> None:
    assert summary.plain(name) == shown


def test_a_dead_server_fails_in_seconds_and_says_what_to_do(tmp_path: Path) -> None:
    started = time.monotonic()

    with pytest.raises(StoreUnavailable, match=r"tingsu up"):
        Tracker(MlflowSettings(), tmp_path, f"http://127.0.0.1:{free_port()}").open_run("r", {}, {})
    assert time.monotonic() - started < 6


def test_a_password_in_the_address_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable) as refusal:
        Tracker(MlflowSettings(uri=f"http://me:secret@127.0.0.1:{free_port()}"), tmp_path).open_run("r", {}, {})

    assert "secret" not in str(refusal.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow/mlflow.db").write_text("this is not SQLite" * 100)

    with pytest.raises(StoreUnavailable, match=r"mlflow\.db"):
        Tracker(MlflowSettings(), tmp_path).open_run("r", {}, {})


def test_nothing_heavy_is_imported_with_the_modules() -> None:
    code = (
        "import sys; from tasks import registry, pyfunc; print(sorted({'mlflow', 'torch', 'pandas'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment(), check=True
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_server_serves_as_well_as_the_embedded_file(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = released.place(tmp_path)
    tracker = Tracker(MlflowSettings(uri=server), tmp_path)
    at = Place(tmp_path, here.store, replace(here.registry, tracker=tracker))
    made = released.candidate(at, released.bundle(at, "one"))
    tracker.child(made.run, Stage(name="fit", metrics={"x": 1.0}))
    version = registry.record(at.registry, made)
    tracker.finish(made.run)

    assert registry.promote(at.registry, version.version).bundle == made.bundle
    assert audit(at.registry) == ()
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "mlflow/artifacts").exists()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    argv = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        f"sqlite:///{folder}/m.db",
        "--port",
        str(port),
    ]
    argv += ["--workers", "1", "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log, env=environment(), start_new_session=True)
    for _ in range(120):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.5)
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, 15)
    process.wait(20)


def environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return os.environ | {"PYTHONPATH": root, "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
