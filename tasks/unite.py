"""Several datasets as one: every conversation once, and none under two categories."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.artifacts import Dataset, Parent
from data_contracts.errors import ConfigurationError, ContractViolation
from data_contracts.messages import say
from data_contracts.schema import Frozen
from deploy.store import Store
from tasks import catalog, stages
from tasks.calls import COLUMNS, own_group

if TYPE_CHECKING:
    import polars as pl

MERGED = "merged.json"
SHOWN = 5


class Merging(Frozen):
    """What a merge did: `calls` in all datasets together, of which `repeated` stood in several; of those `relabelled`
    had several categories, and the newest dataset's was taken."""

    calls: int
    repeated: int
    relabelled: int


class Merged(Frozen):
    """The dataset of a merge, of how many `parts`, and whether the store had it already, under whatever name."""

    dataset: Dataset
    parts: int
    merging: Merging
    is_new: bool


def unite(store: Store, parts: Sequence[Dataset], name: str, newest_wins: bool = False) -> Merged:
    """One dataset of all calls of several. The order of `parts` does not matter; the same parts give the same dataset.

    Raises:
        ConfigurationError: fewer than two different datasets, or no name.
        ContractViolation: another taxonomy, family or kind of calls, or a conversation under two categories.
    """
    if not name.strip():
        raise ConfigurationError("a merged dataset needs a name, by which it is found again: --name NAME")
    newest_first = sorted({d.id: d for d in parts}.values(), key=catalog.age, reverse=True)
    _require_alike(newest_first)
    every = _together(store, newest_first)
    disputed = _disputed(every)
    if disputed.height and not newest_wins:
        raise ContractViolation(_refusal(disputed))
    calls = _once(every)
    merging = Merging(calls=every.height, repeated=every.height - calls.height, relabelled=disputed.height)
    dataset = _dataset(store, calls, newest_first, name)
    is_new = not store.has(dataset.key)
    text = merging.model_dump_json(indent=1)
    taxonomy = catalog.taxonomy_of(store, newest_first[0])
    kept = catalog.keep(store, dataset, calls, taxonomy, lambda folder: _note(folder, text))
    return Merged(dataset=kept, parts=len(newest_first), merging=merging, is_new=is_new)


def merging_of(store: Store, dataset: Dataset) -> Merging | None:
    """What the merge that made a dataset did, or None for a submitted one."""
    path = store.local(dataset.key) / MERGED
    return Merging.model_validate(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _require_alike(parts: Sequence[Dataset]) -> None:
    if len(parts) < 2:
        raise ConfigurationError("a merge needs two or more different datasets; ./tingsu datasets lists them")
    first = parts[0]
    for other in parts[1:]:
        for field, what in (("taxonomy_digest", "taxonomy"), ("family", "family"), ("synthetic", "kind of calls")):
            ours, theirs = getattr(first, field), getattr(other, field)
            if ours != theirs:
                raise ContractViolation(
                    f"{first.id[:12]} ({first.name}) and {other.id[:12]} ({other.name}) differ in {what} "
                    f"({field} {str(ours)[:12]} and {str(theirs)[:12]}); merged are only datasets of one taxonomy, one "
                    "family, and either real or synthetic calls. Submit one of the files again as the other was"
                )


def _together(store: Store, newest_first: Sequence[Dataset]) -> "pl.DataFrame":
    """All calls of all parts, those of the newest first, each under one customer."""
    import polars as pl

    every = pl.concat([catalog.calls_of(store, d).select(COLUMNS) for d in newest_first])
    groups = _one_customer(every)
    return every.with_columns(pl.col("group").replace(groups)) if groups else every


def _one_customer(every: "pl.DataFrame") -> dict[str, str]:
    """Group → the name it gets: groups that share a conversation are one customer, known under several ids or none."""
    import polars as pl

    links = (
        every.group_by("conversation_id")
        .agg(pl.col("group").unique().sort())
        .filter(pl.col("group").list.len() > 1)
        .sort("conversation_id")
    )
    head: dict[str, str] = {}

    def found(group: str) -> str:
        while head.get(group, group) != group:
            group = head[group]
        return group

    for conversation, groups in links.iter_rows():
        own = own_group(conversation)
        names = sorted({found(g) for g in groups}, key=lambda g: (g == own, g))  # a customer's name before a call's
        head.update(dict.fromkeys(names, names[0]))
    return {group: found(group) for group in head if found(group) != group}


def _disputed(every: "pl.DataFrame") -> "pl.DataFrame":
    """Conversations under several categories: conversation_id, categories (the newest dataset's first)."""
    import polars as pl

    labels = every.group_by("conversation_id").agg(pl.col("complaint_category").unique(maintain_order=True))
    return labels.filter(pl.col("complaint_category").list.len() > 1).sort("conversation_id")


def _refusal(disputed: "pl.DataFrame") -> str:
    shown = "; ".join(f"{name}: {' / '.join(found)}" for name, found in disputed.head(SHOWN).iter_rows())
    return " ".join(say("merge_disputed", calls=disputed.height, shown=shown, more="; …" * (disputed.height > SHOWN)))


def _once(every: "pl.DataFrame") -> "pl.DataFrame":
    """Each conversation once, as the newest dataset that has it says."""
    return every.unique("conversation_id", keep="first", maintain_order=True).sort("conversation_id")


def _dataset(store: Store, calls: "pl.DataFrame", newest_first: Sequence[Dataset], name: str) -> Dataset:
    first = newest_first[0]
    taxonomy = catalog.taxonomy_of(store, first)
    counts = dict(calls["complaint_category"].value_counts().iter_rows())
    dataset_id = catalog.identify(calls, catalog.Kind(first.family, first.synthetic, taxonomy))
    return Dataset(
        id=dataset_id,
        key=f"{catalog.PREFIX}/{dataset_id}",
        name=name,
        family=first.family,
        rows=calls.height,
        accepted=calls.height,
        rejected=0,
        categories={key: int(counts.get(key, 0)) for key in taxonomy.keys},
        groups=calls["group"].n_unique(),
        synthetic=first.synthetic,
        taxonomy_digest=first.taxonomy_digest,
        created_at=stages.now(),
        parents=tuple(Parent(kind="dataset", digest=d.id, name=d.name) for d in reversed(newest_first)),
    )


def _note(folder: Path, text: str) -> None:
    (folder / MERGED).write_text(text, encoding="utf-8")
