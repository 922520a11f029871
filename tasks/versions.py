"""Reads the registered model: its versions, its champion, and how two versions compare."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from data_contracts.artifacts import BundleRef, Decision, Verdict, Version
from data_contracts.errors import BundleCorrupt, ConfigurationError, GateRefused
from data_contracts.schema import Frozen
from deploy import bundle as bundles
from deploy.store import Store
from tasks import history
from tasks.history import Entry
from tasks.tracking import Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

Alias = Literal["candidate", "champion", "previous"]
HEAD = "tingsu.history_head"
LOWER_IS_BETTER = (
    "error",
    "cost",
    "nll",
    "brier",
    "review",
    "truncated",
    "speed/p",
    "speed/mean",
    "speed/memory",
    "speed/load",
    "speed/failures",
)


@dataclass(frozen=True)
class Registry:
    """The registered model, the store its bundles lie in, whose verdicts count, and who acts."""

    tracker: Tracker
    store: Store
    trusted_key: str
    by: str = "pipeline"

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


class Difference(Frozen):
    """One metric of two versions; `change` is b − a where they may be compared."""

    metric: str
    a: float | None
    b: float | None
    change: float | None
    better: Literal["a", "b", "same"] | None


class Comparison(Frozen):
    """Two versions side by side. Quality counts only on the same gold rows and taxonomy; `reason` says what differs."""

    a: int
    b: int
    comparable: bool
    reason: str
    rows: tuple[Difference, ...]


def models(at: Registry) -> tuple[Row, ...]:
    """Every version, newest first."""
    with at.tracker.client() as client:
        model = registered(client, at.name)
        if model is None:
            return ()
        found = client.search_model_versions(f"name = '{at.name}'", max_results=1000)
        return tuple(_row(client, at, model, v) for v in sorted(found, key=lambda v: -int(v.version)))


def compare(at: Registry, a: int, b: int) -> Comparison:
    """Metric by metric; says so when the gold sets or taxonomies differ.

    Raises:
        ConfigurationError: there is no such version.
    """
    rows = {row.version.version: row for row in models(at)}
    missing = [v for v in (a, b) if v not in rows]
    if missing:
        raise _unknown(at, missing[0], sorted(rows))
    first, second = rows[a], rows[b]
    differing = [n for n in ("gold", "taxonomy") if first.tags.get(f"{n}_digest") != second.tags.get(f"{n}_digest")]
    reason = (
        f"not comparable: versions {a} and {b} were measured with different {' and '.join(differing)}"
        if differing
        else ""
    )
    names = sorted(n for n in first.metrics.keys() | second.metrics.keys() if not n.startswith("seconds/"))
    differences = tuple(_difference(n, first.metrics.get(n), second.metrics.get(n), bool(differing)) for n in names)
    return Comparison(a=a, b=b, comparable=not differing, reason=reason, rows=differences)


def champion(at: Registry) -> Version | None:
    """The version that may serve, or None if none was promoted: the one the history says, wherever the alias points.

    Raises:
        GateRefused: its verdict does not hold, or the alias was set and nothing was ever promoted.
        BundleCorrupt: the history was changed.
    """
    entry, aliased = standing(at), by_alias(at, "champion")
    if entry is None or entry.event.version is None:
        if aliased is None:
            return None
        raise GateRefused(
            f"alias 'champion' of {at.name} is on version {aliased.version}, and no version was ever promoted here: it "
            f"was moved by hand; `./tingsu promote {aliased.version}` asks for its verdict"
        )
    found = get(at, entry.event.version)
    verdict_of(at, found)
    return found


def previous(at: Registry) -> Version | None:
    """The version a rollback returns to, from the history; not checked."""
    entry = standing(at)
    number = entry.event.detail.get("previous_version") if entry else None
    return get(at, number) if isinstance(number, int) else None


def returning(at: Registry) -> Version | None:
    """What `rollback` makes the champion: where one that was cut off was going, which the aliases show, or `previous`."""
    entry = standing(at)
    if entry and entry.event.kind == "rolled_back" and entry.event.version is not None and _strays(at, entry):
        return get(at, entry.event.version)
    return previous(at)


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


def verdict_of(at: Registry, version: Version) -> Verdict:
    """The verdict that lets a version be promoted or serve.

    Raises:
        GateRefused: there is none, it is not PROMOTE, or its signature does not hold for this bundle.
    """
    _refuse_other_bundle(at, version)
    data = at.store.read(f"{version.bundle.key}.attest/{bundles.VERDICT}")
    if data is None:
        raise GateRefused(
            f"version {version.version} (bundle {version.bundle.digest[:12]}) has no verdict; gate it first"
        )
    try:
        verdict = Verdict.model_validate_json(data)
    except ValueError as error:
        raise GateRefused(f"the verdict of version {version.version} cannot be read; gate it again") from error
    bundles.verify(verdict, version.bundle.digest, at.trusted_key)
    return verdict


def _refuse_other_bundle(at: Registry, version: Version) -> None:
    """The bundle is a tag in MLflow, which anybody may edit; the history knows what was recorded."""
    own = [e.event for e in history.read(at.home) if e.event.version == version.version and e.event.kind == "recorded"]
    if own and own[-1].bundle_digest != version.bundle.digest:
        raise GateRefused(
            f"version {version.version} was recorded with bundle {own[-1].bundle_digest[:12]}, its tag 'bundle_digest' "
            f"in MLflow now says {version.bundle.digest[:12]}: it was edited; set the tag back"
        )


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
    raise _unknown(at, version, sorted(row.version.version for row in models(at)))


def by_alias(at: Registry, alias: Alias) -> Version | None:
    """The version an alias points to, not checked."""
    with at.tracker.client() as client:
        model = registered(client, at.name)
        number = model.aliases.get(alias) if model else None
        return value(at, client.get_model_version(at.name, str(number))) if number is not None else None


def audit(at: Registry) -> tuple[str, ...]:
    """What does not fit together between history, aliases and verdicts, a sentence each; nothing if all is well."""
    try:
        champion(at)
        entry = standing(at)
    except (GateRefused, BundleCorrupt) as error:
        return (str(error),)
    return tuple(
        f"alias {alias!r} of {at.name} is on version {there}, the history says {number}, and the history counts: the alias "
        f"was moved by hand, or a move was cut off; `./tingsu promote {entry.event.version}` puts it back"
        for alias, there, number in (_strays(at, entry) if entry else ())
    )


def _strays(at: Registry, entry: Entry) -> list[tuple[Alias, int | None, object]]:
    """Aliases that are not where the history says: alias, its version, the history's."""
    said: dict[Alias, object] = {
        "champion": entry.event.version,
        "previous": entry.event.detail.get("previous_version"),
    }
    with at.tracker.client() as client:
        model = registered(client, at.name)
    there = {alias: int(number) for alias, number in model.aliases.items()} if model else {}
    return [(alias, there.get(alias), number) for alias, number in said.items() if there.get(alias) != number]


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


def _difference(name: str, a: float | None, b: float | None, is_foreign: bool) -> Difference:
    if a is None or b is None or (is_foreign and not name.startswith("speed/")):
        return Difference(metric=name, a=a, b=b, change=None, better=None)
    lower = any(part in name for part in LOWER_IS_BETTER)
    better: Literal["a", "b", "same"] = "same" if a == b else "b" if (b < a) == lower else "a"
    return Difference(metric=name, a=a, b=b, change=b - a, better=better)


def _unknown(at: Registry, version: int, known: list[int]) -> ConfigurationError:
    there = ", ".join(str(v) for v in known) or "none"
    return ConfigurationError(f"{at.name} has no version {version}; versions: {there}. See `./tingsu models`")
