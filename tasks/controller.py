"""The state machine of a rollout, the same for every target: planned → staged → verified → awaiting → canary → switching → live.

Every state is on disk before the next begins. A rollout that was killed goes on where it stopped when the same version is
rolled out again, and is undone first when it is another one. Whatever fails is undone: `undoing` (nothing else can become of
it then), undone.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from configs.rollout import RolloutSettings
from data_contracts.artifacts import Release
from data_contracts.errors import ApprovalAwaited, Busy, RolloutFailed, TingsuError
from deploy import targets
from deploy.targets import Placed, Record, Target
from tasks import canary
from tasks.book import Book
from tasks.canary import NOTICE_S, Clock, Trial


@dataclass(frozen=True)
class Controller:
    """Drives one target. `by`: who asked, for the history; `permit` refuses a version whose verdict fell; `categories`: of a bundle."""

    target: Target
    home: Path
    by: str
    permit: Callable[[Placed], None]
    settings: RolloutSettings = field(default_factory=RolloutSettings)
    categories: Callable[[Placed], tuple[str, ...]] = lambda _: ()
    clock: Clock = field(default_factory=Clock)

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
            record = self.book.read()
            if record.is_finished or record.candidate != candidate:
                record = self._begun(candidate)
            return self._advance(record)

    def undo(self, to: int, why: str = "") -> Release:
        """Give the traffic back to version `to`, the previous one; it was tried when it came, so only the switch remains.

        `to` is named so that an undo run again after a kill does not swap the two versions once more.

        Raises:
            RolloutFailed: it is not the previous version, or it could not serve; or a rollout is under way.
            GateRefused, BundleCorrupt: its verdict or its content no longer holds.
        """
        with self._alone():
            record = self.book.read()
            if not record.is_finished and record.is_return and _is(record.candidate, to):
                return self._advance(record)
            record = self._settled()
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
        record, hangs = self.book.read(), ""
        if record.is_finished:
            raise RolloutFailed(f"no rollout to {self.target.name} is under way; nothing was touched")
        self.book.say("withdraw", record, why)
        while limit_s > 0:
            try:
                with self._alone():
                    return self._withdrawn(record)
            except Busy as error:
                hangs = f"{error}; it was told to undo and does not: end it (kill), then run this again"
            self.clock.sleep(NOTICE_S)
            limit_s -= NOTICE_S
        raise RolloutFailed(hangs)

    def approve(self, version: int, why: str) -> Record:
        """Let a version that is staged and verified have traffic. Its rollout goes on when it is run again.

        Raises:
            RolloutFailed: no rollout of this version waits for it.
        """
        record = self.book.read()
        if record.state != "awaiting" or not _is(record.candidate, version):
            now = (
                f"version {record.candidate.version} is {record.state}"
                if record.candidate
                else "nothing was rolled out"
            )
            raise RolloutFailed(f"version {version} does not wait for approval on {self.target.name}: {now}")
        self.book.say("approve", record, why)
        return record

    def _begun(self, candidate: Placed) -> Record:
        record = self._settled()
        return (
            self._known(record, candidate) if record.live == candidate else self.book.plan(record, candidate, "planned")
        )

    def _known(self, record: Record, live: Placed) -> Record:
        note = "live already; checked again"
        return self.book.plan(record, live, "verified", note, is_return=record.is_return)

    def _settled(self) -> Record:
        """The record without an unfinished rollout: one that was left behind is undone."""
        record = self.book.read()
        if record.is_finished:
            return record
        record, is_back = self._undone(record, "it was cut off, and something else was asked for")
        if not is_back:
            raise RolloutFailed(f"an earlier rollout cannot be undone: {record.steps[-1].note}")
        return record

    def _advance(self, record: Record) -> Release:
        try:
            if record.state == "undoing":
                raise RolloutFailed(record.steps[-1].note)
            record = self._tried(record)
            endpoint = self.target.switch(record.subject)
            self._heed(record)
        except ApprovalAwaited:
            raise
        except TingsuError as error:
            record, _ = self._undone(self.book.read(), str(error))
            raise RolloutFailed(record.steps[-1].note) from error
        return self.book.released(record, endpoint)

    def _tried(self, record: Record) -> Record:
        """Staged, verified, approved and tried on a part of the traffic, as far as it is not yet; about to be switched to."""
        self._heed(record)
        if record.state == "switching":
            return record
        note = ""
        if not record.is_return and record.live != record.candidate:
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

    def _undone(self, record: Record, why: str) -> tuple[Record, bool]:
        """The record of a rollout taken back, whose last note says what came of it; and whether what served before serves again.

        That it is to be undone, and why, is on disk first; the first reason stays.
        """
        if record.state != "undoing":
            record = self.book.reach(record, "undoing", why)
        what = f"version {record.subject.version} is not live: {record.steps[-1].note}"
        try:
            self.target.undo(record.live, record.subject)
            is_back, outcome = True, f"{what}. Undone: {_serves(record, True)}"
        except TingsuError as error:
            is_back, outcome = False, f"{what}. {_serves(record, False)}: {error}"
        return self.book.undone(record, outcome), is_back

    def _withdrawn(self, told: Record) -> Record:
        """The end of the rollout that somebody was told to undo; by this process, if nobody did."""
        record, is_back = self.book.read(), True
        if record.id == told.id and not record.is_finished:
            word = self.book.said("withdraw", record)
            record, is_back = self._undone(record, f"withdrawn {word.told}" if word else "withdrawn")
        if record.id == told.id and record.state == "live":
            raise RolloutFailed("it went live in that moment; run this again to go back to the version before")
        if not is_back:
            raise RolloutFailed(record.steps[-1].note)
        return record

    def _alone(self) -> AbstractContextManager[None]:
        return targets.alone(self.home, self.target, self.by)


def _is(placed: Placed | None, version: int) -> bool:
    return placed is not None and placed.version == version


def _serves(record: Record, is_back: bool) -> str:
    if record.live is None:
        return "nothing served before, and nothing serves now" if is_back else "Nothing served before"
    if is_back:
        return f"version {record.live.version} serves at {record.endpoint}, checked"
    return f"Version {record.live.version}, which served before, could not be brought back; try ./tingsu up"
