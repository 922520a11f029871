"""Split a dataset into sides that share no customer, conversation or near-duplicate text; keep the gold set frozen.

A group's side is a hash of its id alone, so it is the same in every dataset. The gold set is made from the family's
first dataset and changes only by a refresh (tasks/refresh.py); from then on whatever belongs to any version of it by group,
hash or words stays out of training.
"""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.dataset import DataSettings, SplitSettings
from data_contracts.artifacts import SIDES, Dataset, Side, Splits
from data_contracts.errors import ConfigurationError, ContractViolation
from tasks import gold, near
from tasks.calls import CALLS, content_digest
from tasks.stages import Work

if TYPE_CHECKING:
    import polars as pl

COUNTS = "counts.json"


def split(dataset: Dataset, settings: SplitSettings, data: DataSettings, version: int, work: Work) -> Splits:
    """One Parquet file a side, and counts.json: rows a side and category, and what was left out and why.

    Args:
        version: of the family's gold set (`gold.version`); the first is made here.

    Raises:
        ContractViolation: the family's gold set has another taxonomy, or a side would be empty or of one category.
        ConfigurationError: `gold_after` is no date.
    """
    import polars as pl

    store = work.store
    calls = sided(pl.read_parquet(store.local(dataset.key) / CALLS), settings)
    frozen = gold.find(store, dataset.family, version)
    if frozen:
        require_of_gold(dataset, frozen)
    rows = gold.rows(store, frozen) if frozen else calls.filter(pl.col("side") == "gold").drop("side")
    barred = gold.barred(store, dataset.family, version) if frozen else rows
    sides, dropped = _apart(calls, rows, barred, data.near_duplicate_jaccard)
    _require(sides, dataset)
    if frozen is None:
        frozen = gold.freeze(store, gold.made(rows, dataset), rows, work.scratch / "gold")
        if frozen.digest != content_digest(rows):  # another process froze its gold set first
            return split(dataset, settings, data, version, work)
    _write(sides, _counts(sides, dropped, dataset), work.out)
    return Splits(
        key=work.key,
        dataset_id=dataset.id,
        family=dataset.family,
        counts={side: sides[side].height for side in SIDES},
        gold_digest=frozen.digest,
        dropped_near_gold=dropped["near_gold"],
    )


def _write(sides: dict[Side, "pl.DataFrame"], counts: dict[str, object], out: Path) -> None:
    for side, frame in sides.items():
        frame.write_parquet(out / f"{side}.parquet")
    (out / COUNTS).write_text(json.dumps(counts, indent=1), encoding="utf-8")


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
        raise ContractViolation(
            f"the gold set of family {dataset.family!r} has another taxonomy; results under two cannot be compared; "
            "submit under another family (--set data.family=NAME), or with that gold set's taxonomy"
        )
    if frozen.synthetic != dataset.synthetic:
        kinds = ("synthetic", "real") if frozen.synthetic else ("real", "synthetic")
        raise ContractViolation(
            f"the gold set of family {dataset.family!r} is {kinds[0]} and this dataset is {kinds[1]}; they are never "
            "mixed. Work in a home of its own: export TINGSU_HOME=FOLDER"
        )


def sided(calls: "pl.DataFrame", settings: SplitSettings) -> "pl.DataFrame":
    """Calls with their `side`; null for the earlier calls of a group that is gold by time."""
    import polars as pl

    sides = {group: side_of(group, settings) for group in calls["group"].unique()}
    calls = calls.with_columns(pl.col("group").replace_strict(sides, return_dtype=pl.String).alias("side"))
    if settings.gold_after is None:
        return calls
    calls = calls.with_columns(since(calls, settings.gold_after, "split.gold_after").alias("late"))
    by_time = pl.when("late").then(pl.lit("gold")).when(~pl.col("late").any().over("group")).then("side")
    return calls.with_columns(by_time.alias("side")).drop("late")


def since(calls: "pl.DataFrame", date: str, name: str) -> "pl.Series":
    """Whether each call is known to have started on this day or later.

    Raises:
        ConfigurationError: `date`, which is called `name`, is no date.
    """
    import polars as pl

    bound = _moment(date)
    if bound is None:
        raise ConfigurationError(f"{name} = {date!r} is no date; write it as 2026-06-01")
    return pl.Series(
        [(m := _moment(text)) is not None and m >= bound for text in calls["started_at"]], dtype=pl.Boolean
    )


def _moment(text: str | None) -> datetime | None:
    """A local time without zone: gold_after means the wall clock of the call."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None) if text else None
    except ValueError:
        return None


def _apart(
    calls: "pl.DataFrame", frozen: "pl.DataFrame", barred: "pl.DataFrame", threshold: float
) -> tuple[dict[Side, "pl.DataFrame"], dict[str, int]]:
    """Sides without shared groups or near-duplicates; where two share words, the one nearer to training loses."""
    import polars as pl

    rest = calls.filter(pl.col("side").is_not_null() & (pl.col("side") != "gold"))
    free = rest.filter(~pl.col("group").is_in(gold.customers(calls, barred).implode()))
    sketches = near.sketch(free["input_text"])
    near_gold = near.any_near(sketches, near.sketch(barred["input_text"]), threshold)
    sides: dict[Side, pl.DataFrame] = {"gold": frozen}
    held = np.empty(0, np.int64)
    near_sides = 0
    for side in ("calibration", "validation", "train"):
        own = np.flatnonzero((free["side"] == side).to_numpy() & ~near_gold)
        kept = own[~near.any_near(sketches.take(own), sketches.take(held), threshold)]
        near_sides += len(own) - len(kept)
        held = np.concatenate([held, kept])
        sides[side] = free.drop("side")[kept]
    reserved = calls.height - rest.height - calls.join(frozen, on="conversation_id", how="semi").height
    dropped = {"reserved_for_gold": max(0, reserved), "group_in_gold": rest.height - free.height}
    return sides, dropped | {"near_gold": int(near_gold.sum()), "near_another_side": near_sides}


def _counts(sides: dict[Side, "pl.DataFrame"], dropped: dict[str, int], dataset: Dataset) -> dict[str, object]:
    by_side = {
        side: dict(sorted(frame["complaint_category"].value_counts().iter_rows())) for side, frame in sides.items()
    }
    present = [key for key, rows in dataset.categories.items() if rows]
    missing = {side: [key for key in present if key not in by_side[side]] for side in SIDES}
    return {"rows": by_side, "missing_categories": missing, "dropped": dropped}


def _require(sides: dict[Side, "pl.DataFrame"], dataset: Dataset) -> None:
    """Every side has calls; training and gold have at least two categories.

    Raises:
        ContractViolation: names the side.
    """
    for side, frame in sides.items():
        categories = frame["complaint_category"].n_unique()
        if frame.height == 0 or (side in ("train", "gold") and categories < 2):
            found = f"{frame.height} calls of {categories} categories; it needs calls of two or more"
            raise ContractViolation(
                f"side {side!r} of dataset {dataset.id[:12]} has {found}. The dataset has {dataset.accepted} calls in "
                f"{dataset.groups} groups: submit calls of more customers and categories"
            )
