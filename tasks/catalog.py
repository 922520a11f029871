"""The accepted datasets: kept under the digest of their content, listed, found, read."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data_contracts.artifacts import Dataset
from data_contracts.errors import BundleCorrupt, WrongRequest
from data_contracts.messages import told
from data_contracts.personal import mask_cell
from data_contracts.taxonomy import Taxonomy
from deploy.operate import lock
from deploy.store import Store
from tasks.calls import CALLS, COLUMNS, ROWS, content_digest, read
from tasks.columns import tidy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

PREFIX = "datasets"
TAXONOMY, MANIFEST, ANSWER = "taxonomy.json", "manifest.json", "report"
WORDLESS = ("summary.json", "data_docs")


class Kind(NamedTuple):
    """What must be the same for calls to belong together."""

    family: str
    synthetic: bool
    taxonomy: Taxonomy


def identify(calls: "pl.DataFrame", kind: Kind) -> str:
    """The id of these calls as a dataset: SHA-256 of their rows, in their order, and of what they are."""
    return identify_by(content_digest(calls), kind)


def identify_by(content: str, kind: Kind) -> str:
    """The id of calls whose `calls.content_digest` is known."""
    seed = {
        "calls": content,
        "taxonomy": kind.taxonomy.digest,
        "family": kind.family,
        "synthetic": kind.synthetic,
    }
    return hashlib.sha256(json.dumps(seed, sort_keys=True).encode()).hexdigest()


def keep(
    store: Store, dataset: Dataset, calls: "pl.DataFrame | Path", taxonomy: Taxonomy, add: Callable[[Path], object]
) -> Dataset:
    """The dataset in the store, whole or not at all; one that is there already counts, under the name it has.

    Args:
        calls: a table, or a Parquet file of it on the store's disk, which is moved.
        add: writes what else belongs into the folder.
    """
    with lock.held(store.scratch("locks") / f"{PREFIX}-{dataset.id}.lock"):
        if not store.has(dataset.key):
            folder = store.scratch(dataset.key)
            shutil.rmtree(folder)
            folder.mkdir(parents=True)
            if isinstance(calls, Path):
                os.replace(calls, folder / CALLS)
            else:
                calls.write_parquet(folder / CALLS, row_group_size=ROWS)
            (folder / TAXONOMY).write_text(taxonomy.model_dump_json(indent=1), encoding="utf-8")
            add(folder)
            (folder / MANIFEST).write_text(dataset.model_dump_json(indent=1), encoding="utf-8")
            store.commit(folder, dataset.key)
    return _manifest(store, dataset.key)


def tidied(name: str) -> str:
    """A name as it may be stored and printed, on one line."""
    return " ".join(mask_cell(tidy(name)).text.split()) or "unnamed"


def listed(store: Store) -> list[Dataset]:
    """Every accepted dataset, the newest last."""
    return sorted((_manifest(store, key) for key in store.keys(PREFIX)), key=age)


def age(dataset: Dataset) -> tuple[str, str]:
    """What datasets are ordered by, the oldest first."""
    return dataset.created_at, dataset.id


def find(store: Store, wanted: str | None, family: str) -> Dataset:
    """The dataset whose id starts so, or the newest of that name; for None or `latest` the newest of the family.

    Raises:
        WrongRequest: none, or more than one, and nothing at all stands for none; lists what there is.
    """
    known = listed(store)
    if wanted in (None, "latest"):
        own = [d for d in known if d.family == family]
        if not own:
            raise WrongRequest(told("dataset_none", family=family))
        return own[-1]
    found = [d for d in known if d.name == wanted][-1:] or [d for d in known if wanted and d.id.startswith(wanted)]
    if len(found) != 1:
        listing = ", ".join(f"{d.id[:12]} ({d.name})" for d in (found or known)[-8:]) or "–"
        raise WrongRequest(
            told("dataset_unclear" if found else "dataset_unknown", wanted=wanted, found=len(found), known=listing)
        )
    return found[0]


def by_id(store: Store, dataset_id: str) -> Dataset | None:
    """The dataset of this whole id, or None."""
    key = f"{PREFIX}/{dataset_id}"
    return _manifest(store, key) if store.has(key) else None


def calls_of(store: Store, dataset: Dataset, columns: "Sequence[str] | None" = None) -> "pl.DataFrame":
    """The dataset's calls, or some of their columns (`calls.COLUMNS`), to the last byte as they were accepted.

    Raises:
        BundleCorrupt: they are not.
    """
    import polars as pl

    verify(store, dataset)
    return pl.read_parquet(store.local(dataset.key) / CALLS, columns=list(columns) if columns else None)


def parts(store: Store, dataset: Dataset, columns: "Sequence[str]" = COLUMNS) -> "Iterator[pl.DataFrame]":
    """The dataset's calls, or some of their columns, some thousands at a time and in order.

    Raises:
        BundleCorrupt: the dataset was changed.
    """
    verify(store, dataset)
    return read(store.local(dataset.key) / CALLS, columns)


def verify(store: Store, dataset: Dataset) -> None:
    """Return if a dataset is what it was when it was accepted.

    Raises:
        BundleCorrupt: it was changed; says what to do.
    """
    try:
        store.verify(dataset.key)
    except BundleCorrupt as error:
        raise BundleCorrupt(
            f"dataset {dataset.id[:12]} ({dataset.name}) was changed in the store since it was accepted: remove "
            f"{dataset.key} there and submit its file, or merge its parents, again ({error})"
        ) from error


def answer_of(store: Store, dataset: Dataset) -> list[Path]:
    """What was found when the dataset was submitted, as far as it holds no word of a call; nothing where it was merged."""
    folder = store.local(dataset.key) / ANSWER
    return [path for path in (folder / name for name in WORDLESS) if path.exists()]


def taxonomy_of(store: Store, dataset: Dataset) -> Taxonomy:
    """The taxonomy a dataset was accepted with."""
    return Taxonomy.model_validate_json(store.part(dataset.key, TAXONOMY))


def _manifest(store: Store, key: str) -> Dataset:
    return Dataset.model_validate_json(store.part(key, MANIFEST))
