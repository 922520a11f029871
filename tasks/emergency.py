"""An operator lets a version serve against the gate's answer: named, with a reason, for 24 hours, and in the history first."""

from pathlib import Path

from data_contracts.artifacts import Emergency
from data_contracts.errors import ConfigurationError, GateRefused
from data_contracts.messages import told
from deploy import bundle as bundles
from deploy import emergency, operators, signing
from tasks import history, registry, versions
from tasks.history import Event
from tasks.permit import by_gate
from tasks.versions import Registry


def declare(at: Registry, version: int, operator: str, key_file: Path, reason: str) -> Emergency:
    """Sign an emergency verdict on a version and lay it beside the bundle; `promote` and rollouts then admit it.

    Raises:
        ConfigurationError: no such version or operator, not that operator's key, or no reason.
        GateRefused: none is needed: the gate's own verdict admits the version.
        BundleCorrupt: the bundle or the history was changed.
    """
    target, refused = versions.get(at, version), _refusal(at, version)
    key = operators.private(key_file)
    trusted = operators.trusted(at.home)
    if trusted.get(operator) != signing.public_part(key):
        raise ConfigurationError(
            f"{key_file} is not the key of operator {operator!r} that this home trusts; operators here: "
            f"{', '.join(trusted) or 'none'}. ./tingsu keys operator {operator} makes one"
        )
    bundles.open(bundles.place(at.store, target.bundle))
    now = emergency.latest(at.home)
    said = emergency.said(version, target.bundle.digest, operator, reason, refused, now)
    signed = bundles.sign(said, key)
    registry.remember(at, "emergency", target, {"emergency": signed.model_dump(mode="json")})
    bundles.attest(at.store, target.bundle, bundles.EMERGENCY, signed.model_dump_json(indent=1).encode())
    bundles.place(at.store, target.bundle)
    return signed


def trust(home: Path, name: str, file: Path, by: str) -> str:
    """Trust an operator's key and write that into the history; returns the public key.

    Raises:
        ConfigurationError: as `operators.trust`.
    """
    public = operators.trust(home, name, file)
    _tell(home, "operator_trusted", name, public, by)
    return public


def revoke(home: Path, name: str, by: str) -> None:
    """Trust an operator no more and write that into the history.

    Raises:
        ConfigurationError: there is no such operator.
        BundleCorrupt: a line of the history is none; the operator is trusted still.
    """
    told = [e.event for e in history.read(home) if e.event.detail.get("operator") == name]
    if name not in operators.trusted(home) and told and told[-1].kind == "operator_trusted":
        public = str(told[-1].detail["public_key"])  # killed, or the disk full, before it was on record
    else:
        public = operators.revoke(home, name)
    _tell(home, "operator_revoked", name, public, by)


def _refusal(at: Registry, version: int) -> str:
    """What stands against the version."""
    try:
        by_gate(at, version)
    except GateRefused as refused:
        return str(refused)
    raise GateRefused(told("emergency_needless", version=version))


def _tell(home: Path, kind: history.Kind, name: str, public: str, by: str) -> None:
    history.append(home, Event(kind=kind, version=None, by=by, detail={"operator": name, "public_key": public}))
