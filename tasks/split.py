"""Split a dataset into sides that share no customer, conversation or near-duplicate text; keep the gold set frozen.

A group's side is a hash of its id alone, so it is the same in every dataset. The gold set is made from the family's
first dataset and changes only by a refresh (tasks/refresh.py); from then on whatever belongs to any version of it by group,
hash or words stays out of training.
"""

import hashlib
import json
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from configs.dataset import DataSettings, SplitSettings
from data_contracts.artifacts import SIDES, Dataset, Side, Splits
from data_contracts.errors import ContractViolation, WrongRequest
from data_contracts.messages import told
from data_contracts.schema import PLACE, Frozen
from deploy.store import Store
from tasks import catalog, gold, links, sides
from tasks.calls import CALLS
from tasks.stages import Work

if TYPE_CHECKING:
    import polars as pl

COUNTS = "counts.json"
WORDLESS = ("conversation_id", "group", "complaint_category", "started_at")


class Custody(Frozen):
    """What keeps gold customers out of training: the version of the gold set that counts, and the customers' other names.

    `is_first`: there was no gold set yet, so they are of the customers whom this dataset would bring. No part of a stage's key.
    """

    version: int = 1
    aliases: tuple[str, ...] = ()
    is_first: Annotated[bool, PLACE] = False


def custody(store: Store, dataset: Dataset, settings: SplitSettings) -> Custody:
    """Of the gold set that a split of this dataset has or makes; customers may have names that only other datasets know.

    Raises:
        BundleCorrupt: a dataset or a gold set was changed in the store.
        WrongRequest: `gold_after` is no date.
    """
    version = gold.version(store, dataset.family)
    heads = links.known(store, dataset.family)
    is_first = gold.find(store, dataset.family, version) is None
    if not list(heads):
        return Custody(version=version, is_first=is_first)
    if not is_first:
        customers = gold.barred(store, dataset.family, version)["group"]
    else:
        calls = sided(catalog.calls_of(store, dataset, WORDLESS), settings)
        customers = calls.filter(calls["side"] == "gold")["group"]
    return Custody(version=version, aliases=links.others(heads, customers), is_first=is_first)


def _of_today(store: Store, dataset: Dataset, settings: SplitSettings, asked: Custody) -> Custody:
    """The custody under a gold set that is there: asked again if it was not, since its customers may be another dataset's."""
    return custody(store, dataset, settings) if asked.is_first else asked


def split(dataset: Dataset, settings: SplitSettings, data: DataSettings, custody: Custody, work: Work) -> Splits:
    """One Parquet file a side, and counts.json: rows a side and category, and what was left out and why.

    Of the dataset its ids and categories are held, and of calibration, validation and gold what finds words like theirs; texts of
    training pass through.

    Args:
        custody: of the family's gold set (`custody`); the first version is made here.

    Raises:
        ContractViolation: the family's gold set has another taxonomy, or a side would be empty or of one category.
        WrongRequest: `gold_after` is no date.
        BundleCorrupt: the dataset or the gold set was changed in the store.
    """
    store = work.store
    calls = sided(catalog.calls_of(store, dataset, WORDLESS), settings)
    file, frozen = store.local(dataset.key) / CALLS, gold.find(store, dataset.family, custody.version)
    if frozen:
        require_of_gold(dataset, frozen)
        custody = _of_today(store, dataset, settings, custody)
    kept = sides.Kept(
        gold.file(store, frozen) if frozen else None,
        gold.barred(store, dataset.family, custody.version) if frozen else sides.gold_of(file, calls),
        custody.aliases,
    )
    divided = sides.divided(calls, file, kept, data.near_duplicate_jaccard)
    digest = sides.write(file, divided.side, kept.file, work.out)
    rows = sides.categories(calls, divided.side, kept.file)
    _require(rows, divided.dropped, dataset)
    if frozen is None:
        made = gold.made(digest, rows["gold"].total(), dataset)
        frozen = gold.freeze(store, made, work.out / gold.GOLD, work.scratch / "gold")
        if frozen.digest != digest:  # another process froze its gold set first
            return split(dataset, settings, data, custody, work)
    (work.out / COUNTS).write_text(json.dumps(_counts(rows, divided.dropped, dataset), indent=1), encoding="utf-8")
    return _made(dataset, rows, divided.dropped, frozen, work)


def _made(
    dataset: Dataset, rows: dict[Side, Counter[str]], dropped: dict[str, int], frozen: gold.Gold, work: Work
) -> Splits:
    return Splits(
        key=work.key,
        dataset_id=dataset.id,
        family=dataset.family,
        counts={side: rows[side].total() for side in SIDES},
        gold_digest=frozen.digest,
        dropped_near_gold=dropped["near_gold"],
    )


def side_of(group: str, settings: SplitSettings) -> Side:
    """The side of a group: the same wherever it appears. With `gold_after` no hash is gold, only time is."""
    share = int(hashlib.sha256(f"side {group}".encode()).hexdigest()[:13], 16) / 16**13
    if share < settings.gold_share:
        return "gold" if settings.gold_after is None else "train"
    if share < settings.gold_share + settings.validation_share:
        return "validation"
    if share < settings.gold_share + settings.validation_share + settings.calibration_share:
        return "calibration"
    return "train"


def require_of_gold(dataset: Dataset, frozen: gold.Gold) -> None:
    """Return if the dataset's calls can be measured on this gold set, or join it.

    Raises:
        ContractViolation: another taxonomy, or real and synthetic calls together.
    """
    if frozen.taxonomy_digest != dataset.taxonomy_digest:
        raise ContractViolation(told("gold_taxonomy", family=dataset.family))
    if frozen.synthetic != dataset.synthetic:
        raise ContractViolation(told("gold_synthetic" if frozen.synthetic else "gold_real", family=dataset.family))


def sided(calls: "pl.DataFrame", settings: SplitSettings) -> "pl.DataFrame":
    """Calls with their `side`; null for the earlier calls of a group that is gold by time."""
    import polars as pl

    groups = calls.select(pl.col("group").unique())
    groups = groups.with_columns(pl.Series("side", [side_of(name, settings) for name in groups["group"]], pl.String))
    calls = calls.join(groups, on="group", how="left", maintain_order="left")
    if settings.gold_after is None:
        return calls
    calls = calls.with_columns(since(calls, settings.gold_after, "split.gold_after").alias("late"))
    by_time = pl.when("late").then(pl.lit("gold")).when(~pl.col("late").any().over("group")).then("side")
    return calls.with_columns(by_time.alias("side")).drop("late")


def since(calls: "pl.DataFrame", date: str, name: str) -> "pl.Series":
    """Whether each call is known to have started on this day or later.

    Raises:
        WrongRequest: `date`, which is called `name`, is no date.
    """
    import polars as pl

    bound = _moment(date)
    if bound is None:
        raise WrongRequest(told("bad_date", name=name, given=date))
    return pl.Series(
        [(m := _moment(text)) is not None and m >= bound for text in calls["started_at"]], dtype=pl.Boolean
    )


def _moment(text: str | None) -> datetime | None:
    """A local time without zone: gold_after means the wall clock of the call."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None) if text else None
    except ValueError:
        return None


def _counts(rows: dict[Side, Counter[str]], dropped: dict[str, int], dataset: Dataset) -> dict[str, object]:
    present = [key for key, count in dataset.categories.items() if count]
    missing = {side: [key for key in present if key not in rows[side]] for side in SIDES}
    return {"rows": {side: dict(own) for side, own in rows.items()}, "missing_categories": missing, "dropped": dropped}


def _require(rows: dict[Side, Counter[str]], dropped: dict[str, int], dataset: Dataset) -> None:
    """Every side has calls; training and gold have at least two categories.

    Raises:
        ContractViolation: names the side.
    """
    for side, categories in rows.items():
        if not categories or (side in ("train", "gold") and len(categories) < 2):
            found = {"calls": categories.total(), "categories": len(categories)}
            whole = {"dataset": dataset.id[:12], "accepted": dataset.accepted, "groups": dataset.groups}
            barred = dropped["group_in_gold"]
            code = "side_barred" if barred * 2 >= dataset.accepted else "side_too_small"
            raise ContractViolation(told(code, side=side, barred=barred, **found, **whole))
