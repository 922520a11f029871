"""The gold set of a family: frozen, in numbered versions, and whoever is in any of them stays out of training for ever."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.artifacts import Dataset
from data_contracts.errors import BundleCorrupt
from data_contracts.schema import Frozen
from deploy.store import Store
from tasks import stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

# Calls that two versions must share for those judged on either to be compared on them: where two answer a quarter of the calls
# differently, 1.96 · √(0.25 / 100) is ±10 points of accuracy.
LEAST_SHARED = 100
PREFIX, GOLD, MANIFEST = "gold", "gold.parquet", "manifest.json"
WHO = ("conversation_id", "group", "input_text")  # what tells whether a call belongs to gold


class Refresh(Frozen):
    """How a version came from the one before: calls that stayed, left (`retired`) and came. `looks_carried`: looks at the version
    before that count for this one too, in proportion to the calls that stayed."""

    reason: str
    by: str
    since: str | None
    stayed: int
    retired: int
    added: int
    looks_carried: int


class Gold(Frozen):
    """A frozen gold set, in the store under `key` (gold.parquet). `digest` names its rows; the first has no `refresh`."""

    key: str
    family: str
    digest: str
    dataset_id: str
    taxonomy_digest: str
    rows: int
    synthetic: bool = False
    version: int = 1
    created_at: str = ""
    refresh: Refresh | None = None


def place(family: str, version: int) -> str:
    """The key of a version; a family's name has no dot."""
    return f"{PREFIX}/{family}" if version == 1 else f"{PREFIX}/{family}.{version}"


def version(store: Store, family: str) -> int:
    """The version that counts: the newest; 1 where none was made yet, since the next split makes it."""
    newest = 1
    while store.has(place(family, newest + 1)):
        newest += 1
    return newest


def newest(store: Store, family: str) -> Gold | None:
    """The version that counts, or None where none was made yet."""
    return find(store, family, version(store, family))


def find(store: Store, family: str, version: int) -> Gold | None:
    """A version of the family's gold set, or None."""
    key = place(family, version)
    if not store.has(key):
        return None
    return Gold.model_validate_json(store.part(key, MANIFEST))


def versions(store: Store, family: str, up_to: int | None = None) -> list[Gold]:
    """Every version, the first one first."""
    last = version(store, family) if up_to is None else up_to
    found = [find(store, family, at) for at in range(1, last + 1)]
    return [one for one in found if one is not None]


def of_digest(store: Store, digest: str, family: str | None) -> Gold | None:
    """The version whose rows have this digest, of this family, or of any where it is not known; or None."""
    manifests = (Gold.model_validate_json(store.part(key, MANIFEST)) for key in store.keys(PREFIX))
    return next((one for one in manifests if one.digest == digest and family in (None, one.family)), None)


def rows(store: Store, gold: Gold, columns: "Sequence[str] | None" = None) -> "pl.DataFrame":
    """Its calls, or some of their columns.

    Raises:
        BundleCorrupt: the frozen calls were changed.
    """
    import polars as pl

    return pl.read_parquet(file(store, gold), columns=list(columns) if columns else None)


def file(store: Store, gold: Gold) -> Path:
    """The table of its calls, to the last byte as they were frozen.

    Raises:
        BundleCorrupt: they were changed.
    """
    try:
        store.verify(gold.key)
    except BundleCorrupt as error:
        raise BundleCorrupt(
            f"version {gold.version} of the gold set of {gold.family!r} was changed in the store, so nothing can be measured "
            f"on it: restore {gold.key} from a backup ({error})"
        ) from error
    return store.local(gold.key) / GOLD


def barred(store: Store, family: str, up_to: int) -> "pl.DataFrame":
    """`WHO` of every call of this and every earlier version: what a retired call's customer says must not be trained on either, or a
    comparison with a champion that was measured on it would be a lie."""
    import polars as pl

    newest, *older = versions(store, family, up_to)[::-1]
    every = rows(store, newest, WHO)
    for one in older:  # most calls stay from one to the next
        every = pl.concat([every, rows(store, one, WHO).join(every, on="conversation_id", how="anti")])
    return every


def customers(calls: "pl.DataFrame", barred: "pl.DataFrame") -> "pl.Series":
    """The groups of barred calls: as they were called then, and as this dataset calls whoever made one of those calls."""
    import polars as pl

    today = calls.join(barred, on="conversation_id", how="semi")["group"]
    return pl.concat([barred["group"], today]).unique()


def made(digest: str, rows: int, dataset: Dataset, version: int = 1, refresh: Refresh | None = None) -> Gold:
    """A version with so many calls of a dataset, of this `calls.content_digest`, to be frozen."""
    return Gold(
        key=place(dataset.family, version),
        family=dataset.family,
        digest=digest,
        dataset_id=dataset.id,
        taxonomy_digest=dataset.taxonomy_digest,
        rows=rows,
        synthetic=dataset.synthetic,
        version=version,
        created_at=stages.now(),
        refresh=refresh,
    )


def freeze(store: Store, made: Gold, calls: "pl.DataFrame | Path", scratch: Path) -> Gold:
    """Keep a version, whose calls are a table or a Parquet file of it; if another process was faster, its gold set is the one."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    if isinstance(calls, Path):
        shutil.copyfile(calls, scratch / GOLD)
    else:
        calls.write_parquet(scratch / GOLD)
    (scratch / MANIFEST).write_text(made.model_dump_json(indent=1), encoding="utf-8")
    store.commit(scratch, made.key)
    return find(store, made.family, made.version) or made
