"""Datasets of given calls, kept in a store as a submission would keep them."""

from collections.abc import Sequence

import polars as pl

from data_contracts.artifacts import Dataset, Parent
from data_contracts.taxonomy import Category, Taxonomy
from deploy.store import Store
from tasks import catalog
from tasks.calls import COLUMNS, own_group

TAXONOMY = Taxonomy(
    name="two",
    none_key="a",
    categories=(Category(key="a", code="A", name_zh="甲"), Category(key="b", code="B", name_zh="乙")),
)
OTHER = TAXONOMY.model_copy(update={"name": "other"})
Row = dict[str, object]


def text(seed: int) -> str:
    """Forty characters that share no 5-gram with those of another seed, almost surely."""
    return "".join(chr(0x4E00 + (seed * 7919 + at * 104729 + (seed * at * at) % 997) % 6000) for at in range(40))


def call(at: int, category: str = "", customer: str = "", words: str = "", day: str | None = None) -> Row:
    """Call number `at`; its customer is unknown unless named."""
    name = f"c{at:05}"
    values = (
        name,
        customer or own_group(name),
        words or text(at),
        category or "ab"[at % 2],
        1.0,
        day,
        None,
        None,
    )
    return dict(zip(COLUMNS, values, strict=True))


def keep(
    store: Store,
    rows: Sequence[Row],
    name: str,
    taxonomy: Taxonomy = TAXONOMY,
    family: str = "complaints",
    real: bool = False,
) -> Dataset:
    """The dataset; one made later has a later time."""
    schema = {c: pl.Float64 if c == "confidence_score" else pl.String for c in COLUMNS}
    calls = pl.DataFrame(list(rows), schema=schema).sort("conversation_id")
    counts = dict(calls["complaint_category"].value_counts().iter_rows())
    dataset_id = catalog.identify(calls, catalog.Kind(family, not real, taxonomy))
    made = Dataset(
        id=dataset_id,
        key=f"datasets/{dataset_id}",
        name=name,
        family=family,
        rows=len(rows),
        accepted=len(rows),
        rejected=0,
        categories={key: counts.get(key, 0) for key in taxonomy.keys},
        groups=calls["group"].n_unique(),
        synthetic=not real,
        taxonomy_digest=taxonomy.digest,
        created_at=f"2026-01-01T00:00:{len(catalog.listed(store)):02}+00:00",
        parents=(Parent(kind="file", digest="f" * 64, name=f"{name}.csv"),),
    )
    return catalog.keep(store, made, calls, taxonomy, lambda folder: None)
