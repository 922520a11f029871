"""Merging datasets and refreshing a gold set, as the commands and the flows both do; in seconds, without Prefect."""

from collections.abc import Sequence

from data_contracts.artifacts import Dataset
from data_contracts.messages import say
from data_contracts.schema import Frozen
from flows.session import Session
from tasks import catalog, refresh, unite
from tasks.gold import LEAST_SHARED, Gold
from tasks.refresh import Why
from tasks.unite import Merged


class Refreshed(Frozen):
    """A version of a gold set, made now, before (`is_new` False) or only planned. `trained`: calls left out since models know them."""

    gold: Gold
    dataset: Dataset
    trained: int
    is_new: bool


def found(session: Session, wanted: Sequence[str]) -> list[Dataset]:
    """The datasets of these ids or names.

    Raises:
        WrongRequest: one stands for none, or for several.
    """
    return [catalog.find(session.store, one, session.settings.data.family) for one in wanted]


def merge(session: Session, wanted: Sequence[str], name: str, newest_wins: bool) -> Merged:
    """Several datasets as one; what was merged before is found.

    Raises:
        WrongRequest, ContractViolation: as `unite.unite`.
    """
    return unite.unite(session.store, found(session, wanted), name, newest_wins=newest_wins)


def told_merge(made: Merged) -> list[str]:
    """What a merge did, in both languages."""
    said = [*say("merged", **made.merging.model_dump(), datasets=made.parts)]
    if not made.is_new:
        said += say("merged_before", id=made.dataset.id[:12], name=made.dataset.name)
    return said


def refresh_gold(session: Session, wanted: str | None, why: Why, dry_run: bool = False) -> Refreshed:
    """The next version of a gold set, in the store and in the history; one that was asked for before, in these words, is found.

    Raises:
        WrongRequest, ContractViolation: as `refresh.plan`.
    """
    s, store = session.settings, session.store
    dataset = catalog.find(store, wanted, s.data.family)
    refresh.tell(store, session.home, dataset.family)
    known = refresh.known(store, dataset, why)
    if known is not None:
        return Refreshed(gold=known, dataset=dataset, trained=0, is_new=False)
    planned = refresh.plan(store, dataset, s.split, s.data, why)
    made = planned.gold if dry_run else refresh.refresh(store, planned)
    refresh.tell(store, session.home, dataset.family)
    return Refreshed(gold=made, dataset=dataset, trained=planned.trained, is_new=True)


def told_refresh(done: Refreshed) -> list[str]:
    """What a refresh did and what comes next, in both languages."""
    said = [] if done.is_new else [*say("gold_known", version=done.gold.version, at=done.gold.created_at)]
    if done.gold.refresh:
        said += say("gold_refreshed", **done.gold.refresh.model_dump())
        if done.gold.refresh.stayed < LEAST_SHARED:
            said += say("gold_overlap_small", stayed=done.gold.refresh.stayed, least=LEAST_SHARED)
    said += say("gold_trained", calls=done.trained) if done.trained else ()
    return [*said, *say("gold_next", dataset=done.dataset.id[:12])]
