"""Takes a rollout back, whatever ended it: the traffic first, also where nothing can be written down, then the record of what came of it.

It is not over before what served serves again: until then it stays `undoing`, and whoever is next at this target goes on with it.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from data_contracts.errors import EngineUnavailable, RolloutFailed, TingsuError
from deploy import disk
from deploy.targets import Record, State, Target
from tasks import stages
from tasks.book import Book
from tasks.canary import Clock

AGAIN_S = (0.5, 2.0, 5.0)
"""How long a target that does not answer is waited for, each time before it is asked again."""
log = logging.getLogger("tingsu")


@dataclass(frozen=True)
class WayBack:
    """Of one target."""

    target: Target
    home: Path
    book: Book
    clock: Clock

    def after(self, record: Record, fault: Exception) -> RolloutFailed:
        """Take the rollout back after this fault; what to tell of both. A fault of the program itself is raised again."""
        known = fault if isinstance(fault, TingsuError) else disk.explain(fault, self.home)
        why = str(known) if known else f"a fault of Tingsu itself, {type(fault).__name__}"
        try:
            told = RolloutFailed(self.take(record, why).steps[-1].note)
        except RolloutFailed as error:
            told = error
        if known is None:
            log.error("%s", told)
            raise fault
        return told

    def take(self, record: Record, why: str) -> Record:
        """The record of the rollout, undone; its last note says what came of it. The first reason stays.

        Raises:
            RolloutFailed: what served before could not be brought back, and the rollout is still to be undone; or it was brought
                back and that could not be written down.
        """
        begun, unwritten = record, ""
        if record.state != "undoing":
            begun, unwritten = self._noted(record, "undoing", why)
        what = f"version {record.subject.version} is not live: {reason(begun)}"
        try:
            self._undo(record)
        except TingsuError as error:
            failed = f"{what}. {_not_back(record)}: {error}. To mend it: {self.target.mend}; then ./tingsu undo {self._to} tries again"
            self._noted(begun, "undoing", failed)
            raise RolloutFailed(failed) from error
        outcome = f"{what}. Undone: {_serves(record)}"
        try:
            return self.book.undone(begun, outcome)
        except TingsuError as error:
            raise RolloutFailed(f"{outcome}. That is not on record: {unwritten or error}") from error

    @property
    def _to(self) -> str:
        return f"--target {self.target.name}"

    def _undo(self, record: Record) -> None:
        """Asked again where the target does not answer: seconds later it may."""
        for wait_s in AGAIN_S:
            try:
                return self.target.undo(record.live, record.subject)
            except EngineUnavailable as error:
                log.warning("%s; asked again in %g s", error, wait_s)
            self.clock.sleep(wait_s)
        self.target.undo(record.live, record.subject)

    def _noted(self, record: Record, state: State, note: str) -> tuple[Record, str]:
        """The next state, and why it is not on disk, if it is not: the traffic matters more."""
        try:
            return self.book.reach(record, state, note), ""
        except TingsuError as error:
            log.warning("%s", error)
            return record.at(state, stages.now(), note), str(error)


def reason(record: Record) -> str:
    """Why a rollout is undone: the first that was said."""
    return next(step.note for step in record.steps if step.state == "undoing")


def _serves(record: Record) -> str:
    if record.live is None:
        return "nothing served before, and what there was of it is withdrawn"
    return f"version {record.live.version} serves at {record.endpoint}, checked"


def _not_back(record: Record) -> str:
    if record.live is None:
        return "What is left of it could not be withdrawn"
    return f"Version {record.live.version}, which served before, could not be brought back"
