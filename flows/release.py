"""Promotion: the permit, the rollout, then the alias; and the way back."""

from configs.settings import Settings
from data_contracts.artifacts import Release, Version
from data_contracts.errors import TingsuError
from tasks import registry, rollout
from tasks.versions import Registry


def promote(at: Registry, version: int, settings: Settings) -> Release:
    """Make a version the champion that serves. The alias moves last: what is called champion does serve.

    Raises:
        GateRefused, BundleCorrupt, ConfigurationError: not permitted; nothing was touched.
        RolloutFailed: undone; the previous champion serves.
        StoreUnavailable: the registry did not answer; the rollout was taken back.
    """
    registry.permit(at, version)
    release = rollout.rollout(at.store, registry.get(at, version), settings, at.home, by=at.by)
    try:
        registry.promote(at, version)
    except TingsuError:
        if release.previous_version is not None:
            rollout.undo(settings, at.home, by=at.by)
        raise
    return release


def rollback(at: Registry, settings: Settings) -> tuple[Version, Release]:
    """Make the previous champion serve again, and then the champion."""
    release = rollout.undo(settings, at.home, by=at.by)
    return registry.rollback(at), release
