"""The next version of a family's gold set: newer calls of customers that no model was trained on, beside the old ones.

The calls that stay are the overlap. A champion is never compared by its old numbers: it answers the new version anew.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from configs.dataset import DataSettings, SplitSettings
from data_contracts.artifacts import SIDES, Dataset, Splits
from data_contracts.errors import ContractViolation, WrongRequest
from data_contracts.messages import Said, told
from data_contracts.schema import Frozen
from deploy.store import Store
from tasks import catalog, gold, history, links, looks, near, split, stages
from tasks.calls import content_digest
from tasks.gold import Gold, Refresh
from tasks.history import Event

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

AT_ONCE = 200_000  # texts held while they are compared: 150 MB of them, 54 MB of what finds those near
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
        WrongRequest: there is no gold set to refresh, no reason, or `since` is no date.
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
    return Next(gold.made(content_digest(calls), calls.height, dataset, before.version + 1, made), calls, trained)


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
        made = {
            "version": wanted.version,
            "family": wanted.family,
            "rows": frozen.rows,
            "dataset": frozen.dataset_id[:12],
        }
        raise ContractViolation(told("refresh_overtaken", **made))
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
        raise WrongRequest(told("refresh_reason"))
    before = gold.newest(store, dataset.family)
    if before is None:
        raise WrongRequest(told("refresh_no_gold", family=dataset.family))
    split.require_of_gold(dataset, before)
    return before


def _coming(
    store: Store, dataset: Dataset, before: Gold, how: SplitSettings, data: DataSettings, why: Why
) -> tuple["pl.DataFrame", int]:
    """Calls on the gold side that were in no version, by customers whom no model has read; and how many it had read."""
    import polars as pl

    calls = split.sided(catalog.calls_of(store, dataset, ("conversation_id", "group", "started_at")), how)
    known = gold.barred(store, before.family, before.version)
    ours = calls.filter(pl.col("side") == "gold").join(known, on="conversation_id", how="anti")
    wanted = pl.col("conversation_id").is_in(ours["conversation_id"].implode())
    fresh = pl.concat([part.filter(wanted) for part in catalog.parts(store, dataset)])
    if why.since is not None:
        fresh = fresh.filter(split.since(fresh, why.since, "--since"))
    files = _fitted(store, before.family)
    heads = links.known(store, before.family)
    is_read = fresh["group"].is_in(_customers_read(files, calls, heads).implode()).to_numpy()
    is_read |= _words_read(files, fresh["input_text"], data.near_duplicate_jaccard)
    return fresh.filter(~pl.Series(is_read, dtype=pl.Boolean)), int(is_read.sum())


def _fitted(store: Store, family: str) -> list[Path]:
    """The fitted sides of every split of the family that is still kept: the settings of the split may have been others then."""
    files: list[Path] = []
    for key in store.keys("stages/split"):
        made = Splits.model_validate(stages.Record.model_validate_json(store.part(key, stages.RECORD)).result)
        if made.family == family:
            files += [store.local(made.file(side)) for side in FITTED]
    return files


def _customers_read(files: Sequence[Path], calls: "pl.DataFrame", heads: links.Heads) -> "pl.Series":
    """Groups of the calls that models have read: as they were called then, as this dataset calls whoever made one of them, and by
    every other name that they have in any dataset."""
    import polars as pl

    read = pl.DataFrame(schema={"conversation_id": pl.String, "group": pl.String})
    for file in files:
        read = pl.concat([read, pl.read_parquet(file, columns=read.columns)]).unique()
    customers = gold.customers(calls, read)
    return pl.concat([customers, pl.Series("group", links.others(heads, customers), pl.String)])


def _words_read(files: Sequence[Path], texts: "pl.Series", threshold: float) -> "NDArray[np.bool_]":
    """Whether each text is nearly one that models have read; of these some are held at a time, and each is compared once."""
    own, found, seen = near.sketch(texts), np.zeros(len(texts), np.bool_), np.empty(0, np.uint64)
    for read in _parts(files, AT_ONCE):
        words = read.hash().to_numpy()
        new, first = np.unique(words, return_index=True)
        first = first[~np.isin(new, seen)]
        left = np.flatnonzero(~found)
        found[left] = near.any_near(own.take(left), near.sketch(read.gather(first)), threshold)
        seen = np.union1d(seen, new)
    return found


def _parts(files: Sequence[Path], rows: int) -> "Iterator[pl.Series]":
    """The texts of several files, at most so many at a time."""
    import polars as pl

    for file in files:
        texts = pl.scan_parquet(file).select("input_text")
        for start in range(0, int(texts.select(pl.len()).collect().item()), rows):
            yield texts.slice(start, rows).collect()["input_text"]


def _nothing_new(dataset: Dataset, before: Gold, coming: int, trained: int) -> Said:
    which = {"dataset": dataset.id[:12], "name": dataset.name, "version": before.version, "family": before.family}
    return told("refresh_nothing", coming=coming, trained=trained, **which)
