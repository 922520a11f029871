"""What a rollout would do, state by state, and what it would change; nothing is touched."""

from configs.rollout import RolloutSettings
from data_contracts.schema import Frozen
from deploy.targets import Change, Placed, Record, Target
from tasks import canary


class Plan(Frozen):
    """`states`: a sentence each, in order."""

    target: str
    version: int
    states: tuple[str, ...]
    changes: tuple[Change, ...]


def of(target: Target, record: Record, candidate: Placed, settings: RolloutSettings) -> Plan:
    """The plan of a rollout of this candidate, as things stand.

    Raises:
        ConfigurationError: it would be refused.
    """
    return Plan(
        target=target.name,
        version=candidate.version,
        states=(*_first(record, candidate), *_then(target, record, candidate, settings)),
        changes=target.changes(candidate),
    )


def _first(record: Record, candidate: Placed) -> tuple[str, ...]:
    if record.is_finished or record.candidate is None:
        return ()
    if record.candidate == candidate and record.state != "undoing":
        return (f"it was cut off when it was {record.state}, and goes on there",)
    return (f"undone: the rollout of version {record.candidate.version}, which was cut off when it was {record.state}",)


def _then(target: Target, record: Record, candidate: Placed, settings: RolloutSettings) -> tuple[str, ...]:
    if candidate.is_same(record.live):
        return ("live: it serves already, and is checked again",)
    beside = f"beside version {record.live.version}, without traffic" if record.live else "nothing serves yet"
    why = canary.foreseen(record, candidate, target, settings.canary)
    baked = [f"canary, {canary.told_step(settings.canary, i)}" for i in range(len(settings.canary.steps))]
    previous = f", version {record.live.version} stays loaded" if record.live and settings.keep_previous else ""
    return (
        f"staged: {beside}",
        "verified: health, model info, parity, golden requests, a short load",
        *(("awaiting: a person approves or rejects it",) if settings.approval == "required" else ()),
        *([f"no canary: {why}"] if why else [*baked, canary.told_need(settings.canary)]),
        f"live: all of the traffic{previous}",
    )
