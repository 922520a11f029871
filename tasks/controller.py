"""The state machine of a rollout, the same for every target: planned → staged → verified → awaiting → canary → switching → live.

Every state is on disk before the next begins. A rollout that was killed goes on where it stopped when the same version is
rolled out again, and is undone first when it is another one. Whatever fails is undone: `undoing` (nothing else can become of
it then), undone.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from configs.rollout import RolloutSettings
from data_contracts.artifacts import Release
from data_contracts.errors import ApprovalAwaited, Busy, ConfigurationError, RolloutFailed, TingsuError
from deploy import targets
from deploy.operate import lock
from deploy.targets import Placed, Record, Target, words
from tasks import canary, serving, way_back
from tasks.book import Book
from tasks.canary import NOTICE_S, Clock, Trial
from tasks.way_back import WayBack

SOON_S = 3.0
"""How long a person waits for an undo before it is said why."""
log = logging.getLogger("tingsu")


@dataclass(frozen=True)
class Controller:
    """Drives one target. `by`: who asked, for the history; `permit` refuses a version whose verdict fell; `categories`: of a bundle;
    `known`: see tasks/serving.py; `intact` reads a whole bundle and raises if it was changed."""

    target: Target
    home: Path
    by: str
    permit: Callable[[Placed], None]
    settings: RolloutSettings = field(default_factory=RolloutSettings)
    categories: Callable[[Placed], tuple[str, ...]] = lambda _: ()
    clock: Clock = field(default_factory=Clock)
    known: serving.Known = serving.none
    intact: Callable[[Placed], None] = lambda _: None

    @property
    def book(self) -> Book:
        """Where it is written down."""
        return Book(self.home, self.target.name, self.by)

    def rollout(self, candidate: Placed) -> Release:
        """Begin, or go on, with this candidate until it is live.

        Raises:
            ApprovalAwaited: it is staged and verified; the same call goes on once a person said yes.
            RolloutFailed: undone, with the reason; or another rollout is under way.
        """
        with self._alone():
            record = self._ours()
            if record.is_finished or record.candidate != candidate:
                record = self._begun(candidate)
            return self._advance(record)

    def undo(self, to: int, why: str = "") -> Release:
        """Give the traffic back to version `to`, the previous one; it was tried when it came, so only the switch remains.

        `to` is named so that an undo run again after a kill does not swap the two versions once more.

        Raises:
            RolloutFailed: it is not the previous version, or it could not serve; or a rollout is under way.
            GateRefused: its verdict no longer holds.
        """
        with self._alone():
            record = self._ours()
            if record.is_return and record.state in ("verified", "switching") and _is(record.candidate, to):
                return self._advance(record)
            record = self._before_return(record, to)
            if record.live is not None and _is(record.live, to):
                return self._advance(self._known(record, record.live))
            if record.previous is None or not _is(record.previous, to):
                there, live = (f"version {p.version}" if p else "none" for p in (record.previous, record.live))
                raise RolloutFailed(
                    f"{self.target.name} cannot go back to version {to}: live is {live}, before it {there}; "
                    "nothing was touched"
                )
            self.permit(record.previous)
            note = f"going back to the previous version{f': {why}' if why else ''}"
            return self._advance(self.book.plan(record, record.previous, "verified", note, is_return=True))

    def withdraw(self, why: str, limit_s: float) -> Record:
        """Take back the rollout that is under way, whoever carries it out; the record in which it is undone.

        A process that is at it is told, and has `limit_s` to do it; where there is none it is done here.

        Raises:
            RolloutFailed: none is under way, or it went live meanwhile; what served before could not be brought back; or that
                process hangs.
        """
        record, hangs, waited_s = self.book.read(), "", 0.0
        if record.is_finished:
            raise RolloutFailed(f"no rollout to {self.target.name} is under way; nothing was touched")
        self.book.say("withdraw", record, why)
        file = targets.lock_file(self.home, self.target.name)
        while waited_s < limit_s:
            try:
                with self._alone():
                    return self._withdrawn(record)
            except Busy as error:
                hangs = f"{error}; it was told to undo and does not: end it (kill), then run this again"
            if waited_s < SOON_S <= waited_s + NOTICE_S and lock.is_held(file):
                log.warning(_in_a_step(record, file))
            self.clock.sleep(NOTICE_S)
            waited_s += NOTICE_S
        raise RolloutFailed(hangs)

    def approve(self, version: int, why: str) -> Record:
        """Let a version that is staged and verified have traffic. Its rollout goes on when it is run again. Said twice by the same
        person, the first counts.

        Raises:
            RolloutFailed: no rollout of this version waits for it, or somebody else said so, or took it back.
            GateRefused: its verdict no longer holds.
        """
        with lock.held(words.lock_file(self.home, self.target.name)):
            record = self.book.read()
            self._require_awaiting(record, version)
            said = self.book.said("approve", record)
            if said is not None and said.by != self.by:
                raise RolloutFailed(f"version {version} is approved already, {said.told}; nothing was changed")
            self.permit(record.subject)
            return record.model_copy(update={"approval": said or self.book.approve(record, why)})

    def _require_awaiting(self, record: Record, version: int) -> None:
        """Return if a rollout of this version waits for a person."""
        refused = None if record.is_finished else self.book.said("withdraw", record)
        if record.state == "awaiting" and _is(record.candidate, version) and refused is None:
            return
        now, note = "nothing was rolled out", ""
        if record.candidate is not None:
            now = f"version {record.candidate.version} is {record.state}"
            note = f"withdrawn {refused.told}" if refused else record.steps[-1].note
        told = f": {note}" if note else ""
        raise RolloutFailed(f"version {version} does not wait for approval on {self.target.name}: {now}{told}")

    def _begun(self, candidate: Placed) -> Record:
        record = self._as_served(self._settled(), candidate)
        if candidate.is_same(record.live):
            return self._known(record, candidate)
        canary.foreseen(
            record, candidate, self.target, self.settings.canary
        )  # refused, if at all, before anything is touched
        return self.book.plan(record, candidate, "planned")

    def _before_return(self, record: Record, to: int) -> Record:
        """Settled, and with what is served. Where what served cannot be brought back, that does not bar the way to the version before
        it, if that is asked for by its number."""
        try:
            return self._as_served(self._settled())
        except RolloutFailed:
            if record.state != "undoing" or not _is(record.previous, to):
                raise
            return self.book.read()

    def _known(self, record: Record, live: Placed) -> Record:
        note = "live already; checked again"
        return self.book.plan(record, live, "verified", note, is_return=record.is_return)

    def _settled(self) -> Record:
        """The record without an unfinished rollout: one that was left behind is undone.

        Raises:
            RolloutFailed: it cannot be.
        """
        record = self.book.read()
        if record.is_finished:
            return record
        why = "it waited for approval" if record.state == "awaiting" else "it was cut off"
        log.warning("version %d is taken back from %s first: %s", record.subject.version, self.target.name, why)
        try:
            return self._taken_back(record, f"{why}, and something else was asked for")
        except RolloutFailed as error:
            raise RolloutFailed(f"an earlier rollout has to be undone first, and is not: {error}") from error

    def _ours(self) -> Record:
        """The record; a rollout that was cut off is over where the target serves neither of its sides by now: somebody else rolled
        out there, and neither going on nor taking back may displace that."""
        record = self.book.read()
        if record.is_finished:
            return record
        now = self.target.status()
        if now.serving is None or any(
            p.bundle_digest.startswith(now.serving) for p in (record.live, record.subject) if p
        ):
            return record
        said = f"version {record.subject.version} is not live: {self.target.name} serves bundle {now.serving[:12]} by now, which is "
        return self.book.undone(record, f"{said}neither side of this rollout; nothing more was touched")

    def _as_served(self, record: Record, candidate: Placed | None = None) -> Record:
        """With what the target really serves, which may be there by somebody's hand or from another home: an undo needs to know it.
        A candidate that is to be rolled out is known, whatever the registry says: it was admitted."""

        def known(digest: str) -> Placed:
            if candidate is not None and candidate.bundle_digest.startswith(digest):
                return candidate
            return self.known(digest)

        endpoint, found = serving.found(self.target, record, known)
        return record if found is None else self.book.adopted(record, found, endpoint)

    def _advance(self, record: Record) -> Release:
        try:
            if record.state == "undoing":
                raise RolloutFailed(way_back.reason(record))
            record = self._tried(record)
            endpoint = self.target.switch(record.subject)
            self._heed(record)
        except ApprovalAwaited:
            raise
        except Exception as error:  # whatever it was: a candidate that nobody watches must have no traffic
            with suppress(ConfigurationError):  # a damaged record: what is in hand says as much
                record = self.book.read()
            raise self._way_back.after(record, error) from error
        release = self.book.released(record, endpoint)
        if record.is_return:
            self._look_after()
        return release

    def _look_after(self) -> None:
        """A version gone back to was read when it came, and whoever loads it anew reads it first: so its content, gigabytes maybe, is
        read here when it has the traffic. That it was changed since is said, and does not take it away again."""
        record = self.book.read()
        try:
            self.intact(record.subject)
        except TingsuError as error:
            note = f"it serves from what was loaded, and cannot be loaded again: {error}"
            log.warning("version %d: %s", record.subject.version, note)
            self.book.reach(record, "live", note)

    def _tried(self, record: Record) -> Record:
        """Staged, verified, approved and tried on a part of the traffic, as far as it is not yet; about to be switched to."""
        self._heed(record)
        if record.state == "switching":
            return record
        if record.is_return and not record.subject.is_same(record.live):
            self.permit(record.subject)  # it may have been cut off for days, and verdicts end
        note = ""
        if not record.is_return and not record.subject.is_same(record.live):
            record = self._approved(self._verified(record))
            skipped = canary.skipped(record, self.target, self.settings.canary)
            if skipped:
                note = f"no canary: {skipped}"
            else:
                trial = Trial(self.target, self.home, self.clock, self._heed, self.settings.verify_timeout_s)
                record = trial.bake(record, self.settings.canary, self._categories(record))
                self.permit(record.subject)  # that took hours, and an emergency verdict ends
        self._heed(record)
        return self.book.reach(record, "switching", note)

    def _verified(self, record: Record) -> Record:
        """Staged and verified; also what was, since it may have died while nobody watched. Not verified again in a canary: the
        calls of a check would count among those it is judged by."""
        self.target.stage(record.subject)
        if record.state == "planned":
            record = self.book.reach(record, "staged")
        self._heed(record)
        if record.canary is not None:
            return record
        self.target.verify(record.subject)
        if record.state == "staged":
            record = self.book.reach(record, "verified")
        self._heed(record)
        return record

    def _approved(self, record: Record) -> Record:
        if record.canary or record.approval or self.settings.approval == "none":
            return record
        if record.state != "awaiting":
            record = self.book.reach(record, "awaiting")
        word = self.book.said("approve", record)
        if word is None:
            raise ApprovalAwaited(targets.waits(record))
        self.permit(record.subject)  # that took days maybe, and verdicts end
        return self.book.reach(record.model_copy(update={"approval": word}), "verified", f"approved {word.told}")

    def _categories(self, record: Record) -> tuple[str, ...]:
        """Of both sides."""
        sides = [side for side in (record.live, record.candidate) if side is not None]
        return tuple(dict.fromkeys(key for side in sides for key in self.categories(side)))

    def _heed(self, record: Record) -> None:
        """Raise if a person took this rollout back."""
        word = self.book.said("withdraw", record)
        if word is not None:
            raise RolloutFailed(f"withdrawn {word.told}")

    def _withdrawn(self, told: Record) -> Record:
        """The end of the rollout that somebody was told to undo; by this process, if nobody did."""
        record = self._ours()
        if record.id != told.id:
            raise RolloutFailed(
                "it had ended, and another one has begun since; ./tingsu history tells how, ./tingsu status what is so"
            )
        if record.state == "live":
            raise RolloutFailed("it went live in that moment; run this again to go back to the version before")
        word = self.book.said("withdraw", record)
        return (
            record
            if record.is_finished
            else self._taken_back(record, f"withdrawn {word.told}" if word else "withdrawn")
        )

    def _taken_back(self, record: Record, why: str) -> Record:
        return self._way_back.take(record, why)

    @property
    def _way_back(self) -> WayBack:
        return WayBack(self.target, self.home, self.book, self.clock)

    def _alone(self) -> AbstractContextManager[None]:
        return targets.alone(self.home, self.target, self.by)


def _in_a_step(record: Record, file: Path) -> str:
    return (
        f"version {record.subject.version}: the process that rolls it out (pid {lock.holder(file)}) was told, and takes it back when the "
        "step that it is in the middle of ends; to have it at once, end that process (kill -9): it is then done here"
    )


def _is(placed: Placed | None, version: int) -> bool:
    return placed is not None and placed.version == version
