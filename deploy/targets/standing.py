"""How each target stands, from its record alone: what is live there, and how far a rollout is."""

from pathlib import Path

from data_contracts.schema import Frozen
from deploy import targets
from deploy.operate import lock
from deploy.targets import Canary, Record, State


class Standing(Frozen):
    """One target. `live`: the version that the last finished rollout left, asked at `url`. `state`: of the rollout under way, or of
    the last one; `candidate`: its version, if it is not at its end; `progress`: how far it is, or how it was undone; `pid`: who
    carries it out."""

    name: str
    state: State | None
    url: str
    pid: int | None
    live: int | None
    candidate: int | None
    progress: str

    @property
    def told(self) -> str:
        """The rollout in words; empty: none is under way, and the last one went live."""
        if self.candidate is None:
            return "the last was undone, see ./tingsu history" if self.state == "undone" else ""
        by = f" (pid {self.pid})" if self.pid else ""
        return f"version {self.candidate}: {self.state}{f', {self.progress}' if self.progress else ''}{by}"


def every(home: Path) -> tuple[Standing, ...]:
    """Of every target that something was rolled out to."""
    return tuple(_of(targets.read(home, name), home) for name in targets.known(home))


def _of(record: Record, home: Path) -> Standing:
    file, is_open = targets.lock_file(home, record.target), not record.is_finished
    holder = lock.holder(file)
    return Standing(
        name=record.target,
        state=record.state,
        url=record.endpoint,
        pid=int(holder) if is_open and holder.isdigit() and lock.is_held(file) else None,
        live=record.live.version if record.live else None,
        candidate=record.subject.version if is_open else None,
        progress=_step(record.canary) if record.canary and record.state == "canary" else record.steps[-1].note,
    )


def _step(canary: Canary) -> str:
    state, steps = canary.judged, canary.judged.settings.steps
    step, requests = steps[state.step], state.calls + state.pending.candidate.requests
    return (
        f"step {state.step + 1} of {len(steps)} with {step.weight:.0%} of the traffic, {requests} of {step.calls} requests of its own "
        f"and {state.seconds:.0f} of {step.seconds:g} s"
    )
