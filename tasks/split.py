"""Split a dataset into sides that share no customer, conversation or near-duplicate text; keep the gold set frozen.

A group's side is a hash of its id alone, so it is the same in every dataset. The gold set is made from the family's
first dataset and never again; from then on whatever belongs to gold by group, hash or words stays out of training.
"""

import hashlib
import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.settings import DataSettings, SplitSettings
from data_contracts.artifacts import SIDES, Dataset, Side, Splits
from data_contracts.errors import ConfigurationError, ContractViolation
from data_contracts.schema import Frozen
from deploy.store import Store
from tasks import near
from tasks.calls import CALLS, content_digest
from tasks.stages import Work

if TYPE_CHECKING:
    import polars as pl

PREFIX, GOLD, MANIFEST, COUNTS = "gold", "gold.parquet", "manifest.json", "counts.json"


class Gold(Frozen):
    """The frozen gold set of a family, in the store under `key` (gold.parquet). `digest` names its rows."""

    key: str
    family: str
    digest: str
    dataset_id: str
    taxonomy_digest: str
    rows: int
    synthetic: bool = False


def split(dataset: Dataset, settings: SplitSettings, data: DataSettings, work: Work) -> Splits:
    """One Parquet file a side, and counts.json: rows a side and category, and what was left out and why.

    Raises:
        ContractViolation: the family's gold set has another taxonomy, or a side would be empty or of one category.
        ConfigurationError: `gold_after` is no date.
    """
    import polars as pl

    calls = _sided(pl.read_parquet(work.store.local(dataset.key) / CALLS), settings)
    frozen = gold(work.store, dataset.family)
    if frozen and frozen.taxonomy_digest != dataset.taxonomy_digest:
        raise ContractViolation(
            f"the gold set of family {dataset.family!r} has another taxonomy; results under two cannot be compared; "
            "submit under another family (--set data.family=NAME), or with that gold set's taxonomy"
        )
    if frozen and frozen.synthetic != dataset.synthetic:
        kinds = ("synthetic", "real") if frozen.synthetic else ("real", "synthetic")
        raise ContractViolation(
            f"the gold set of family {dataset.family!r} is {kinds[0]} and this dataset is {kinds[1]}; they are never "
            "mixed. Work in a home of its own: export TINGSU_HOME=FOLDER"
        )
    rows = pl.read_parquet(work.store.local(frozen.key) / GOLD) if frozen else _first_gold(calls)
    sides, dropped = _apart(calls, rows, data.near_duplicate_jaccard)
    _require(sides, dataset)
    if frozen is None:
        frozen = _freeze(rows, dataset, work)
        if frozen.digest != content_digest(rows):  # another process froze its gold set first
            return split(dataset, settings, data, work)
    for side in SIDES:
        sides[side].write_parquet(work.out / f"{side}.parquet")
    (work.out / COUNTS).write_text(json.dumps(_counts(sides, dropped, dataset), indent=1), encoding="utf-8")
    return Splits(
        key=work.key,
        dataset_id=dataset.id,
        family=dataset.family,
        counts={side: sides[side].height for side in SIDES},
        gold_digest=frozen.digest,
        dropped_near_gold=dropped["near_gold"],
    )


def gold(store: Store, family: str) -> Gold | None:
    """The family's frozen gold set, or None before its first split."""
    key = f"{PREFIX}/{family}"
    return (
        Gold.model_validate_json((store.local(key) / MANIFEST).read_text(encoding="utf-8")) if store.has(key) else None
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


def _sided(calls: "pl.DataFrame", settings: SplitSettings) -> "pl.DataFrame":
    """Calls with their `side`; null for the earlier calls of a group that is gold by time."""
    import polars as pl

    sides = {group: side_of(group, settings) for group in calls["group"].unique()}
    calls = calls.with_columns(pl.col("group").replace_strict(sides, return_dtype=pl.String).alias("side"))
    if settings.gold_after is None:
        return calls
    bound = _moment(settings.gold_after)
    if bound is None:
        raise ConfigurationError(f"split.gold_after = {settings.gold_after!r} is no date; write it as 2026-06-01")
    late = pl.Series("late", [(m := _moment(text)) is not None and m >= bound for text in calls["started_at"]])
    calls = calls.with_columns(late)
    by_time = pl.when("late").then(pl.lit("gold")).when(~pl.col("late").any().over("group")).then("side")
    return calls.with_columns(by_time.alias("side")).drop("late")


def _moment(text: str | None) -> datetime | None:
    """A local time without zone: gold_after means the wall clock of the call."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None) if text else None
    except ValueError:
        return None


def _first_gold(calls: "pl.DataFrame") -> "pl.DataFrame":
    """The gold rows of a family that has no gold set yet."""
    import polars as pl

    return calls.filter(pl.col("side") == "gold").drop("side")


def _freeze(rows: "pl.DataFrame", dataset: Dataset, work: Work) -> Gold:
    """Make the gold set once; if another process was faster, its gold set is the one."""
    key = f"{PREFIX}/{dataset.family}"
    made = Gold(
        key=key,
        family=dataset.family,
        digest=content_digest(rows),
        dataset_id=dataset.id,
        taxonomy_digest=dataset.taxonomy_digest,
        rows=rows.height,
        synthetic=dataset.synthetic,
    )
    folder: Path = work.scratch / "gold"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows.write_parquet(folder / GOLD)
    (folder / MANIFEST).write_text(made.model_dump_json(indent=1), encoding="utf-8")
    work.store.commit(folder, key)
    return gold(work.store, dataset.family) or made


def _apart(
    calls: "pl.DataFrame", frozen: "pl.DataFrame", threshold: float
) -> tuple[dict[Side, "pl.DataFrame"], dict[str, int]]:
    """Sides without shared groups or near-duplicates; where two share words, the one nearer to training loses."""
    import polars as pl

    rest = calls.filter(pl.col("side").is_not_null() & (pl.col("side") != "gold"))
    known = pl.any_horizontal(pl.col(c).is_in(frozen[c].implode()) for c in ("group", "conversation_id"))
    free = rest.filter(~known)
    sketches = near.sketch(free["input_text"])
    near_gold = near.any_near(sketches, near.sketch(frozen["input_text"]), threshold)
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
