"""Flow `refresh-gold`: the next version of a family's gold set."""

from datetime import date
from getpass import getuser
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from flows import custody
from flows.custody import Refreshed
from flows.environment import await_server
from flows.session import open_session
from flows.stage import once
from tasks.refresh import Why


@flow(name="refresh-gold", persist_result=False)
def refresh_gold(
    reason: Annotated[str, Field(min_length=1)],
    dataset: str | None = None,
    since: date | None = None,
    by: str | None = None,
    profile: str | None = None,
    sets: list[str] | None = None,
) -> dict[str, Any]:
    """Newer calls of customers whom no model was trained on join the gold set. Asked again in the same words, nothing changes.

    Args:
        reason: why; kept with the gold set and in the history.
        dataset: where the calls come from; the newest of the family if left out.
        since: gold calls before this day leave, and none before it come.
        by: who asks; the user that the worker runs as, if left out.

    Raises:
        ContractViolation: the dataset has no call that may come, or is of another taxonomy or kind.
    """
    session = open_session(profile, sets=sets or ())
    why = Why(reason=reason, by=by or getuser(), since=since.isoformat() if since else None)
    done = once(custody.refresh_gold, "refresh")(session, dataset, why)
    await_server()
    publish(done)
    return done.gold.model_dump(mode="json")


def publish(done: Refreshed) -> None:
    """The version, and what changed, on Prefect's page."""
    head = f"**Gold set of {done.gold.family}, version {done.gold.version}**: {done.gold.rows:,} calls"
    create_markdown_artifact(
        key=f"gold-{done.gold.family}",
        markdown="\n\n".join([head, *custody.told_refresh(done)]),
        description=f"version {done.gold.version}",
    )
