"""Roll a promoted version out to the target of the settings, take it back, or say what would be done."""

from pathlib import Path

from configs.settings import Settings
from data_contracts.artifacts import BundleRef, Emergency, Release, Verdict, Version
from data_contracts.errors import BundleCorrupt
from data_contracts.taxonomy import Taxonomy
from deploy import bundle, emergency, targets
from deploy.operate import lock
from deploy.store import Store, open_store
from deploy.targets import Placed, Record, Status, Target, server_tls, words
from deploy.targets.kubernetes import Kubernetes
from deploy.targets.local import Local
from deploy.targets.ollama import OllamaTarget
from deploy.targets.server import Server
from deploy.targets.words import Kind, Word
from tasks import declared, gc, history, on_off, plan, serving
from tasks.controller import Controller
from tasks.plan import Plan


def rollout(store: Store, version: Version, settings: Settings, home: Path, by: str = "tingsu") -> Release:
    """Make a version live on the target of the settings; what served before serves again if that fails.

    Raises:
        GateRefused, BundleCorrupt: the bundle has no valid PROMOTE verdict, or was changed; nothing was touched.
        ApprovalAwaited: it is staged and verified, and a person says whether it gets traffic; then the same call goes on.
        ConfigurationError: no way to the target, or callers would refuse its certificate; nothing was touched.
        RolloutFailed: undone, or another rollout is under way; says what serves now.
    """
    require_way(settings, home)
    target = find(settings, home)
    if isinstance(target, Server):
        server_tls.require_in_date(target.host, settings)
    with lock.held(gc.lock_file(home), shared=True):  # the bundle stays, also before the record names it
        candidate = admit(store, version.version, version.bundle, home)
        return _controller(settings, home, by).rollout(candidate)


def undo(to: int, settings: Settings, home: Path, by: str = "tingsu", why: str = "") -> Release:
    """Make the previous version live again: version `to`. Where it is live already, it is only checked.

    Raises:
        RolloutFailed: there is none, it could not serve, or a rollout is under way.
        GateRefused: its verdict no longer holds.
    """
    return _controller(settings, home, by).undo(to, why)


def withdraw(why: str, settings: Settings, home: Path, by: str = "tingsu") -> Record:
    """Undo the rollout that is under way, also one that another process carries out; the record in which it is undone.

    Raises:
        RolloutFailed: there is none, it went live meanwhile, or what served before could not be brought back.
    """
    return _controller(settings, home, by).withdraw(why, _limit_s(settings))


def approve(version: int, why: str, settings: Settings, home: Path, by: str = "tingsu") -> Record:
    """Let a staged and verified version have traffic; the record with the approval that counts.

    Raises:
        RolloutFailed: no rollout of this version waits for it, or somebody else said so, or took it back.
        GateRefused: its verdict no longer holds.
    """
    return _controller(settings, home, by).approve(version, why)


def answer(settings: Settings, home: Path) -> Word | None:
    """What a person said about the rollout that is under way: the approval, or that it is taken back."""
    its = record(settings, home)
    kinds: tuple[Kind, ...] = ("withdraw", "approve")
    said = (words.find(home, its.target, kind, its.id) for kind in kinds)
    return None if its.is_finished else next(filter(None, said), None)


def planned(store: Store, version: Version, settings: Settings, home: Path) -> Plan:
    """What a rollout would do; nothing is touched.

    Raises:
        GateRefused, BundleCorrupt: the bundle has no valid PROMOTE verdict, or was changed.
    """
    target = find(settings, home)
    found = targets.read(home, target.name)
    known = (
        serving.found(target, found, lambda digest: _known(digest, settings, home)).live if found.is_finished else None
    )
    as_served = found.model_copy(update={"live": known}) if known else found
    return plan.of(target, as_served, admit(store, version.version, version.bundle, home), settings.rollout)


def status(settings: Settings, home: Path) -> tuple[Record, Status]:
    """What the target's record says, and what the target itself says."""
    return record(settings, home), find(settings, home).status()


def started(settings: Settings, home: Path, by: str, how: str) -> None:
    """As `on_off.started`, on the target of the settings."""
    on_off.started(_controller(settings, home, by), how, _limit_s(settings))


def record(settings: Settings, home: Path) -> Record:
    """What the target's record says; the target is not asked."""
    return targets.read(home, find(settings, home).name)


def find(settings: Settings, home: Path) -> Target:
    """The target of the settings."""
    if settings.rollout.target == "server":
        return Server(home, settings)
    if settings.rollout.target == "kubernetes":
        return Kubernetes(home, settings)
    if settings.rollout.target == "ollama":
        return OllamaTarget(home, settings)
    return Local(home, settings)


def require_way(settings: Settings, home: Path) -> None:
    """Return if this machine has what a rollout to the target needs, as far as can be told without asking the target.

    Raises:
        ConfigurationError: no client or no kubeconfig for a cluster.
    """
    target = find(settings, home)
    if isinstance(target, Kubernetes):
        target.open()


def admit(store: Store, version: int, ref: BundleRef, home: Path) -> Placed:
    """The version as a target can run it.

    Raises:
        GateRefused, BundleCorrupt: no valid PROMOTE or emergency verdict, or changed content.
    """
    folder = bundle.place(store, ref)
    bundle.open(folder)
    verdict = _admitted(folder, ref.digest, home)
    return Placed(
        version=version,
        bundle_digest=ref.digest,
        folder=str(folder),
        verdict_signature=verdict.signature,
        emergency=emergency.told(verdict) if isinstance(verdict, Emergency) else "",
    )


def _limit_s(settings: Settings) -> float:
    """Of a step that cannot be broken off."""
    return settings.serve.start_timeout_s + settings.rollout.verify_timeout_s


def _controller(settings: Settings, home: Path, by: str) -> Controller:
    return Controller(
        find(settings, home),
        home,
        by,
        lambda placed: _still_permitted(placed, home),
        settings.rollout,
        _categories,
        known=lambda digest: _known(digest, settings, home),
        intact=_intact,
    )


def _known(digest: str, settings: Settings, home: Path) -> Placed:
    """As `serving.Known`."""
    own = [
        e.event for e in history.read(home) if e.event.kind == "recorded" and e.event.bundle_digest.startswith(digest)
    ]
    if not own or own[-1].version is None:
        return serving.none(digest)
    ref = BundleRef(digest=own[-1].bundle_digest, key=f"bundles/{own[-1].bundle_digest}", synthetic=False)
    store = open_store(settings.store.url, settings.store.endpoint_url, home)
    return admit(store, own[-1].version, ref, home)


def _categories(placed: Placed) -> tuple[str, ...]:
    path = Path(placed.folder) / "taxonomy.json"
    try:
        return Taxonomy.model_validate_json(path.read_bytes()).keys
    except (OSError, ValueError) as error:
        raise BundleCorrupt(f"{path} cannot be read, so version {placed.version} cannot be judged") from error


def _still_permitted(placed: Placed, home: Path) -> None:
    _admitted(Path(placed.folder), placed.bundle_digest, home)


def _intact(placed: Placed) -> None:
    if bundle.open(Path(placed.folder)).digest != placed.bundle_digest:
        raise BundleCorrupt(f"{placed.folder} holds another bundle than version {placed.version}; restore the store")


def _admitted(folder: Path, digest: str, home: Path) -> Verdict | Emergency:
    """What lets it serve; an operator's word counts only with its line in the history."""
    verdict = bundle.in_force(folder, digest, home)
    if isinstance(verdict, Emergency):
        declared.require(verdict, home)
    return verdict
