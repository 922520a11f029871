"""Flow `retrain`: the pipeline on an accepted dataset; on demand, on schedule, and from the command line alike."""

import logging
from contextlib import suppress
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.input.actions import create_flow_run_input, read_flow_run_input

from data_contracts.errors import StoreUnavailable
from data_contracts.taxonomy import Taxonomy
from flows.environment import await_server
from flows.pipeline import pipeline
from flows.run import Ending, Run, require_trainable, tracker
from flows.session import open_session
from tasks import base, catalog, summary
from tasks.tracking import Status

DATASET = "dataset"
"""What a run chose, kept with it on Prefect's server: begun again after a kill, it goes on with that, not with the newest by then."""
log = logging.getLogger("tingsu")


@flow(name="retrain", persist_result=False)
def retrain(
    dataset: str | None = None,
    profile: str | None = None,
    overlays: list[str] | None = None,
    sets: list[str] | None = None,
) -> dict[str, Any]:
    """Train, measure, judge and, on PROMOTE, release. A HOLD or REJECT is an answer: the run completes.

    Args:
        dataset: id (or its beginning) or name; the newest accepted dataset of the family if left out.
    """
    session = open_session(profile, overlays or (), sets or ())
    require_trainable(session.settings)
    begun_with = read_flow_run_input(DATASET)
    chosen = catalog.find(session.store, begun_with or dataset, session.settings.data.family)
    if begun_with is None:
        create_flow_run_input(DATASET, chosen.id)
    catalog.verify(session.store, chosen)
    taxonomy = catalog.taxonomy_of(session.store, chosen)
    run = Run(session.settings, session.store, session.home, chosen, base.resolve(session.settings.train.base_model))
    if session.settings.profile == "tiny" and not chosen.synthetic:
        log.warning(
            "profile tiny is for trying the pipeline; for real calls name yours in %s/settings.yaml", session.home
        )
    with run.alone():
        ending = carried_out(run, taxonomy)
    await_server()
    publish(ending)
    return ending.model_dump(mode="json")


def carried_out(run: Run, taxonomy: Taxonomy) -> Ending:
    """The pipeline; its MLflow run ends as it does."""
    try:
        run.take_up()
        ending = pipeline(run, taxonomy)
    except BaseException as error:
        if run.mlflow is not None:
            with suppress(StoreUnavailable):  # the first error is the one to tell
                status: Status = "FAILED" if isinstance(error, Exception) else "KILLED"
                tracker(run.settings, run.home).finish(run.mlflow, status)
        raise
    if run.mlflow is not None:
        tracker(run.settings, run.home).finish(run.mlflow)
    return ending


def publish(ending: Ending) -> None:
    """The hop table and the verdict on Prefect's page."""
    reports = tuple(ending.reports.values())
    create_markdown_artifact(
        key="hops", markdown=summary.table(reports), description="every hop on the same gold calls"
    )
    text = summary.note(summary.Summary(reports=reports, speed=ending.speed, verdict=ending.verdict))
    create_markdown_artifact(
        key="verdict", markdown=text, description=f"{ending.verdict.decision}: version {ending.version.version}"
    )
