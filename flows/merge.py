"""Flow `merge`: several accepted datasets become one."""

from typing import Annotated, Any, Literal

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from data_contracts.artifacts import Dataset
from flows import custody
from flows.environment import await_server
from flows.session import open_session
from flows.stage import once
from flows.submit import describe

Named = Annotated[str, Field(min_length=1)]


@flow(name="merge", persist_result=False)
def merge(
    datasets: Annotated[list[Named], Field(min_length=2)],
    name: Named,
    prefer: Literal["newest"] | None = None,
    profile: str | None = None,
    sets: list[str] | None = None,
) -> dict[str, Any]:
    """Every conversation of several datasets once. Merged again, they are the same dataset.

    Args:
        datasets: ids (or their beginnings) or names.
        prefer: whose category counts where datasets differ; left out, that is refused.

    Raises:
        ContractViolation: another taxonomy, family or kind of calls, or a conversation under two categories.
    """
    session = open_session(profile, sets=sets or ())
    made = once(custody.merge, "unite")(session, datasets, name, prefer == "newest")
    await_server()
    publish(made.dataset, custody.told_merge(made))
    return made.model_dump(mode="json")


def publish(dataset: Dataset, said: list[str]) -> None:
    """The dataset, and what the merge did, on Prefect's page."""
    text = "\n\n".join([describe(dataset), *said])
    create_markdown_artifact(key=f"dataset-{dataset.family}", markdown=text, description=dataset.name)
