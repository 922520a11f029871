"""Promotion: the permit, the rollout, then the alias; and the way back."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from configs.settings import Settings
from data_contracts.artifacts import Release, Version
from data_contracts.errors import ApprovalAwaited, RolloutFailed, StoreUnavailable, TingsuError
from data_contracts.schema import Frozen
from deploy.operate import lock
from deploy.targets import Record
from tasks import history, registry, rollout, versions
from tasks.permit import permit
from tasks.versions import Registry


class Awaited(Frozen):
    """A version that is staged and verified, and on whom it waits."""

    sentence: str


def attempt(at: Registry, version: int, settings: Settings) -> Release | Awaited:
    """`promote`, where to wait for a person is an answer."""
    try:
        return promote(at, version, settings)
    except ApprovalAwaited as awaited:
        return Awaited(sentence=str(awaited))


def promote(at: Registry, version: int, settings: Settings) -> Release:
    """Make a version the champion that serves: live first, then the history, then the aliases, which mirror it.

    Raises:
        GateRefused, BundleCorrupt, ConfigurationError: not permitted; nothing was touched.
        ApprovalAwaited: it is staged and verified, and a person says whether it gets traffic; the same call goes on then.
        RolloutFailed: undone; the previous champion serves.
        StoreUnavailable: the registry did not answer; what this call made live was taken back, if something served before
            and the history does not call it the champion yet. The same command again ends it.
    """
    permit(at, version)
    before = rollout.record(settings, at.home).live
    with witnessed(at):
        release = rollout.rollout(at.store, versions.get(at, version), settings, at.home, by=at.by)
        try:
            registry.promote(at, version)
        except TingsuError:
            is_new = before is None or before.version != version
            if is_new and release.previous_version is not None and not _is_told(at, version):
                rollout.undo(release.previous_version, settings, at.home, by=at.by)
            raise
    return release


def rollback(at: Registry, settings: Settings, to: int | None = None, why: str = "") -> tuple[Version, Release]:
    """Make the previous champion serve again, and then the champion; `to` as `versions.returning`.

    Raises:
        GateRefused: there is no previous champion, or it is not `to`; nothing was touched.
    """
    target = versions.returning(at, to)
    with witnessed(at):
        record = rollout.record(settings, at.home)
        if any(placed and placed.version == target.version for placed in (record.live, record.previous)):
            release = rollout.undo(target.version, settings, at.home, by=at.by, why=why)
        else:  # it served before the last two: it is checked like a new one
            release = rollout.rollout(at.store, target, settings, at.home, by=at.by)
        return registry.rollback(at, target.version, why), release


def undo(at: Registry, settings: Settings, why: str, *, moves_champion: bool) -> tuple[str, dict[str, object]]:
    """Take back the rollout under way on the settings' target, or else go back to the version before: what came of it, in
    words and as JSON values. Where that is done already nothing changes.

    Args:
        moves_champion: the version gone back to is the champion again, where it was before.

    Raises:
        RolloutFailed: what is to serve again does not, or there is nothing to go back to.
        GateRefused, BundleCorrupt: the version before may not serve any more.
    """
    with witnessed(at):
        record = rollout.record(settings, at.home)
        if not record.is_finished and not record.is_return:
            ended = rollout.withdraw(why, settings, at.home, by=at.by)
            return ended.steps[-1].note, ended.model_dump(mode="json")
        to = _version_before(record)
        live = rollout.undo(to, settings, at.home, by=at.by, why=why)  # the traffic first: MLflow takes seconds
        if moves_champion and to in {v.version for v in (versions.sitting(at), versions.previous(at)) if v}:
            registry.rollback(at, to, why)
    return f"version {live.version} serves again at {live.endpoint}", live.model_dump(mode="json")


def _version_before(record: Record) -> int:
    """What an undo goes back to: where one was begun, or done, already, what that one goes back to."""
    gone_back = record.live if record.is_finished else record.candidate
    to = gone_back if record.is_return else record.previous
    if to is None:
        before = f"before version {record.live.version} " if record.live else ""
        raise RolloutFailed(f"{before}no version served on {record.target}; nothing was touched")
    return to.version


def _is_told(at: Registry, version: int) -> bool:
    """Whether the history has it as the champion already: only the aliases, its mirror, are behind."""
    entry = history.standing(history.read(at.home))
    return entry is not None and entry.event.version == version


@contextmanager
def witnessed(at: Registry) -> Iterator[None]:
    """The registry knows the history's newest line when this ends, also when it ends badly; until then `is_moving`."""
    with lock.held(_moving(at.home), shared=True):  # who rolls out to another target does not wait
        try:
            yield
        finally:
            with suppress(StoreUnavailable):  # a first error is the one to tell, and the next move catches up
                registry.witness(at)


def is_moving(home: Path) -> bool:
    """Whether somebody changes what is live or who is the champion; the aliases follow the traffic after a moment."""
    return lock.is_shared_by_any(_moving(home))


def _moving(home: Path) -> Path:
    return home / "rollouts/.release.lock"
