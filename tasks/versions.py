"""Reads the registered model: its versions and its champion, which the history names and the aliases only mirror."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from data_contracts.artifacts import BundleRef, Decision, Emergency, Verdict, Version
from data_contracts.errors import BundleCorrupt, GateRefused, WrongRequest
from data_contracts.messages import told
from data_contracts.schema import Frozen
from deploy import bundle as bundles
from deploy import signing
from deploy.store import Store
from tasks import cited, declared, history
from tasks.history import Entry
from tasks.tracking import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

Alias = Literal["candidate", "champion", "previous"]
HEAD = "tingsu.history_head"


@dataclass(frozen=True)
class Standard:
    """What a candidate is judged by: a profile, and the thresholds' digest."""

    profile: str
    thresholds: str


@dataclass(frozen=True)
class Registry:
    """The registered model, the store its bundles lie in, whose verdicts count and by which standard, and who acts.

    `new_standard`: why the next champion may be judged by another standard than this one was; empty: it may not.
    """

    tracker: Tracker
    store: Store
    trusted_key: str
    today: Standard
    by: str = "pipeline"
    new_standard: str = ""

    @property
    def home(self) -> Path:
        return self.tracker.home

    @property
    def name(self) -> str:
        return self.tracker.settings.model


class Row(Frozen):
    """One version at a glance; `metrics` are its run's."""

    version: Version
    aliases: tuple[str, ...]
    tags: dict[str, str]
    created_at_ms: int
    metrics: dict[str, float]


def models(at: Registry) -> tuple[Row, ...]:
    """Every version, newest first."""
    with at.tracker.client() as client:
        model = registered(client, at.name)
        if model is None:
            return ()
        found = client.search_model_versions(f"name = '{at.name}'", max_results=1000)
        return tuple(_row(client, at, model, v) for v in sorted(found, key=lambda v: -int(v.version)))


def champion(at: Registry) -> Version | None:
    """The version that may serve, or None if none was promoted: the one the history says, wherever the alias points.

    Raises:
        GateRefused: no verdict of it holds, or the alias was set and nothing was ever promoted.
        BundleCorrupt: the history was changed.
    """
    entry, aliased = standing(at), by_alias(at, "champion")
    if entry is None or entry.event.version is None:
        if aliased is None:
            return None
        raise GateRefused(told("champion_by_hand", name=at.name, version=aliased.version))
    found = get(at, entry.event.version)
    admitted(at, found)
    return found


def rival(at: Registry) -> tuple[Version, Verdict] | None:
    """The champion as the one to beat, and what the gate said of it: also one that serves on an emergency verdict, even an expired one,
    or nothing could ever be measured against it and take its place.

    Raises:
        GateRefused: no verdict of it holds, or the alias was set and nothing was ever promoted.
        BundleCorrupt: the history was changed.
    """
    entry = standing(at)
    if entry is None or entry.event.version is None:
        found = champion(at)
        return None if found is None else (found, verdict_of(at, found))
    found = get(at, entry.event.version)
    if not any(e.event.kind == "emergency" and e.event.version == found.version for e in history.read(at.home)):
        return found, verdict_of(at, found)
    verdict = stored_verdict(at, found)
    signing.authenticate(verdict, found.bundle.digest, at.trusted_key)
    return found, verdict


def sitting(at: Registry) -> Version | None:
    """The champion, whether or not its verdict still holds."""
    entry = standing(at)
    return get(at, entry.event.version) if entry and entry.event.version is not None else None


def previous(at: Registry) -> Version | None:
    """The version a rollback returns to, from the history; not checked."""
    entry = standing(at)
    number = entry.event.detail.get("previous_version") if entry else None
    return get(at, number) if isinstance(number, int) else None


def returning(at: Registry, to: int | None = None) -> Version:
    """What a rollback makes the champion.

    Without `to` it leaves the newest promotion, and after a rollback stays there: the same command again, because the
    first was killed or nobody knows, must not go back twice.

    Raises:
        GateRefused: there is nothing to return to, or `to` is neither the version before the champion nor the champion.
    """
    entry, before = standing(at), previous(at)
    if to is None:
        found = sitting(at) if entry and entry.event.kind == "rolled_back" else before
        if found is None:
            raise GateRefused(told("rollback_none", name=at.name))
        return found
    there = {entry.event.version if entry else None, before.version if before else None} - {None}
    if to not in there:
        if before is None:
            raise GateRefused(told("rollback_none", name=at.name))
        raise GateRefused(told("rollback_elsewhere", name=at.name, before=before.version, to=to))
    return get(at, to)


def standing(at: Registry) -> Entry | None:
    """The move that made the champion the champion. Aliases only mirror it: anybody may move one.

    Raises:
        BundleCorrupt: the history was changed.
    """
    with at.tracker.client() as client:
        model = registered(client, at.name)
    broken = history.verify(at.home, model.tags.get(HEAD, "") if model else "")
    if broken:
        raise BundleCorrupt(broken)
    return history.standing(history.read(at.home))


def admitted(at: Registry, version: Version) -> Verdict | Emergency:
    """What lets a version serve now: the gate's PROMOTE, else an operator's emergency verdict.

    Raises:
        GateRefused: neither holds.
    """
    try:
        return verdict_of(at, version)
    except GateRefused as refused:
        return lifted(at, version, refused)


def lifted(at: Registry, version: Version, refused: GateRefused) -> Emergency:
    """The emergency verdict that lets a version serve although this was refused.

    Raises:
        GateRefused: the refusal itself where there is none; else also why it does not hold.
    """
    _refuse_other_bundle(at, version)
    data = at.store.read(f"{version.bundle.key}.attest/{bundles.EMERGENCY}")
    if data is None:
        raise refused
    said = bundles.lifted(data, version.bundle.digest, at.home, refused)
    declared.require(said, at.home)
    return said


def verdict_of(at: Registry, version: Version) -> Verdict:
    """The gate's verdict that lets a version be promoted or serve.

    Raises:
        GateRefused: there is none, it is not PROMOTE, its signature does not hold for this bundle, or its evidence changed.
    """
    _refuse_other_bundle(at, version)
    verdict = stored_verdict(at, version)
    bundles.verify(verdict, version.bundle.digest, at.trusted_key)
    cited.read(at.store, version.bundle, verdict)
    return verdict


def stored_verdict(at: Registry, version: Version) -> Verdict:
    """What lies beside the bundle, whatever it says; its signature is not checked here.

    Raises:
        GateRefused: there is none, or it cannot be read.
    """
    data = at.store.read(f"{version.bundle.key}.attest/{bundles.VERDICT}")
    if data is None:
        raise GateRefused(told("verdict_none", version=version.version, bundle=version.bundle.digest[:12]))
    try:
        return Verdict.model_validate_json(data)
    except ValueError as error:
        raise GateRefused(told("verdict_broken", version=version.version)) from error


def _refuse_other_bundle(at: Registry, version: Version) -> None:
    """The bundle is a tag in MLflow, which anybody may edit; the history knows what was recorded."""
    own = [e.event for e in history.read(at.home) if e.event.version == version.version and e.event.kind == "recorded"]
    if own and own[-1].bundle_digest != version.bundle.digest:
        digests = {"recorded": own[-1].bundle_digest[:12], "now": version.bundle.digest[:12]}
        raise GateRefused(told("version_other_bundle", version=version.version, **digests))


def get(at: Registry, version: int) -> Version:
    """One version.

    Raises:
        ConfigurationError: there is no such version; names those there are.
    """
    from mlflow.exceptions import MlflowException

    with at.tracker.client() as client:
        try:
            return value(at, client.get_model_version(at.name, str(version)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    raise unknown(at, version, sorted(row.version.version for row in models(at)))


def by_alias(at: Registry, alias: Alias) -> Version | None:
    """The version an alias points to, not checked."""
    with at.tracker.client() as client:
        model = registered(client, at.name)
        number = model.aliases.get(alias) if model else None
        return value(at, client.get_model_version(at.name, str(number))) if number is not None else None


def registered(client: "MlflowClient", name: str) -> "RegisteredModel | None":
    """The registered model, or None before its first version."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def value(at: Registry, found: "ModelVersion") -> Version:
    """MLflow's model version as ours."""
    tags: Mapping[str, str] = found.tags
    digest = tags.get("bundle_digest", "")
    return Version(
        name=at.name,
        version=int(found.version),
        run_id=found.run_id or "",
        bundle=BundleRef(digest=digest, key=f"bundles/{digest}", synthetic=tags.get("synthetic") == "true"),
        decision=cast(Decision, tags.get("verdict") if tags.get("verdict") in ("PROMOTE", "REJECT") else "HOLD"),
    )


def _row(client: "MlflowClient", at: Registry, model: "RegisteredModel", found: "ModelVersion") -> Row:
    metrics = client.get_run(found.run_id).data.metrics if found.run_id else {}
    return Row(
        version=value(at, found),
        aliases=tuple(sorted(a for a, v in model.aliases.items() if str(v) == str(found.version))),
        tags=dict(found.tags),
        created_at_ms=int(found.creation_timestamp),
        metrics=dict(metrics),
    )


def unknown(at: Registry, version: int, known: list[int]) -> WrongRequest:
    """The error of a version that is not there."""
    there = ", ".join(str(v) for v in known) or "none"
    return WrongRequest(told("version_none", name=at.name, version=version, known=there))
