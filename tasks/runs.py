"""Pipeline runs in MLflow as `gc` sees them: which stages they used, how old they are, and how they are removed."""

import shutil
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from deploy.store import measure
from tasks.tracking import STAGE_KEY, Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT = "mlflow.parentRunId"
PAGE = 1000


class PipelineRun(NamedTuple):
    """A parent run and its children. `folders`: their artifacts, where they lie on this machine."""

    run_id: str
    started_s: float
    is_running: bool
    stages: frozenset[str]
    ids: tuple[str, ...]
    folders: tuple[Path, ...]


def every(tracker: Tracker) -> tuple[PipelineRun, ...]:
    """Every run that is not in MLflow's bin, newest first."""
    with tracker.client() as client:
        found = client.get_experiment_by_name(tracker.settings.experiment)
        runs = _pages(client, str(found.experiment_id)) if found else []
    children: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        children[run.data.tags.get(PARENT, "")].append(run)
    made = (_made(run, children[run.info.run_id], tracker.home) for run in children[""])
    return tuple(sorted(made, key=lambda run: -run.started_s))


def size(run: PipelineRun) -> int:
    """Bytes of its artifacts on this machine."""
    return sum(measure(folder).bytes for folder in run.folders)


def remove(tracker: Tracker, run: PipelineRun) -> None:
    """Its artifacts first, then into MLflow's bin: cut off in between it is still found. On a server the artifacts stay until
    `mlflow gc` empties its bin."""
    for folder in run.folders:
        shutil.rmtree(folder, ignore_errors=True)
    with tracker.client() as client:
        for run_id in run.ids:
            client.delete_run(run_id)


def _pages(client: "MlflowClient", experiment_id: str) -> "list[Run]":
    page = client.search_runs([experiment_id], max_results=PAGE)
    runs = list(page)
    while page.token:
        page = client.search_runs([experiment_id], max_results=PAGE, page_token=page.token)
        runs += page
    return runs


def _made(parent: "Run", children: "list[Run]", home: Path) -> PipelineRun:
    both = [*children, parent]
    places = (Path(unquote(urlsplit(r.info.artifact_uri).path)) for r in both if r.info.artifact_uri)
    return PipelineRun(
        run_id=parent.info.run_id,
        started_s=parent.info.start_time / 1000,
        is_running=parent.info.status == "RUNNING",
        stages=frozenset(r.data.tags[STAGE_KEY] for r in both if STAGE_KEY in r.data.tags),
        ids=tuple(r.info.run_id for r in both),
        folders=tuple(p.parent for p in places if p.is_relative_to(home / "mlflow/artifacts")),
    )
