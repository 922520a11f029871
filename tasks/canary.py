"""Try a candidate on a part of the live traffic, step by step, until the judge passes every step or finds a breach.

Every look is on disk, with the judge's state and its answer, before anything is done about it or the next is taken.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from configs.rollout import CanarySettings, CanaryStep
from data_contracts.errors import ChampionUnavailable, RolloutFailed
from deploy import targets
from deploy.canary import judge
from deploy.operate import canary_window
from deploy.operate.canary_window import Look
from deploy.targets import Canary, Placed, Record, Target
from tasks import stages

NOTICE_S = 0.2  # how long a word of a person may go unnoticed
TELL_S = 60.0
Heed = Callable[[Record], None]
log = logging.getLogger("tingsu")


@dataclass(frozen=True)
class Clock:
    """Time, given so that nobody waits in a test. `now`: seconds since 1970, as two controllers of one canary must agree."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Trial:
    """A canary on one target. `heed` raises when a person took the rollout back; `patience_s`: how long the live side may be silent."""

    target: Target
    home: Path
    clock: Clock
    heed: Heed
    patience_s: float

    def bake(self, record: Record, settings: CanarySettings, categories: tuple[str, ...]) -> Record:
        """Through every step of the settings, or on from where a controller was killed; the record with all of them passed.

        `categories`: keys of both sides' taxonomies. The steps are those the canary began with, whatever the settings say later.

        Raises:
            RolloutFailed: a breach, or too little traffic to tell in `longest_s`.
            EngineUnavailable: the candidate does not answer, or the live side has not for `patience_s`.
        """
        if record.canary is None:
            log.info("version %d: %s", record.subject.version, told_need(settings))
            began = Canary(began_s=self.clock.now(), judged=judge.begin(settings, categories))
            record = self._step(record, began)
        self._weigh(record)
        while not self._is_over(record):
            if _is_passed(_canary(record)):
                record = self._next(record)
            record = self._looked(record)
        return record

    def _is_over(self, record: Record) -> bool:
        """Whether the last step is passed, by what is on disk."""
        canary = _canary(record)
        if _is_passed(canary):
            return canary.judged.step + 1 == len(canary.judged.settings.steps)
        self._refuse_endless(canary)
        return False

    def _next(self, record: Record) -> Record:
        canary = _canary(record)
        record = self._step(record, canary.model_copy(update={"judged": judge.advance(canary.judged)}))
        self._weigh(record)
        return record

    def _looked(self, record: Record) -> Record:
        """The record after one more look; the first is what the second is compared with."""
        canary, seen = _canary(record), self._look(record)
        if canary.look is None:
            return self._keep(record, canary.model_copy(update={"look": seen}))
        state = judge.feed(canary.judged, canary_window.between(canary.look, seen))
        found = judge.decide(state, stages.now())
        _tell(record, state, found.decision, canary.look.at_s // TELL_S != seen.at_s // TELL_S)
        canary = canary.model_copy(update={"judged": state, "look": seen, "judgement": found})
        if found.decision != "breach":
            return self._keep(record, canary)
        breach = told_breach(found)
        self._keep(
            record.at("undoing", found.at, breach), canary
        )  # in one write: what was judged cannot be judged otherwise
        raise RolloutFailed(breach)

    def _look(self, record: Record) -> Look:
        """The next look, in time; while the live side does not answer, which the candidate cannot help, again and again."""
        canary, silent_since = _canary(record), None
        wait_s = canary.judged.settings.look_every_s if canary.look else 0.0
        while True:
            self._wait(record, wait_s)
            now = self.clock.now()
            try:
                return self.target.look(record.subject, now)
            except ChampionUnavailable:
                silent_since = now if silent_since is None else silent_since
                if now - silent_since >= self.patience_s:
                    raise
            wait_s = canary.judged.settings.look_every_s

    def _wait(self, record: Record, seconds: float) -> None:
        self.heed(record)
        while seconds > 0:
            self.clock.sleep(min(NOTICE_S, seconds))
            seconds -= NOTICE_S
            self.heed(record)

    def _weigh(self, record: Record) -> None:
        self.heed(record)
        state = _canary(record).judged
        self.target.weigh(record.subject, state.settings.steps[state.step].weight)

    def _step(self, record: Record, canary: Canary) -> Record:
        """The next step is on disk before it has any traffic."""
        state = canary.judged
        note = told_step(state.settings, state.step)
        log.info("version %d: canary %s", record.subject.version, note)
        return self._keep(record.at("canary", stages.now(), note), canary)

    def _keep(self, record: Record, canary: Canary) -> Record:
        return targets.write(self.home, record.model_copy(update={"canary": canary}))

    def _refuse_endless(self, canary: Canary) -> None:
        state, settings = canary.judged, canary.judged.settings
        passed_s = self.clock.now() - canary.began_s
        if passed_s < settings.longest_s:
            return
        step = settings.steps[state.step]
        raise RolloutFailed(
            f"too little traffic to judge it: in {passed_s:.0f} s of canary (rollout.canary.longest_s is "
            f"{settings.longest_s:g}) step {state.step + 1} of {len(settings.steps)} got {_requests(state)} of {step.calls} "
            f"requests at {step.weight:.0%} of the traffic, and {state.seconds:.0f} of {step.seconds:g} s; give the step a "
            "larger weight or fewer calls (rollout.canary.steps), or the canary longer"
        )


def skipped(record: Record, target: Target, settings: CanarySettings) -> str:
    """Why this rollout, staged and verified, has no canary, which is said aloud where the settings ask for one; empty: it has one.

    Raises:
        ConfigurationError: as `foreseen`.
    """
    if record.canary is not None:
        return ""
    why = foreseen(record, record.subject, target, settings)
    if why and not needless(record, settings):
        log.warning("version %d gets all of the traffic at once, without a canary: %s", record.subject.version, why)
    return why


def foreseen(record: Record, candidate: Placed, target: Target, settings: CanarySettings) -> str:
    """Why a rollout of this candidate would have no canary, as far as is known; empty: it would have one.

    Raises:
        ConfigurationError: the settings ask for one, and a person has to mend the target first.
    """
    return needless(record, settings) or target.unsplit(candidate)


def needless(record: Record, settings: CanarySettings) -> str:
    """Why there is nothing to try a candidate beside, or no wish to; empty: there is."""
    if record.live is None:
        return "nothing served before"
    return "" if settings.steps else "rollout.canary.steps is empty"


def told_step(settings: CanarySettings, step: int) -> str:
    """One step in words."""
    one: CanaryStep = settings.steps[step]
    part = f"{one.weight:.0%} of the traffic until {one.calls} requests of its own and {one.seconds:g} s"
    return f"step {step + 1} of {len(settings.steps)}: {part}"


def told_need(settings: CanarySettings) -> str:
    """What all steps need, and what to do where there is no such traffic."""
    requests = sum(step.calls / step.weight for step in settings.steps)
    return (
        f"the canary needs about {requests:,.0f} requests to this target and {sum(step.seconds for step in settings.steps):g} s, and "
        f"is undone after {settings.longest_s:g} s; where there is less traffic, set rollout.canary.steps ([] switches at once)"
    )


def told_breach(found: judge.Judgement) -> str:
    """What was found, with its numbers; counts and shares only."""
    wrong = [one for one in found.evidence if one.signal in found.signals]
    parts = [
        f"{one.signal} ({one.about}): {one.candidate:.4g}"
        + (f" instead of {one.champion:.4g}" if one.champion is not None else "")
        + f", tolerated {one.tolerated:g}, evidence {one.e_value:.3g} of {one.breach_at:.3g}"
        for one in wrong
    ]
    head = f"canary step {found.step} of {found.steps} at {found.weight:.0%}, {found.candidate.requests} requests of its own"
    return f"breach in {head}: {'; '.join(parts)}"


def _tell(record: Record, state: judge.State, decision: str, is_due: bool) -> None:
    """A line a minute, and one for every answer that is acted upon."""
    if not is_due and decision == "continue":
        return
    step = state.settings.steps[state.step]
    log.info(
        "version %d: canary step %d of %d: %d of %d requests, %.0f of %g s: %s",
        *(record.subject.version, state.step + 1, len(state.settings.steps)),
        *(_requests(state), step.calls, state.seconds, step.seconds, decision),
    )


def _requests(state: judge.State) -> int:
    """Of the candidate in this step, those of a block that is not full yet too."""
    return state.calls + state.pending.candidate.requests


def _is_passed(canary: Canary) -> bool:
    """Whether the step it is in is passed; the judgement of an earlier one stays until the next look."""
    found = canary.judgement
    return found is not None and found.decision == "pass" and found.step == canary.judged.step + 1


def _canary(record: Record) -> Canary:
    assert record.canary is not None  # written before its first step
    return record.canary
