"""Opens the registry for a command."""

from collections.abc import Sequence

from data_contracts.artifacts import Verdict
from data_contracts.errors import GateRefused
from deploy import bundle, signing
from flows.run import registry_of
from flows.session import open_session
from tasks import versions
from tasks.versions import Registry


def open_registry(profile: str = "tiny", sets: Sequence[str] | None = None) -> Registry:
    """The registered model of the settings, with this home's key."""
    session = open_session(profile, sets=sets or ())
    return registry_of(session.settings, session.home, session.store)


def stored_verdict(at: Registry, version: int) -> Verdict:
    """A version's verdict, whatever it says; its signature holds.

    Raises:
        GateRefused: there is none, or it was changed.
    """
    found = versions.get(at, version)
    raw = at.store.read(f"{found.bundle.key}.attest/{bundle.VERDICT}")
    if raw is None:
        raise GateRefused(f"version {version} has no verdict in the store; run ./tingsu retrain on its dataset again")
    verdict = Verdict.model_validate_json(raw)
    signing.authenticate(verdict, found.bundle.digest, at.trusted_key)
    return verdict
