"""Moves versions of the registered model: recorded with their verdict, promoted only by a signed PROMOTE, rolled back.

Aliases: `candidate` the newest, `champion` the one that serves, `previous` the one a rollback returns to. They mirror the
history, which every move enters first and which alone decides.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from data_contracts.artifacts import BundleRef, Dataset, Emergency, Report, Speed, Verdict, Version
from data_contracts.errors import GateRefused
from data_contracts.schema import Frozen
from deploy import bundle as bundles
from deploy import emergency
from tasks import history, logged, summary, versions
from tasks.history import Entry, Event, Kind
from tasks.permit import permit
from tasks.summary import Summary
from tasks.tracking import RunRef
from tasks.versions import (
    HEAD,
    Registry,
    admitted,
    get,
    previous,
    registered,
    returning,
    value,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Candidate(Frozen):
    """A judged bundle, and all that led to it."""

    run: RunRef
    bundle: BundleRef
    verdict: Verdict
    dataset: Dataset
    base_model: str
    reports: tuple[Report, ...]
    speed: Speed | None = None
    seconds: dict[str, float] = Field(default_factory=dict)

    @property
    def summary(self) -> Summary:
        return Summary(
            dataset=self.dataset, reports=self.reports, speed=self.speed, verdict=self.verdict, seconds=self.seconds
        )

    @property
    def tags(self) -> dict[str, str]:
        """What a version says of itself in MLflow."""
        v = self.verdict
        return {
            "verdict": v.decision,
            "bundle_digest": self.bundle.digest,
            "dataset": self.dataset.name,
            "dataset_id": self.dataset.id,
            "gold_digest": v.gold_digest,
            "taxonomy_digest": v.taxonomy_digest,
            "base_model": self.base_model,
            "engine": v.engine,
            "quantization": v.quantization,
            "profile": v.profile,
            "synthetic": str(self.bundle.synthetic).lower(),
            "gold_looks": str(v.gold_looks),
        }


def record(at: Registry, candidate: Candidate) -> Version:
    """Register a judged bundle as a version, alias `candidate`; a bundle already registered keeps its version.

    The parent run gets its summary and description here, and the verdict is laid beside the bundle.
    """
    with history.locked(at.home, "registry"):
        known = _of_bundle(at, candidate.bundle.digest)
        version = known or _create(at, candidate)
        if known:
            at.tracker.summarise(candidate.run, candidate.summary)
        with at.tracker.client() as client:
            client.update_model_version(at.name, str(version.version), summary.note(candidate.summary))
            client.set_registered_model_alias(at.name, "candidate", str(version.version))
        detail: dict[str, object] = {"dataset": candidate.dataset.name, "run_id": candidate.run.run_id}
        return _lay(at, version, candidate.verdict, candidate.tags, detail)


def rejudge(at: Registry, version: Version, verdict: Verdict) -> Version:
    """Lay a later verdict on a recorded version beside its bundle, and into the history."""
    with history.locked(at.home, "registry"):
        own = [e.event for e in history.read(at.home) if e.event.version == version.version]
        known = next((e.detail for e in own if e.kind == "recorded"), {})
        tags = {"verdict": verdict.decision, "profile": verdict.profile, "gold_looks": str(verdict.gold_looks)}
        return _lay(at, version, verdict, tags, known)


def promote(at: Registry, version: int) -> Version:
    """Make a version the champion; the champion until now becomes `previous`. Promoting the champion mends the aliases.

    Raises:
        GateRefused, BundleCorrupt, ConfigurationError: as `permit`; a refusal is written into the history.
    """
    with history.locked(at.home, "registry"):
        target = get(at, version)
        try:
            verdict = permit(at, version)
        except GateRefused as error:
            remember(at, "refused", target, {"reason": str(error)})
            raise
        sitting, before = versions.sitting(at), previous(at)
        if sitting and sitting.version == version and not at.new_standard:
            _mirror(at, version, before.version if before else None)
            return target
        left = sitting if sitting and sitting.version != version else before
        by_hand = {"emergency": emergency.told(verdict)} if isinstance(verdict, Emergency) else {}
        _move(at, "promoted", target, left.version if left else None, by_hand)
        return target


def rollback(at: Registry, to: int | None = None, why: str = "") -> Version:
    """Make `previous` the champion again; its own predecessor, if it had one, becomes `previous`. Repeating changes nothing.

    Args:
        to: the version to return to, as `versions.returning`.
        why: for the history.

    Raises:
        GateRefused: there is no previous version, it is not `to`, or its verdict does not hold.
    """
    with history.locked(at.home, "registry"):
        target, sitting = returning(at, to), versions.sitting(at)
        admitted(at, target)
        bundles.open(bundles.place(at.store, target.bundle))
        if sitting and sitting.version == target.version:
            before = previous(at)
            _mirror(at, target.version, before.version if before else None)
        else:
            _move(at, "rolled_back", target, _predecessor(at, target.version), {"why": why} if why else {})
        return target


def witness(at: Registry) -> None:
    """Keep the digest of the history's newest line in MLflow, so that a cut tail shows; and goes on showing."""
    with history.locked(at.home, "head"), at.tracker.client() as client:  # two at once would leave the older head
        model, entries = registered(client, at.name), history.read(at.home)
        known = model.tags.get(HEAD, "") if model else ""
        if model and entries and known != entries[-1].head and history.verify(at.home, known) is None:
            client.set_registered_model_tag(at.name, HEAD, entries[-1].head)


def _create(at: Registry, candidate: Candidate) -> Version:
    model = logged.log(at.tracker, candidate.run, at.name, at.store, candidate.bundle)
    at.tracker.summarise(candidate.run, candidate.summary, model.model_id)
    with at.tracker.client() as client:
        if registered(client, at.name) is None:
            client.create_registered_model(at.name, description="Complaint classifier of Chinese call-centre calls")
        made = client.create_model_version(
            at.name, model.place, candidate.run.run_id, candidate.tags, model_id=model.model_id
        )
        return value(at, made)


def _of_bundle(at: Registry, digest: str) -> Version | None:
    with at.tracker.client() as client:
        found = client.search_model_versions(f"name = '{at.name}' and tag.bundle_digest = '{digest}'")
        return value(at, found[0]) if found else None


def _lay(
    at: Registry, version: Version, verdict: Verdict, tags: Mapping[str, str], detail: Mapping[str, object]
) -> Version:
    """A verdict beside its bundle, in the version's tags and in the history.

    A later HOLD or REJECT bars a candidate. One that serves, or may have to again, keeps what it was promoted by; the
    history tells of both.
    """
    live = {v.version for v in (versions.sitting(at), previous(at)) if v}
    if verdict.decision == "PROMOTE" or version.version not in live:
        bundles.attest(at.store, version.bundle, bundles.VERDICT, verdict.model_dump_json(indent=1).encode())
        with at.tracker.client() as client:
            for tag, text in tags.items():
                client.set_model_version_tag(at.name, str(version.version), tag, text)
    version = version.model_copy(update={"decision": verdict.decision})
    if not _is_recorded(at, version, verdict):
        judged = {"verdict": verdict.model_dump(mode="json"), "decision": verdict.decision}
        remember(at, "recorded", version, {**detail, **judged})
    return version


def _is_recorded(at: Registry, version: Version, verdict: Verdict) -> bool:
    plain = verdict.model_dump(mode="json")
    events = [e.event for e in history.read(at.home) if e.event.version == version.version]
    own = [e for e in events if e.kind == "recorded"]
    return bool(own) and own[-1].detail.get("verdict") == plain


def _predecessor(at: Registry, version: int) -> int | None:
    made = [e for e in history.read(at.home) if e.event.kind == "promoted" and e.event.version == version]
    before = made[-1].event.detail.get("previous_version") if made else None
    return before if isinstance(before, int) else None


def _move(
    at: Registry, kind: Kind, target: Version, previous: int | None, more: Mapping[str, object] | None = None
) -> None:
    left = versions.sitting(at)
    detail: dict[str, object] = {"previous_version": previous, "left_version": left.version if left else None}
    detail |= more or {}
    remember(at, kind, target, detail | ({"new_standard": at.new_standard} if at.new_standard else {}))
    _mirror(at, target.version, previous)


def _mirror(at: Registry, champion: int, previous: int | None) -> None:
    """The aliases as the history has it."""
    with at.tracker.client() as client:
        _alias(client, at.name, "previous", previous)
        _alias(client, at.name, "champion", champion)


def _alias(client: "MlflowClient", name: str, alias: str, version: int | None) -> None:
    if version is None:
        client.delete_registered_model_alias(name, alias)
    else:
        client.set_registered_model_alias(name, alias, str(version))


def remember(at: Registry, kind: Kind, version: Version, detail: dict[str, object]) -> Entry:
    """Add what happened to a version to the history, and let MLflow know its newest line."""
    event = Event(kind=kind, version=version.version, by=at.by, bundle_digest=version.bundle.digest, detail=detail)
    entry = history.append(at.home, event)
    witness(at)
    return entry
