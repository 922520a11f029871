"""Roll a promoted version out: planned → staged → verified → live, or undone. One rollout a target at a time.

Every state is on disk before the next begins. A rollout that was killed goes on where it stopped when the same version
is rolled out again, and is undone first when it is another one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from configs.settings import Settings
from data_contracts.artifacts import BundleRef, Release, Version
from data_contracts.errors import ConfigurationError, RolloutFailed, TingsuError
from deploy import bundle, targets
from deploy.operate import lock
from deploy.store import Store
from deploy.targets import Placed, Record, State, Status, Step, Target
from deploy.targets.local import Local
from deploy.targets.server import Server
from tasks import history, stages
from tasks.history import Event


def rollout(store: Store, version: Version, settings: Settings, home: Path, by: str = "tingsu") -> Release:
    """Make a version live on the target of the settings; what served before serves again if that fails.

    Raises:
        GateRefused, BundleCorrupt: the bundle has no valid PROMOTE verdict, or was changed; nothing was touched.
        RolloutFailed: undone, or another rollout is under way; says what serves now.
    """
    candidate = admit(store, version.version, version.bundle, home)
    return _controller(settings, home, by).rollout(candidate)


def undo(to: int, settings: Settings, home: Path, by: str = "tingsu") -> Release:
    """Make the previous version live again: version `to`. Where it is live already, it is only checked.

    Raises:
        RolloutFailed: there is none, it could not serve, or a rollout is under way.
        GateRefused, BundleCorrupt: its verdict or its content no longer holds.
    """
    return _controller(settings, home, by).undo(to)


def status(settings: Settings, home: Path) -> tuple[Record, Status]:
    """What the target's record says, and what the target itself says."""
    return record(settings, home), find(settings, home).status()


def record(settings: Settings, home: Path) -> Record:
    """What the target's record says; the target is not asked."""
    return targets.read(home, find(settings, home).name)


def find(settings: Settings, home: Path) -> Target:
    """The target of the settings.

    Raises:
        ConfigurationError: this release has no such target.
    """
    if settings.rollout.target == "server":
        return Server(home, settings)
    if settings.rollout.target == "local":
        return Local(home, settings)
    raise ConfigurationError(f"rollout.target {settings.rollout.target!r} is not available yet; allowed: local, server")


def admit(store: Store, version: int, ref: BundleRef, home: Path) -> Placed:
    """The version as a target can run it.

    Raises:
        GateRefused, BundleCorrupt: no valid PROMOTE verdict, or changed content.
    """
    folder = bundle.place(store, ref)
    verdict = bundle.permit(bundle.open(folder), bundle.public_key(home))
    return Placed(version=version, bundle_digest=ref.digest, folder=str(folder), verdict_signature=verdict.signature)


def _controller(settings: Settings, home: Path, by: str) -> "Controller":
    return Controller(find(settings, home), home, by, lambda placed: _still_permitted(placed, home))


@dataclass(frozen=True)
class Controller:
    """Drives one target. `by`: who asked, for the history; `permit` refuses a version whose verdict fell."""

    target: Target
    home: Path
    by: str
    permit: Callable[[Placed], None]

    def rollout(self, candidate: Placed) -> Release:
        """Begin, or go on, with this candidate until it is live."""
        with self._alone():
            return self._advance(self._begin(candidate))

    def undo(self, to: int) -> Release:
        """Give the traffic back to version `to`, the previous one; it was verified once, so only the switch remains.

        `to` is named so that an undo run again after a kill does not swap the two versions once more.
        """
        with self._alone():
            record = targets.read(self.home, self.target.name)
            if not record.is_finished and record.candidate == record.previous and _is(record.candidate, to):
                return self._advance(record)
            record = self._settled()
            if record.live is not None and _is(record.live, to):
                return self._advance(self._plan(record, record.live, "verified", "live already; checked again"))
            if record.previous is None or not _is(record.previous, to):
                there, live = (f"version {p.version}" if p else "none" for p in (record.previous, record.live))
                raise RolloutFailed(
                    f"{self.target.name} cannot go back to version {to}: live is {live}, before it {there}; "
                    "nothing was touched"
                )
            self.permit(record.previous)
            return self._advance(self._plan(record, record.previous, "verified", "going back to the previous version"))

    def _begin(self, candidate: Placed) -> Record:
        record = targets.read(self.home, self.target.name)
        if not record.is_finished and record.candidate == candidate:
            return record
        record = self._settled()
        if record.live == candidate:
            return self._plan(record, candidate, "verified", "live already; checked again")
        return self._plan(record, candidate, "planned", "")

    def _settled(self) -> Record:
        """The record without an unfinished rollout: one that was left behind is undone."""
        record = targets.read(self.home, self.target.name)
        if record.is_finished:
            return record
        try:
            self.target.undo(record.live)
        except TingsuError as error:
            raise RolloutFailed(
                f"an earlier rollout was cut off and cannot be undone: {error}. {_serves(record, False)}"
            ) from error
        return self._reach(record, "undone", "cut off; undone before the next one")

    def _plan(self, record: Record, candidate: Placed, state: State, note: str) -> Record:
        return targets.write(
            self.home, _at(record.model_copy(update={"candidate": candidate, "steps": ()}), state, note)
        )

    def _reach(self, record: Record, state: State, note: str = "") -> Record:
        return targets.write(self.home, _at(record, state, note))

    def _advance(self, record: Record) -> Release:
        candidate = record.candidate
        assert candidate is not None  # every planned record has one
        try:
            if record.state == "planned":
                self.target.stage(candidate)
                record = self._reach(record, "staged")
            if record.state == "staged":
                self.target.verify(candidate)
                record = self._reach(record, "verified")
            endpoint = self.target.switch(candidate)
        except TingsuError as error:
            raise self._undo_after(record, error) from error
        return self._release(record, candidate, endpoint)

    def _undo_after(self, record: Record, cause: TingsuError) -> RolloutFailed:
        """Bring back what served before; the error to raise."""
        candidate = record.candidate
        what = f"version {candidate.version if candidate else '?'} is not live: {cause}"
        try:
            self.target.undo(record.live)
            outcome = f"{what}. Undone: {_serves(record, True)}"
        except TingsuError as error:
            outcome = f"{what}. {_serves(record, False)}: {error}"
        undone = _at(record, "undone", outcome)
        self._remember("undone", undone, {})
        targets.write(self.home, undone)
        return RolloutFailed(outcome)

    def _release(self, record: Record, live: Placed, endpoint: str) -> Release:
        """Into the history first, then into the record: after a crash in between it is told twice rather than never."""
        is_new = record.live != live
        previous = record.live if is_new else record.previous
        record = _at(record.model_copy(update={"endpoint": endpoint, "live": live, "previous": previous}), "live", "")
        release = Release(
            target=self.target.name,
            endpoint=endpoint,
            version=live.version,
            bundle_digest=live.bundle_digest,
            verdict_signature=live.verdict_signature,
            previous_version=previous.version if previous else None,
            created_at=record.steps[-1].at,
        )
        if is_new:
            self._remember("released", record, {"endpoint": endpoint, "previous_version": release.previous_version})
        targets.write(self.home, record)
        return release

    def _remember(self, kind: history.Kind, record: Record, detail: dict[str, object]) -> None:
        candidate = record.candidate
        detail = {"target": self.target.name, "steps": [s.model_dump() for s in record.steps], **detail}
        digest = candidate.bundle_digest if candidate else ""
        event = Event(
            kind=kind, version=candidate.version if candidate else None, by=self.by, bundle_digest=digest, detail=detail
        )
        history.append(self.home, event)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        path = targets.lock_file(self.home, self.target.name)
        try:
            with lock.held(path, wait=False):
                yield
        except BlockingIOError as error:
            raise RolloutFailed(
                f"a rollout to {self.target.name} is under way (pid {lock.holder(path)}); nothing was touched. "
                "Run this again when it has ended"
            ) from error


def _at(record: Record, state: State, note: str) -> Record:
    return record.model_copy(update={"steps": (*record.steps, Step(state=state, at=stages.now(), note=note))})


def _is(placed: Placed | None, version: int) -> bool:
    return placed is not None and placed.version == version


def _still_permitted(placed: Placed, home: Path) -> None:
    bundle.permit(bundle.open(Path(placed.folder)), bundle.public_key(home))


def _serves(record: Record, is_back: bool) -> str:
    if record.live is None:
        return "nothing served before, and nothing serves now" if is_back else "Nothing served before"
    if is_back:
        return f"version {record.live.version} serves at {record.endpoint}, checked"
    return f"Version {record.live.version}, which served before, could not be brought back; try ./tingsu up"
