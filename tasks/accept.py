"""Accept a submitted file as a dataset: read, clean, mask, check, group, store. Or refuse it, with the reasons."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.settings import DataSettings
from data_contracts.artifacts import Dataset
from data_contracts.errors import ConfigurationError, ContractViolation
from data_contracts.taxonomy import Taxonomy
from deploy import cores
from deploy.store import Store
from tasks import answer, clean, ingest, near, stages, validate
from tasks.calls import CALLS, COLUMNS, content_digest

if TYPE_CHECKING:
    import polars as pl

PREFIX = "datasets"
TAXONOMY, MANIFEST, ANSWER = "taxonomy.json", "manifest.json", "report"


def submit(
    path: Path,
    taxonomy: Taxonomy,
    mapping: Mapping[str, str],
    name: str,
    settings: DataSettings,
    store: Store,
    out: Path,
) -> Dataset:
    """The dataset of a file of labelled calls. The answer (rejects, report, Data Docs) is written to `out` in any case.

    The same accepted content gives the same dataset, whatever the order of its rows, and nothing is rewritten.

    Raises:
        ContractViolation: unreadable, or too little of it was accepted; says where the answer is.
        ConfigurationError: the mapping names a column that does not exist.
    """
    prepared = clean.prepare_all(ingest.read(path, mapping), settings.max_chars, cores.usable())
    out.mkdir(parents=True, exist_ok=True)
    checked = validate.check(prepared.frame, taxonomy, settings, out)
    calls = group(checked.accepted, settings.near_duplicate_jaccard)
    synthetic = bool(prepared.frame["synthetic"].any())
    dataset = _dataset(calls, taxonomy, name, settings.family, synthetic, checked)
    summary = _summary(dataset, checked, prepared, path, taxonomy, settings)
    answer.write(out, summary, checked.rejects, taxonomy)
    if not checked.passed:
        raise ContractViolation(_refusal(path, summary, out))
    if store.has(dataset.key):
        return _manifest(store, dataset.key)
    _store(calls, dataset, taxonomy, out, store)
    return _manifest(store, dataset.key)


def group(accepted: "pl.DataFrame", threshold: float) -> "pl.DataFrame":
    """The dataset's columns, with each call's group: its customer, else its conversation, else its near-duplicates.

    A cluster is named after the smallest text digest in it, so that its name does not depend on the order of rows.
    """
    import polars as pl

    alone = accepted.filter(pl.col("customer").is_null() & ~pl.col("has_id")).sort("conversation_id")
    heads = near.clusters(near.sketch(alone["input_text"]), threshold)
    cluster = alone.select(
        "row", pl.Series("cluster", [clean.digest(alone["conversation_id"][at]) for at in heads], pl.String)
    )
    conversation = pl.Series(
        "conversation", [clean.digest(f"conversation {i}") for i in accepted["conversation_id"]], pl.String
    )
    confidence = pl.col("confidence_score").cast(pl.Float64).fill_null(1.0)
    grouped = accepted.with_columns(conversation, confidence).join(cluster, on="row", how="left")
    return (
        grouped.with_columns(pl.coalesce("customer", "cluster", "conversation").alias("group"))
        .select(COLUMNS)
        .sort("conversation_id")
    )


def datasets(store: Store) -> list[Dataset]:
    """Every accepted dataset, the newest last."""
    return sorted((_manifest(store, key) for key in store.keys(PREFIX)), key=lambda d: (d.created_at, d.id))


def find(store: Store, wanted: str | None, family: str) -> Dataset:
    """The dataset whose id starts so, or the newest of that name; for None or `latest` the newest of the family.

    Raises:
        ConfigurationError: none, or more than one; lists what there is.
    """
    known = datasets(store)
    if wanted in (None, "", "latest"):
        own = [d for d in known if d.family == family]
        if not own:
            raise ConfigurationError(f"no dataset of family {family!r} yet; make one with ./tingsu submit FILE")
        return own[-1]
    found = [d for d in known if d.name == wanted][-1:] or [d for d in known if d.id.startswith(str(wanted))]
    if len(found) != 1:
        listed = ", ".join(f"{d.id[:12]} ({d.name})" for d in (found or known)[-8:]) or "none yet"
        raise ConfigurationError(
            f"dataset {wanted!r} stands for {len(found)} datasets, it must be exactly one of: {listed}"
        )
    return found[0]


def _dataset(
    calls: "pl.DataFrame", taxonomy: Taxonomy, name: str, family: str, synthetic: bool, checked: validate.Checked
) -> Dataset:
    seed = {"calls": content_digest(calls), "taxonomy": taxonomy.digest, "family": family, "synthetic": synthetic}
    dataset_id = hashlib.sha256(json.dumps(seed, sort_keys=True).encode()).hexdigest()
    return Dataset(
        id=dataset_id,
        key=f"{PREFIX}/{dataset_id}",
        name=name,
        family=family,
        rows=checked.summary["rows"],
        accepted=calls.height,
        rejected=checked.summary["rejected"],
        categories=checked.summary["categories"],
        groups=calls["group"].n_unique(),
        synthetic=synthetic,
        taxonomy_digest=taxonomy.digest,
        created_at=stages.now(),
    )


def _summary(
    dataset: Dataset,
    checked: validate.Checked,
    prepared: clean.Prepared,
    path: Path,
    taxonomy: Taxonomy,
    settings: DataSettings,
) -> dict[str, Any]:
    """Everything the answer says, as JSON."""
    accepted = checked.accepted
    texts = accepted.filter("has_id")["input_text"]
    summary = checked.summary | {
        "name": dataset.name,
        "file": path.name,
        "passed": checked.passed,
        "dataset_id": dataset.id if checked.passed else None,
        "family": dataset.family,
        "taxonomy": taxonomy.name,
        "synthetic": dataset.synthetic,
        "groups": dataset.groups,
        "masked": prepared.masked,
        "shortened_calls": prepared.shortened,
        "personal_ids": prepared.personal_ids,
        "same_text_calls": len(texts) - texts.n_unique(),
        "confidence_assumed": accepted["confidence_score"].null_count(),
    }
    return summary | {"warnings": answer.warnings(summary, settings.min_rows_per_category, settings.max_chars)}


def _refusal(path: Path, summary: Mapping[str, Any], out: Path) -> str:
    reasons = "; ".join(r["reason_en"] for r in summary["refusals"])
    worst = ", ".join(f"{code} ×{rows}" for code, rows in list(summary["by_code"].items())[:4])
    found = f" Rows were rejected for: {worst}." if worst else ""
    mend = f"Read {out / answer.REPORT}, mend the rows listed in {out / answer.REJECTS}, submit again"
    return f"{path} is refused: {reasons}.{found} {mend}"


def _store(calls: "pl.DataFrame", dataset: Dataset, taxonomy: Taxonomy, out: Path, store: Store) -> None:
    folder = store.scratch(dataset.key)
    shutil.rmtree(folder)
    folder.mkdir(parents=True)
    calls.write_parquet(folder / CALLS)
    (folder / TAXONOMY).write_text(taxonomy.model_dump_json(indent=1), encoding="utf-8")
    answer.copy(out, folder / ANSWER)
    (folder / MANIFEST).write_text(dataset.model_dump_json(indent=1), encoding="utf-8")
    store.commit(folder, dataset.key)


def _manifest(store: Store, key: str) -> Dataset:
    return Dataset.model_validate_json((store.local(key) / MANIFEST).read_text(encoding="utf-8"))
