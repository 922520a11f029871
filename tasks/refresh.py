"""The next version of a family's gold set: newer calls of customers that no model was trained on, beside the old ones.

The calls that stay are the overlap. A champion is never compared by its old numbers: it answers the new version anew.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from configs.settings import DataSettings, SplitSettings
from data_contracts.artifacts import SIDES, Dataset, Splits
from data_contracts.errors import ConfigurationError, ContractViolation
from data_contracts.schema import Frozen
from deploy.store import Store
from tasks import catalog, gold, history, looks, near, split, stages
from tasks.calls import COLUMNS
from tasks.gold import Gold, Refresh
from tasks.history import Event

if TYPE_CHECKING:
    import polars as pl

FITTED = tuple(side for side in SIDES if side != "gold")


class Why(Frozen):
    """Who asks for a refresh, and why; the new version keeps it. `since`: calls before this day leave, none of them come."""

    reason: str
    by: str
    since: str | None = None


class Next(NamedTuple):
    """A version before it is frozen: `trained` calls would have come, if a model had not seen their customer or words."""

    gold: Gold
    calls: "pl.DataFrame"
    trained: int


def known(store: Store, dataset: Dataset, why: Why) -> Gold | None:
    """The newest version if it was made from this dataset in these words: the same request again, because the first was cut off."""
    newest = gold.newest(store, dataset.family)
    if newest is None or newest.refresh is None or newest.dataset_id != dataset.id:
        return None
    asked = (newest.refresh.reason, newest.refresh.by, newest.refresh.since)
    return newest if asked == (why.reason, why.by, why.since) else None


def plan(store: Store, dataset: Dataset, how: SplitSettings, data: DataSettings, why: Why) -> Next:
    """The version after the newest, with the calls of a dataset; nothing is written.

    Raises:
        ConfigurationError: there is no gold set to refresh, no reason, or `since` is no date.
        ContractViolation: the dataset has no call that may come, or is of another taxonomy or kind.
    """
    before = _before(store, dataset, why)
    coming, trained = _coming(store, dataset, before, how, data, why)
    staying = gold.rows(store, before)
    if why.since is not None:  # a call whose day nobody knows stays
        staying = staying.filter(staying["started_at"].is_null() | split.since(staying, why.since, "--since"))
    import polars as pl

    calls = pl.concat([staying, coming]).sort("conversation_id")
    if not coming.height or calls["complaint_category"].n_unique() < 2:
        raise ContractViolation(_nothing_new(dataset, before, coming.height, trained))
    share = staying.height / calls.height
    made = Refresh(
        reason=why.reason,
        by=why.by,
        since=why.since,
        stayed=staying.height,
        retired=before.rows - staying.height,
        added=coming.height,
        looks_carried=math.ceil(share * looks.count(store, before.digest)),
    )
    return Next(gold.made(calls, dataset, before.version + 1, made), calls, trained)


def refresh(store: Store, planned: Next) -> Gold:
    """Freeze what was planned; from now on it is what candidates and champions are measured on.

    Raises:
        ContractViolation: another refresh was faster.
    """
    wanted = planned.gold
    if wanted.refresh:
        looks.carry(store, wanted.digest, wanted.refresh.looks_carried)
    frozen = gold.freeze(store, wanted, planned.calls, store.scratch(f"refresh/{wanted.family}.{wanted.version}"))
    if frozen.digest != wanted.digest:
        raise ContractViolation(
            f"another refresh has just made version {wanted.version} of the gold set of {wanted.family!r}, with "
            f"{frozen.rows} calls; look at it (./tingsu datasets show {frozen.dataset_id[:12]}), then decide again"
        )
    return frozen


def tell(store: Store, home: Path, family: str) -> None:
    """Put every refresh of the family that the history lacks into it; one killed before it did so is caught up with."""
    known = {e.event.detail.get("gold_digest") for e in history.read(home) if e.event.kind == "gold_refreshed"}
    for one in gold.versions(store, family):
        if one.refresh and one.digest not in known:
            detail = {
                "gold_digest": one.digest,
                "family": family,
                "gold_version": one.version,
                **one.refresh.model_dump(),
            }
            history.append(home, Event(kind="gold_refreshed", version=None, by=one.refresh.by, detail=detail))


def _before(store: Store, dataset: Dataset, why: Why) -> Gold:
    if not why.reason.strip():
        raise ConfigurationError("a refresh of the gold set needs a reason, which is kept with it: --reason 'WHY'")
    before = gold.newest(store, dataset.family)
    if before is None:
        raise ConfigurationError(
            f"family {dataset.family!r} has no gold set yet; its first ./tingsu retrain makes one, and a refresh comes later"
        )
    split.require_of_gold(dataset, before)
    return before


def _coming(
    store: Store, dataset: Dataset, before: Gold, how: SplitSettings, data: DataSettings, why: Why
) -> tuple["pl.DataFrame", int]:
    """Calls on the gold side that were in no version, by customers whom no model has read; and how many it had read."""
    import polars as pl

    calls = split.sided(catalog.calls_of(store, dataset), how)
    known = gold.barred(store, before.family, before.version)
    fresh = calls.filter(pl.col("side") == "gold").join(known, on="conversation_id", how="anti").select(COLUMNS)
    if why.since is not None:
        fresh = fresh.filter(split.since(fresh, why.since, "--since"))
    read = _read_by_models(store, before.family)
    is_read = fresh["group"].is_in(read["group"].implode()).to_numpy() | near.any_near(
        near.sketch(fresh["input_text"]), near.sketch(read["input_text"]), data.near_duplicate_jaccard
    )
    return fresh.filter(~pl.Series(is_read)), int(is_read.sum())


def _read_by_models(store: Store, family: str) -> "pl.DataFrame":
    """Group and text of every call that a split of the family, still kept, put on a fitted side: the settings of the split may
    have been others then."""
    import polars as pl

    columns = ("group", "input_text")
    parts = [pl.DataFrame(schema=dict.fromkeys(columns, pl.String))]
    for key in store.keys("stages/split"):
        made = Splits.model_validate(stages.Record.model_validate_json(store.part(key, stages.RECORD)).result)
        if made.family == family:
            parts += [pl.read_parquet(store.local(made.file(side)), columns=list(columns)) for side in FITTED]
    return pl.concat(parts).unique()


def _nothing_new(dataset: Dataset, before: Gold, coming: int, trained: int) -> str:
    return (
        f"dataset {dataset.id[:12]} ({dataset.name}) has {coming} calls that version {before.version} of the gold set of "
        f"{before.family!r} lacks and no model was trained on ({trained} others are of customers or words that models have "
        "read); submit newer calls, or choose an earlier --since"
    )
