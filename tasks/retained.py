"""What `gc` must not remove, each with the reason: all that is live, can come back, is cited, or is young."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from configs.settings import Settings
from data_contracts.artifacts import Emergency, Verdict
from data_contracts.errors import BundleCorrupt
from deploy import bundle, generation, targets
from deploy.operate import processes
from deploy.store import LISTING, Store
from tasks import history, proven, stages, versions
from tasks.history import Entry
from tasks.runs import PipelineRun
from tasks.versions import Registry

STAGE = re.compile(r"stages/[\w.-]+/[0-9a-f]{32}")
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
ALWAYS = ("stages/split",)  # whom a model has read is asked of every split there was (tasks/refresh.py)


@dataclass(frozen=True)
class Retained:
    """Why each is kept: bundle digest, stage key or run id → reason."""

    bundles: dict[str, str]
    stages: dict[str, str]
    runs: dict[str, str]


def find(at: Registry, settings: Settings, seen: tuple[PipelineRun, ...], before_s: float) -> Retained:
    """Everything that has to stay, for what was last written before `before_s`; what is younger stays anyway.

    Raises:
        BundleCorrupt: the history or a rollout's record does not hold, so nothing is certain to be free.
        StoreUnavailable: MLflow or the store does not answer.
    """
    entries = proven.read(at).entries
    recorded = {e.event.version: e.event.bundle_digest for e in entries if e.event.kind == "recorded"}
    bundles: dict[str, str] = {}
    for digest, why in _bundles(at, settings, entries, recorded):
        bundles.setdefault(digest, why)
    elsewhere = list(_elsewhere(at, set(recorded.values())))
    for said in elsewhere:
        bundles.setdefault(said.bundle_digest, "the gate of another home that shares this store judged it")
    verdicts = [*_verdicts(entries, bundles), *elsewhere]
    for said in verdicts:
        if said.champion_bundle:
            bundles.setdefault(said.champion_bundle, f"bundle {said.bundle_digest[:12]} was compared with it")
    kept_runs = dict(_runs(settings, seen, entries, bundles, before_s))
    roots = {key: f"run {run.run_id}" for run in seen if run.run_id in kept_runs for key in run.stages}
    for said in verdicts:
        roots |= dict.fromkeys(_evidence(at.store, said), f"evidence of bundle {said.bundle_digest[:12]}")
    return Retained(bundles, _closed(at.store, roots), kept_runs)


def _bundles(
    at: Registry, settings: Settings, entries: tuple[Entry, ...], recorded: dict[int | None, str]
) -> Iterator[tuple[str, str]]:
    """Digest and reason."""
    entry, standard = history.standing(entries), history.newest_standard(entries)
    for line, why in ((entry, "champion"), (standard, "the standard that candidates are held to")):
        if line is not None:
            yield line.event.bundle_digest, why
    before = entry.event.detail.get("previous_version") if entry else None
    if isinstance(before, int) and before in recorded:
        yield recorded[before], "previous champion"
    for row in versions.models(at):
        for alias in row.aliases:
            yield row.version.bundle.digest, f"alias {alias}"
    newest = sorted((v for v in recorded if v is not None), reverse=True)[: settings.retention.keep_versions]
    yield from ((recorded[v], "among the newest versions") for v in newest)
    yield from _placed(at.home)
    yield from _emergencies(entries)
    yield from _used(at.home, settings)
    for key in at.store.folders("bundles"):
        if generation.FACTS.encode() in (at.store.read(f"{key}/{LISTING}") or b""):
            yield key.rpartition("/")[2], "generates text; it was imported, and no pipeline can make it again"


def _elsewhere(at: Registry, own: set[str]) -> Iterator[Verdict]:
    """Verdicts that lie beside bundles of no version here and were signed by another home's gate: what serves there is not known."""
    for key in at.store.folders("bundles"):
        if key.endswith(".attest") or key.rpartition("/")[2] in own:
            continue
        data = at.store.read(f"{key}.attest/{bundle.VERDICT}")
        with suppress(ValidationError):  # a model that generates text has another verdict, and is kept as such
            if data and (said := Verdict.model_validate_json(data)).public_key != at.trusted_key:
                yield said


def _placed(home: Path) -> Iterator[tuple[str, str]]:
    for name in targets.known(home):
        record = targets.read(home, name)
        sides = {"live": record.live, "previous": record.previous}
        sides |= {} if record.is_finished else {"candidate": record.candidate}
        yield from ((p.bundle_digest, f"{side} on {name}") for side, p in sides.items() if p is not None)


def _emergencies(entries: tuple[Entry, ...]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        if entry.event.kind == "emergency":
            said = Emergency.model_validate(entry.event.detail["emergency"])
            if datetime.fromisoformat(said.expires_at) > datetime.now(UTC):
                yield said.bundle_digest, "an emergency verdict on it is in force"


def _used(home: Path, settings: Settings) -> Iterator[tuple[str, str]]:
    """What a process of this home was started on, and what the settings name."""
    for process in processes.recorded(home):
        yield from ((digest, f"served by {process.name}") for digest in DIGEST.findall(" ".join(process.argv)))
    for path in (settings.serve.model_path, settings.serve.generate.path):
        yield from ((digest, "named in the settings") for digest in DIGEST.findall(str(path or "")))


def _verdicts(entries: Iterable[Entry], bundles: dict[str, str]) -> Iterator[Verdict]:
    """Every verdict ever given on a bundle that is kept."""
    for entry in entries:
        if entry.event.kind == "recorded" and entry.event.bundle_digest in bundles:
            yield Verdict.model_validate(entry.event.detail["verdict"])


def _runs(
    settings: Settings,
    seen: tuple[PipelineRun, ...],
    entries: tuple[Entry, ...],
    bundles: dict[str, str],
    before_s: float,
) -> Iterator[tuple[str, str]]:
    made = {
        str(e.event.detail.get("run_id")): f"made bundle {e.event.bundle_digest[:12]}"
        for e in entries
        if e.event.kind == "recorded" and e.event.bundle_digest in bundles
    }
    for number, run in enumerate(seen):
        young = "young" if run.started_s >= before_s else ""
        newest = "among the newest runs" if number < settings.retention.keep_runs else ""
        why = made.get(run.run_id) or ("not ended" if run.is_running else "") or newest or young
        if why:
            yield run.run_id, why


def _evidence(store: Store, said: Verdict) -> set[str]:
    data = store.read(f"bundles/{said.bundle_digest}.attest/evidence-{said.report_digest}.json")
    return set(STAGE.findall(data.decode(errors="replace"))) if data else set()


def _closed(store: Store, roots: dict[str, str]) -> dict[str, str]:
    """The stages, and whatever stages their records name, however deep."""
    kept, todo = dict(roots), list(roots)
    while todo:
        key = todo.pop()
        if not store.has(key):
            continue
        try:
            named = set(STAGE.findall(store.part(key, stages.RECORD).decode(errors="replace"))) - kept.keys()
        except (BundleCorrupt, KeyError, FileNotFoundError):
            continue  # damaged: whoever needs it makes it again
        kept |= dict.fromkeys(named, f"named by {key}")
        todo += named
    return kept
