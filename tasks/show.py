"""One dataset and what became of it: where it comes from, what was rejected, and how its family's gold set is kept."""

import json

from data_contracts.artifacts import Dataset
from data_contracts.messages import say
from data_contracts.schema import Frozen
from deploy.store import Store
from tasks import answer, catalog, gold, links, looks, unite
from tasks.agreement import Agreement
from tasks.gold import Gold
from tasks.looks import Looks
from tasks.unite import Merging


class Custody(Frozen):
    """The gold set that candidates of the family are measured on, every version of it, and what this dataset has to do with it.

    `looks` are at the version that counts, `looks_by_version` at each. `in_gold`: calls of the dataset that stand in the version
    that counts. `held_out`: other calls of customers of any version; they are never trained on."""

    gold: Gold
    looks: Looks
    looks_by_version: dict[int, Looks]
    versions: tuple[Gold, ...]
    in_gold: int
    held_out: int
    sentence_en: str
    sentence_zh: str


class Shown(Frozen):
    """`report`: the folder or file a person opens; empty for a merged dataset. `by_code`: why rows were rejected."""

    dataset: Dataset
    by_code: dict[str, int]
    agreement: Agreement | None
    merging: Merging | None
    custody: Custody | None
    report: str


def show(store: Store, dataset: Dataset) -> Shown:
    """Everything kept about a dataset; reads its ids, never its texts."""
    folder = store.local(dataset.key) / catalog.ANSWER
    summary = folder / answer.SUMMARY
    said = json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {}
    return Shown(
        dataset=dataset,
        by_code=said.get("by_code", {}),
        agreement=said.get("agreement"),
        merging=unite.merging_of(store, dataset),
        custody=custody(store, dataset),
        report=str(folder / answer.REPORT) if (folder / answer.REPORT).is_file() else "",
    )


def custody(store: Store, dataset: Dataset) -> Custody | None:
    """Of the dataset's family; None before its first split."""
    versions = gold.versions(store, dataset.family)
    if not versions:
        return None
    current = versions[-1]
    calls = catalog.calls_of(store, dataset, ("conversation_id", "group"))
    in_gold = calls.join(gold.rows(store, current), on="conversation_id", how="semi").height
    barred = gold.barred(store, dataset.family, current.version)
    aliases = links.others(links.known(store, dataset.family), barred["group"])
    customers = {*gold.customers(calls, barred), *aliases}
    held_out = sum(group in customers for group in calls["group"]) - in_gold
    by_version = {one.version: looks.of(store, one.digest) for one in versions}
    seen = by_version[current.version]
    values = {"version": current.version, "rows": current.rows, "digest": current.digest[:12], "looks": seen.total}
    en, zh = say("gold_custody", **values, judged=seen.judged, in_gold=in_gold, held_out=held_out)
    if current.refresh:
        more = say("gold_refreshed", **current.refresh.model_dump())
        en, zh = f"{en} {more[0]}", zh + more[1]
    return Custody(
        gold=current,
        looks=seen,
        looks_by_version=by_version,
        versions=tuple(versions),
        in_gold=in_gold,
        held_out=held_out,
        sentence_en=en,
        sentence_zh=zh,
    )
