"""MLflow runs, on the embedded SQLite file or a server alike, by explicit run id; never the global active run."""

import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import Field

from configs.places import MlflowSettings
from data_contracts.artifacts import Dataset, Splits
from data_contracts.errors import StoreUnavailable
from data_contracts.schema import Frozen
from deploy import disk
from tasks import summary
from tasks.summary import Summary

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

STAGE = "tingsu.stage"
KEY = "tingsu.key"
STAGE_KEY = "tingsu.stage_key"
BATCH = 90  # MLflow takes at most 100 parameters or tags a request
RETRIES = (
    "3"  # 14 s in all; MLflow's own seven take four minutes to say that a server has died in the middle of a request
)
DIGEST_CHARS = 36  # MLflow's limit for a dataset digest
Status = Literal["FINISHED", "FAILED", "KILLED"]


class RunRef(Frozen):
    """An MLflow run."""

    run_id: str
    experiment_id: str


class Stage(Frozen):
    """What one stage leaves in its child run. `history`: one row a training step; `artifacts`: files and folders."""

    name: str
    params: dict[str, object] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)
    history: tuple[dict[str, float], ...] = ()
    artifacts: tuple[Path, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Tracker:
    """Where runs go. `uri_override`: the address of a server that is up on the embedded database."""

    settings: MlflowSettings
    home: Path
    uri_override: str | None = None

    @property
    def uri(self) -> str:
        """The tracking and registry URI."""
        return self.uri_override or self.settings.uri or f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @contextmanager
    def client(self) -> Iterator["MlflowClient"]:
        """A client; MLflow's own failures inside the block become ours.

        Raises:
            StoreUnavailable: the database or server does not answer, or refuses.
            ResourceInsufficient: the disk of the embedded database is full.
        """
        _reachable(self.uri)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", RETRIES)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from requests.exceptions import RequestException
        from sqlalchemy.exc import SQLAlchemyError

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # its retries; how they end is said once
        try:
            if self.uri.startswith("sqlite:"):
                (self.home / "mlflow").mkdir(mode=0o700, parents=True, exist_ok=True)
            yield MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
            full = disk.explain(error, self.home)
            if full is not None and not self.uri.startswith("http"):
                raise full from error
            reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            raise StoreUnavailable(f"MLflow at {_shown(self.uri)} failed: {reason}. See `./tingsu status`") from error

    def open_run(self, name: str, tags: Mapping[str, str], settings: Mapping[str, object], key: str = "") -> RunRef:
        """A new parent run with its resolved settings; the unfinished one with the same `key`, if there is one.

        Args:
            tags: dataset, base_model, method, profile, synthetic, gold_digest … `mlflow.user` names who started it.
            key: what makes two starts the same pipeline run, such as the digest of dataset and settings.
        """
        with self.client() as client:
            experiment_id = self._experiment(client)
            own = {STAGE: "pipeline", "mlflow.source.name": "tingsu", "mlflow.source.type": "LOCAL", **tags}
            run = (_unfinished(client, experiment_id, key) if key else None) or client.create_run(
                experiment_id, tags=own | ({KEY: key} if key else {}), run_name=name
            )
            ref = RunRef(run_id=run.info.run_id, experiment_id=experiment_id)
            _log(client, ref, params=settings)  # a run taken up again may have been killed before this
            client.log_dict(ref.run_id, dict(settings), "settings.json")
            return ref

    def is_open(self, key: str) -> bool:
        """Whether a parent run of this key was begun and not ended."""
        with self.client() as client:
            return _unfinished(client, self._experiment(client), key) is not None

    def child(self, parent: RunRef, stage: Stage) -> RunRef:
        """A finished child run of one stage: the one there is of this very work, if a killed start logged it.

        What an earlier try left of the stage otherwise goes to MLflow's bin.
        """
        end_ms = int(time.time() * 1000)
        start_ms = end_ms - int(stage.seconds * 1000)
        with self.client() as client:
            for old in _children(client, parent, stage.name):
                if old.info.status == "FINISHED" and old.data.tags.get(STAGE_KEY, "") == stage.tags.get(STAGE_KEY):
                    return RunRef(run_id=old.info.run_id, experiment_id=parent.experiment_id)
                client.delete_run(old.info.run_id)
            tags = {
                "mlflow.parentRunId": parent.run_id,
                STAGE: stage.name,
                "mlflow.source.name": "tingsu",
                **stage.tags,
            }
            run = client.create_run(parent.experiment_id, start_time=start_ms, tags=tags, run_name=stage.name)
            ref = RunRef(run_id=run.info.run_id, experiment_id=parent.experiment_id)
            _log(client, ref, stage.params, summary.finite(stage.metrics), stage.history)
            for path in stage.artifacts:
                _log_path(client, ref, path)
            _end(client, ref, "FINISHED", end_ms)
            return ref

    def log_dataset(
        self, run: RunRef, dataset: Dataset, answer: Sequence[Path] = (), context: str = "training"
    ) -> None:
        """Cite the dataset with its digest as an input of a run; `answer`: files and folders that say what was found in it."""
        counts = {"quarantined": dataset.quarantined, "rejected": dataset.rejected, "groups": dataset.groups}
        profile = {"num_rows": dataset.accepted, **counts}
        self._log_input(run, (dataset.name, dataset.id, dataset.key), {**profile, **dataset.categories}, context)
        with self.client() as client:
            for path in answer:
                _log_path(client, run, path, "dataset")

    def log_gold(self, run: RunRef, splits: Splits) -> None:
        """Cite the frozen gold set with its digest as an input of a run."""
        name = (f"gold-{splits.family}", splits.gold_digest, splits.file("gold"))
        self._log_input(run, name, {"num_rows": splits.counts.get("gold", 0)}, "evaluation")

    def summarise(self, run: RunRef, what: Summary, model_id: str | None = None) -> None:
        """Metrics, verdict tag and description of the parent run; metrics also cite the logged model, if given."""
        tags = {"mlflow.note.content": summary.note(what)}
        if what.verdict:
            on = {"gold_digest": what.verdict.gold_digest, "taxonomy_digest": what.verdict.taxonomy_digest}
            tags |= {"verdict": what.verdict.decision, "gold_looks": str(what.verdict.gold_looks), **on}
        with self.client() as client:
            _log(client, run, metrics=summary.of_summary(what), tags=tags, model_id=model_id)

    def finish(self, run: RunRef, status: Status = "FINISHED") -> None:
        """End a run."""
        with self.client() as client:
            _end(client, run, status)

    def _experiment(self, client: "MlflowClient") -> str:
        found = client.get_experiment_by_name(self.settings.experiment)
        if found:
            return str(found.experiment_id)
        # A server decides where its artifacts lie; the embedded database keeps them beside it.
        place = None if self.settings.uri else (self.home / "mlflow" / "artifacts").as_uri()
        return str(client.create_experiment(self.settings.experiment, artifact_location=place))

    def _log_input(self, run: RunRef, name: tuple[str, str, str], profile: Mapping[str, int], context: str) -> None:
        from mlflow.entities import Dataset as Entity
        from mlflow.entities import DatasetInput, InputTag

        title, digest, key = name
        entity = Entity(
            name=title,
            digest=digest[:DIGEST_CHARS],
            source_type="local",
            source=json.dumps({"uri": key, "sha256": digest}),
            profile=json.dumps(profile, ensure_ascii=False),
        )
        with self.client() as client:
            client.log_inputs(run.run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", context)])])


def _log(
    client: "MlflowClient",
    run: RunRef,
    params: Mapping[str, object] | None = None,
    metrics: Mapping[str, float] | None = None,
    history: Sequence[Mapping[str, float]] = (),
    tags: Mapping[str, str] | None = None,
    model_id: str | None = None,
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now_ms = int(time.time() * 1000)
    points = [Metric(name, value, now_ms, 0, model_id=model_id) for name, value in (metrics or {}).items()]
    for i, row in enumerate(history):
        step = int(row.get("step", i))
        points += [
            Metric(f"train/{summary.plain(n)}", v, now_ms, step) for n, v in summary.finite(row).items() if n != "step"
        ]
    pairs = [Param(name, value) for name, value in summary.flatten(params or {}).items()]
    for at in range(0, len(pairs), BATCH):
        client.log_batch(run.run_id, params=pairs[at : at + BATCH])
    for at in range(0, len(points), 10 * BATCH):
        client.log_batch(run.run_id, metrics=points[at : at + 10 * BATCH])
    client.log_batch(run.run_id, tags=[RunTag(k, v) for k, v in (tags or {}).items()])


def _log_path(client: "MlflowClient", run: RunRef, path: Path, below: str = "") -> None:
    if path.is_dir():
        client.log_artifacts(run.run_id, str(path), artifact_path=f"{below}/{path.name}".strip("/"))
    else:
        client.log_artifact(run.run_id, str(path), artifact_path=below or None)


def _end(client: "MlflowClient", run: RunRef, status: Status, end_ms: int | None = None) -> None:
    with redirect_stdout(
        StringIO()
    ):  # with a server MLflow prints two lines of links into what `--json` promised to be JSON
        client.set_terminated(run.run_id, status, end_ms)


def _unfinished(client: "MlflowClient", experiment_id: str, key: str) -> "Run | None":
    wanted = f"tags.`{KEY}` = '{key}' and attributes.status = 'RUNNING'"
    found = client.search_runs([experiment_id], wanted, max_results=1)
    return found[0] if found else None


def _children(client: "MlflowClient", parent: RunRef, stage: str) -> list["Run"]:
    wanted = f"tags.`mlflow.parentRunId` = '{parent.run_id}' and tags.`{STAGE}` = '{stage}'"
    return list(client.search_runs([parent.experiment_id], wanted))


def _reachable(uri: str) -> None:
    """Fail in seconds: MLflow's own client retries a dead server for minutes."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return
    try:
        socket.create_connection(
            (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)), timeout=5
        ).close()
    except OSError as error:
        raise StoreUnavailable(f"MLflow at {_shown(uri)} does not answer; `./tingsu up`, or set mlflow.uri") from error


def _shown(uri: str) -> str:
    """The address without user and password."""
    scheme, separator, rest = uri.partition("://")
    return scheme + separator + rest.rpartition("@")[2]
