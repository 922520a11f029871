"""Accept a submitted file as a dataset: read, clean, mask, check, group, store. Or refuse it, with the reasons."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from configs.dataset import DataSettings
from data_contracts.artifacts import Dataset, Parent
from data_contracts.taxonomy import Taxonomy
from deploy import cores
from deploy.store import Store
from tasks import agreement, answer, catalog, clean, gold, ingest, near, stages, submitted, suggest, teach, validate
from tasks.calls import COLUMNS, own_group
from tasks.refused import Refused, answered, sentence
from tasks.teach import Use

if TYPE_CHECKING:
    import polars as pl
DEFAULT_USE = Use()


def submit(
    path: Path,
    taxonomy: Taxonomy,
    mapping: Mapping[str, str],
    name: str,
    settings: DataSettings,
    store: Store,
    out: Path,
    use: Use = DEFAULT_USE,
    seen: submitted.Seen | None = None,
) -> Dataset:
    """The dataset of a file of labelled calls. The answer (rejects, report, Data Docs) is written to `out` in any case.

    The same accepted content gives the same dataset, whatever the order of its rows, and nothing is rewritten.

    Args:
        seen: the file as the caller hashed it (`submitted.see`).

    Raises:
        Refused: too little of it was accepted; says where the answer is.
        ContractViolation: unreadable, or not what was seen.
        WrongRequest: the mapping names a column that does not exist.
    """
    with answered(path, mapping, out, name):
        found = _examine(path, taxonomy, mapping, name, settings, store, out, use, seen)
    if not found.checked.passed:
        raise Refused(sentence(path, found.summary, out), found.summary)
    return catalog.keep(
        store, found.dataset, found.calls, taxonomy, lambda folder: answer.copy(out, folder / catalog.ANSWER)
    )


def check(
    path: Path,
    taxonomy: Taxonomy,
    mapping: Mapping[str, str],
    settings: DataSettings,
    store: Store,
    out: Path,
    use: Use = DEFAULT_USE,
    seen: submitted.Seen | None = None,
) -> dict[str, Any]:
    """The answer that a file would get, and no dataset; calls that nobody labelled are held against the contract of raw ones.

    Raises:
        ContractViolation: unreadable.
        ConfigurationError: the mapping names a column that does not exist.
    """
    with answered(path, mapping, out, path.stem):
        return _examine(path, taxonomy, mapping, path.stem, settings, store, out, use, seen, is_kept=False).summary


class Examined(NamedTuple):
    """A file, checked and answered; its dataset is not stored yet."""

    dataset: Dataset
    calls: "pl.DataFrame"
    checked: validate.Checked
    summary: dict[str, Any]


def _examine(
    path: Path,
    taxonomy: Taxonomy,
    mapping: Mapping[str, str],
    name: str,
    settings: DataSettings,
    store: Store,
    out: Path,
    use: Use,
    seen: submitted.Seen | None = None,
    is_kept: bool = True,
) -> Examined:
    seen, name = seen or submitted.see(path), catalog.tidied(name)
    source = Parent(kind="file", digest=seen.digest, name=catalog.tidied(path.name))
    parts = ingest.read(path, mapping, taxonomy.keys, suggest.NEEDED if is_kept else suggest.NEEDED[:1])
    prepared = clean.prepare_all(parts, settings.max_chars, cores.usable())
    submitted.require_unchanged(path, seen.state)
    out.mkdir(parents=True, exist_ok=True)
    frame = prepared.frame.with_columns(teach.tokens_of(prepared.frame["input_text"], use))
    is_raw = not is_kept and frame["complaint_category"].null_count() == frame.height
    frozen = gold.newest(store, settings.family)
    against = validate.Against(
        kind="raw" if is_raw else "labelled",
        barred=gold.barred(store, frozen.family, frozen.version) if frozen else None,
        now=datetime.now(UTC),
        max_call_tokens=use.max_call_tokens,
    )
    checked = validate.check(frame, taxonomy, settings, out, against)
    calls = group(checked.accepted, settings.near_duplicate_jaccard, checked.sketched)
    as_what = catalog.Kind(settings.family, bool(prepared.frame["synthetic"].any()), taxonomy)
    dataset = _dataset(calls, as_what, name, source, checked)
    held = _categories(gold.rows(store, frozen)) if frozen else None
    taught = teach.taught(checked.accepted, checked.summary["categories"], held, use)
    asked = {"is_kept": is_kept, "is_raw": is_raw, "ignored_columns": parts.ignored, "likely_columns": parts.likely}
    summary = _summary(dataset, checked, prepared, taxonomy, settings, taught | asked)
    answer.write(out, summary, checked, taxonomy)
    return Examined(dataset, calls, checked, summary)


def _categories(calls: "pl.DataFrame") -> dict[str, int]:
    return dict(calls["complaint_category"].value_counts().iter_rows())


def group(accepted: "pl.DataFrame", threshold: float, sketched: near.Sketched | None = None) -> "pl.DataFrame":
    """The dataset's columns, with each call's group: its customer, else its conversation, else its near-duplicates.

    A cluster is named after the smallest text digest in it, so that its name does not depend on the order of rows.
    """
    import polars as pl

    alone = accepted.filter(pl.col("customer").is_null() & ~pl.col("has_id")).sort("conversation_id")
    heads = near.clusters((sketched or near.Sketched()).of(alone), threshold)
    cluster = alone.select(
        "row", pl.Series("cluster", [clean.digest(alone["conversation_id"][at]) for at in heads], pl.String)
    )
    conversation = pl.Series("conversation", [own_group(name) for name in accepted["conversation_id"]], pl.String)
    confidence = pl.col("confidence_score").cast(pl.Float64).fill_null(1.0)
    grouped = accepted.with_columns(conversation, confidence).join(cluster, on="row", how="left")
    return (
        grouped.with_columns(pl.coalesce("customer", "cluster", "conversation").alias("group"))
        .select(COLUMNS)
        .sort("conversation_id")
    )


def _dataset(
    calls: "pl.DataFrame", as_what: catalog.Kind, name: str, source: Parent, checked: validate.Checked
) -> Dataset:
    dataset_id = catalog.identify(calls, as_what)
    return Dataset(
        id=dataset_id,
        key=f"{catalog.PREFIX}/{dataset_id}",
        name=name,
        family=as_what.family,
        rows=checked.summary["rows"],
        accepted=calls.height,
        rejected=checked.summary["rejected"],
        quarantined=checked.summary["quarantined"],
        categories=checked.summary["categories"],
        groups=calls["group"].n_unique(),
        synthetic=as_what.synthetic,
        taxonomy_digest=as_what.taxonomy.digest,
        created_at=stages.now(),
        parents=(source,),
    )


def _summary(
    dataset: Dataset,
    checked: validate.Checked,
    prepared: clean.Prepared,
    taxonomy: Taxonomy,
    settings: DataSettings,
    taught: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything the answer says, as JSON."""
    accepted = checked.accepted
    texts = accepted.filter("has_id")["input_text"]
    agreed = agreement.measure(prepared.frame, taxonomy.keys)
    summary: dict[str, Any] = {
        **checked.summary,
        **taught,
        "name": dataset.name,
        "file": dataset.parents[0].name,
        "passed": checked.passed,
        "dataset_id": dataset.id if checked.passed and taught["is_kept"] else None,
        "family": dataset.family,
        "taxonomy": taxonomy.name,
        "synthetic": dataset.synthetic,
        "groups": dataset.groups,
        "masked": prepared.masked,
        "shortened_calls": prepared.shortened,
        "personal_ids": prepared.personal_ids,
        "same_text_calls": len(texts) - texts.n_unique(),
        "confidence_assumed": 0 if taught["is_raw"] else accepted["confidence_score"].null_count(),
        "agreement": agreed.model_dump() if agreed else None,
        "files": answer.FILES,
    }
    return summary | {"warnings": answer.warnings(summary, settings.min_rows_per_category, settings.max_chars)}
