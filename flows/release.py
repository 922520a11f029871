"""Promotion: the permit, the rollout, then the alias; and the way back."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from configs.settings import Settings
from data_contracts.artifacts import Release, Version
from data_contracts.errors import GateRefused, StoreUnavailable, TingsuError
from tasks import registry, rollout, versions
from tasks.versions import Registry


def promote(at: Registry, version: int, settings: Settings) -> Release:
    """Make a version the champion that serves. The alias moves last: what is called champion does serve.

    Raises:
        GateRefused, BundleCorrupt, ConfigurationError: not permitted; nothing was touched.
        RolloutFailed: undone; the previous champion serves.
        StoreUnavailable: the registry did not answer; what this call made live was taken back, if something served before.
    """
    registry.permit(at, version)
    live = rollout.status(settings, at.home)[0].live
    with witnessed(at):
        release = rollout.rollout(at.store, registry.get(at, version), settings, at.home, by=at.by)
        try:
            registry.promote(at, version)
        except TingsuError:
            if live is not None and live.version != version:
                rollout.undo(live.version, settings, at.home, by=at.by)
            raise
    return release


def rollback(at: Registry, settings: Settings) -> tuple[Version, Release]:
    """Make the previous champion serve again, and then the champion.

    Raises:
        GateRefused: there is no previous champion; nothing was touched.
    """
    target = versions.returning(at)
    if target is None:
        raise GateRefused(f"{at.name} has no previous version to return to; ./tingsu promote V chooses one")
    with witnessed(at):
        release = rollout.undo(target.version, settings, at.home, by=at.by)
        return registry.rollback(at), release


@contextmanager
def witnessed(at: Registry) -> Iterator[None]:
    """The registry knows the history's newest line when this ends, also when it ends badly."""
    try:
        yield
    finally:
        with suppress(StoreUnavailable):  # a first error is the one to tell, and the next move catches up
            registry.witness(at)
