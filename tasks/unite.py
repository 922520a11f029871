"""Several datasets as one: every conversation once, and none under two categories."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.artifacts import Dataset, Parent
from data_contracts.errors import ContractViolation, WrongRequest
from data_contracts.messages import Said, told
from data_contracts.schema import Frozen
from data_contracts.taxonomy import Taxonomy
from deploy.operate import lock
from deploy.store import Store
from tasks import catalog, stages
from tasks.calls import CALLS, COLUMNS, ROWS, Digest, own_group, write
from tasks.links import Heads

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
        WrongRequest: fewer than two different datasets, or no name.
        ContractViolation: another taxonomy, family or kind of calls, or a conversation under two categories.
    """
    if not name.strip():
        raise WrongRequest(told("merge_name"))
    newest_first = sorted({d.id: d for d in parts}.values(), key=catalog.age, reverse=True)
    _require_alike(newest_first)
    every = _together(store, newest_first)
    disputed = _disputed(every)
    if disputed.height and not newest_wins:
        raise ContractViolation(_refusal(disputed))
    once = _once(every)
    merging = Merging(calls=every.height, repeated=every.height - once.height, relabelled=disputed.height)
    del every
    text, taxonomy = merging.model_dump_json(indent=1), catalog.taxonomy_of(store, newest_first[0])
    scratch = store.scratch(f"merge/{_digest(newest_first)}")
    with lock.held(scratch / "lock"):
        content = _write(store, newest_first, once, scratch / CALLS)
        dataset = _dataset(content, once, newest_first, taxonomy, catalog.tidied(name))
        is_new = not store.has(dataset.key)
        kept = catalog.keep(store, dataset, scratch / CALLS, taxonomy, lambda folder: _note(folder, text))
        (scratch / CALLS).unlink(missing_ok=True)  # the store had it
    return Merged(dataset=kept, parts=len(newest_first), merging=merging, is_new=is_new)


def merging_of(store: Store, dataset: Dataset) -> Merging | None:
    """What the merge that made a dataset did, or None for a submitted one."""
    path = store.local(dataset.key) / MERGED
    return Merging.model_validate(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _require_alike(parts: Sequence[Dataset]) -> None:
    if len(parts) < 2:
        raise WrongRequest(told("merge_few"))
    first = parts[0]
    for other in parts[1:]:
        for field in ("taxonomy_digest", "family", "synthetic"):
            ours, theirs = getattr(first, field), getattr(other, field)
            if ours != theirs:
                which = {"a": first.id[:12], "name_a": first.name, "b": other.id[:12], "name_b": other.name}
                values = {"field": field, "ours": str(ours)[:12], "theirs": str(theirs)[:12]}
                raise ContractViolation(told("merge_differ", **which, **values))


def _together(store: Store, newest_first: Sequence[Dataset]) -> "pl.DataFrame":
    """All calls of all parts, those of the newest first, each under one customer, without their words: conversation_id, group,
    complaint_category, part (index into the parts), row (of the part)."""
    import polars as pl

    columns = ("conversation_id", "group", "complaint_category")
    parts = [catalog.calls_of(store, d, columns).with_row_index("row") for d in newest_first]
    every = pl.concat([calls.with_columns(pl.lit(at).alias("part")) for at, calls in enumerate(parts)])
    groups = _one_customer(every)
    return every.with_columns(pl.col("group").replace(groups)) if groups else every


def _one_customer(every: "pl.DataFrame") -> dict[str, str]:
    """Group → the name it gets: groups that share a conversation are one customer, known under several ids or none."""
    import polars as pl

    links = (
        every.filter(pl.col("conversation_id").is_duplicated())
        .group_by("conversation_id")
        .agg(pl.col("group").unique().sort())
        .filter(pl.col("group").list.len() > 1)
        .sort("conversation_id")
    )
    heads = Heads()
    for conversation, groups in links.iter_rows():
        own = own_group(conversation)
        names = sorted({heads.of(g) for g in groups}, key=lambda g: (g == own, g))  # a customer's name before a call's
        heads.join(names)
    return {group: heads.of(group) for group in list(heads) if heads.of(group) != group}


def _disputed(every: "pl.DataFrame") -> "pl.DataFrame":
    """Conversations under several categories: conversation_id, categories (the newest dataset's first)."""
    import polars as pl

    labels = (
        every.filter(pl.col("conversation_id").is_duplicated())
        .group_by("conversation_id")
        .agg(pl.col("complaint_category").unique(maintain_order=True))
    )
    return labels.filter(pl.col("complaint_category").list.len() > 1).sort("conversation_id")


def _refusal(disputed: "pl.DataFrame") -> Said:
    shown = "; ".join(f"{name}: {' / '.join(found)}" for name, found in disputed.head(SHOWN).iter_rows())
    return told("merge_disputed", calls=disputed.height, shown=shown, more="; …" * (disputed.height > SHOWN))


def _once(every: "pl.DataFrame") -> "pl.DataFrame":
    """Each conversation once, as the newest dataset that has it says."""
    return every.unique("conversation_id", keep="first", maintain_order=True).sort("conversation_id")


def _write(store: Store, parts: Sequence[Dataset], once: "pl.DataFrame", path: Path) -> str:
    """Write the calls of `once`, in its order, as a table; its content's digest."""
    digest, files = Digest(), [store.local(part.key) / CALLS for part in parts]

    def told() -> "Iterator[pl.DataFrame]":
        for start in range(0, once.height, ROWS):
            calls = _calls(files, once.slice(start, ROWS))
            digest.add(calls)
            yield calls

    write(path, told())
    return str(digest)


def _calls(files: Sequence[Path], wanted: "pl.DataFrame") -> "pl.DataFrame":
    """The calls of some lines of `once`. A part is in the order of its conversations, as these are, so its rows lie together."""
    import polars as pl

    found = []
    for at, file in enumerate(files):
        rows = wanted.filter(pl.col("part") == at)["row"].cast(pl.Int64)
        if rows.len():
            first, last = rows.to_numpy().min(), rows.to_numpy().max()
            calls = pl.scan_parquet(file).select(COLUMNS)
            found.append(calls.slice(int(first), int(last - first) + 1).collect()[rows - int(first)])
    named = wanted.select("conversation_id", pl.col("group").alias("named"))
    calls = named.join(pl.concat(found), on="conversation_id", maintain_order="left")
    return calls.with_columns(pl.col("named").alias("group")).select(COLUMNS)


def _digest(parts: Sequence[Dataset]) -> str:
    return hashlib.sha256(" ".join(d.id for d in parts).encode()).hexdigest()


def _dataset(
    content: str, once: "pl.DataFrame", newest_first: Sequence[Dataset], taxonomy: Taxonomy, name: str
) -> Dataset:
    first = newest_first[0]
    counts = dict(once["complaint_category"].value_counts().iter_rows())
    dataset_id = catalog.identify_by(content, catalog.Kind(first.family, first.synthetic, taxonomy))
    return Dataset(
        id=dataset_id,
        key=f"{catalog.PREFIX}/{dataset_id}",
        name=name,
        family=first.family,
        rows=once.height,
        accepted=once.height,
        rejected=0,
        categories={key: int(counts.get(key, 0)) for key in taxonomy.keys},
        groups=once["group"].n_unique(),
        synthetic=first.synthetic,
        taxonomy_digest=first.taxonomy_digest,
        created_at=stages.now(),
        parents=tuple(Parent(kind="dataset", digest=d.id, name=d.name) for d in reversed(newest_first)),
    )


def _note(folder: Path, text: str) -> None:
    (folder / MERGED).write_text(text, encoding="utf-8")
