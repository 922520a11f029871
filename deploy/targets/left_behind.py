"""A rollout that is not at its end and that no process carries out, told from its record and what people said; no target is asked."""

import time
from collections.abc import Callable
from pathlib import Path

from data_contracts.schema import Frozen
from deploy import targets
from deploy.operate import lock
from deploy.targets import Canary, Record, words

LAPSES = ("local", "server")
"""Where a share that nobody looks after ends by itself, see rollout.canary.unwatched_s."""


class Left(Frozen):
    """What to do about it, in a sentence. `is_fault`: it was cut off; where not, it waits for a person, or for the command that goes
    on with what a person approved."""

    said: str
    is_fault: bool


def find(home: Path, target: str, now: Callable[[], float] = time.time) -> Left | None:
    """What is left behind on a target; None: nothing, or somebody is at it. `now`: seconds since 1970."""
    record = targets.read(home, target)
    if record.is_finished or lock.is_held(targets.lock_file(home, target)):
        return None
    if targets.read(home, target) != record:  # it went on, or ended, between the two
        return None
    return _awaiting(home, record) if record.state == "awaiting" else Left(said=_cut_off(record, now()), is_fault=True)


def every(home: Path) -> tuple[Left, ...]:
    """As `find`, of every target."""
    return tuple(left for name in targets.known(home) if (left := find(home, name)) is not None)


def _awaiting(home: Path, record: Record) -> Left:
    version, target = record.subject.version, record.target
    refused = words.find(home, target, "withdraw", record.id)
    if refused is not None:
        said = f"the rollout of version {version} to {target} was withdrawn {refused.told}, and is not undone yet: {_again(target)}"
        return Left(said=said, is_fault=True)
    approved = words.find(home, target, "approve", record.id)
    if approved is not None:
        who = "a run that waits goes on by itself, else the command that staged it"
        return Left(said=f"version {version} is approved for {target} {approved.told}; {who}", is_fault=False)
    return Left(said=str(targets.waits(record)), is_fault=False)


def _cut_off(record: Record, now_s: float) -> str:
    target = record.target
    if record.state == "undoing":
        return f"a rollout to {target} is not undone yet: {record.steps[-1].note}; {_again(target)}"
    share = _share(record.canary, target, now_s) if record.canary and record.state == "canary" else ""
    return (
        f"the rollout of version {record.subject.version} to {target} was cut off when it was {record.state}{share}, and nobody "
        f"watches it: the same command goes on, ./tingsu undo --target {target} takes it back"
    )


def _share(canary: Canary, target: str, now_s: float) -> str:
    settings = canary.judged.settings
    looked_s = canary.look.at_s if canary.look else canary.began_s
    lapsed = target in LAPSES and now_s - looked_s > settings.unwatched_s + settings.look_every_s
    ended = f", which ended {settings.unwatched_s:g} s after it was last looked at" if lapsed else ""
    return f" with {settings.steps[canary.judged.step].weight:.0%} of the traffic{ended}"


def _again(target: str) -> str:
    return f"./tingsu undo --target {target} tries again"
