"""Where a version can be rolled out to: one small interface for every target, and the record each step leaves."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Literal, Protocol

from pydantic import ValidationError

from data_contracts.errors import Busy, ConfigurationError
from data_contracts.messages import Said, told
from data_contracts.schema import Frozen
from deploy.canary import judge
from deploy.operate import lock
from deploy.operate.canary_window import Look
from deploy.store import write_atomically
from deploy.targets.words import Word

State = Literal["planned", "staged", "verified", "awaiting", "canary", "switching", "live", "undoing", "undone"]


class Placed(Frozen):
    """A version where a target can run it: `folder` holds the bundle on this machine, its verdict beside it.

    `emergency`: who let it serve against the gate's answer, until when and why; empty under the gate's PROMOTE."""

    version: int
    bundle_digest: str
    folder: str
    verdict_signature: str
    emergency: str = ""

    def is_same(self, other: "Placed | None") -> bool:
        """Whether it is the same version; another verdict on it makes no other one of it."""
        return other is not None and (self.version, self.bundle_digest) == (other.version, other.bundle_digest)


class Step(Frozen):
    """A state, when it was reached, and what there is to say about it."""

    state: State
    at: str
    note: str = ""


class Canary(Frozen):
    """How far a canary is. `began_s`: on the controller's clock; `judged`: what the judge knows; `look`: the last; `judgement`: the
    newest, which is the evidence.

    What a look brings is written together, so that a controller that was killed goes on from there and judges nothing twice.
    """

    began_s: float
    judged: judge.State
    look: Look | None = None
    judgement: judge.Judgement | None = None


class Record(Frozen):
    """What a target serves and the rollout it is in, or had last. `live` changes only when a rollout ends as live.

    `id` names the rollout. `is_return`: it goes back to the previous version, which was tried when it came. `canary` and `approval`
    are this rollout's.
    """

    target: str
    id: str = ""
    live: Placed | None = None
    previous: Placed | None = None
    endpoint: str = ""
    candidate: Placed | None = None
    is_return: bool = False
    steps: tuple[Step, ...] = ()
    approval: Word | None = None
    canary: Canary | None = None

    @property
    def state(self) -> State | None:
        return self.steps[-1].state if self.steps else None

    @property
    def subject(self) -> Placed:
        """The candidate of a rollout that was planned."""
        assert self.candidate is not None
        return self.candidate

    @property
    def is_finished(self) -> bool:
        return self.state in (None, "live", "undone")

    def at(self, state: State, now: str, note: str = "") -> "Record":
        """The record with one more state reached."""
        return self.model_copy(update={"steps": (*self.steps, Step(state=state, at=now, note=note))})


class Status(Frozen):
    """What a target does now, asked of the target itself. `serving`: the digest of the bundle that answers, or as much of
    its beginning as the target knows; None: none answers. `untold`: why that could not be found out; empty: it was."""

    endpoint: str
    serving: str | None
    detail: str
    untold: str = ""


class Change(Frozen):
    """One thing a rollout would change, exactly: a file's path or an object's name, its text now and then; empty: not there."""

    what: str
    before: str
    after: str


class Target(Protocol):
    """A place versions are rolled out to. Every method may be called again after a crash in the middle of it.

    All but `changes` and `status` raise a TingsuError when they cannot do their part; the controller then calls `undo`.
    `mend`, `clear`: what a person looks at where it does not do its part, and how one ends what it serves; clauses of a sentence.
    """

    name: str

    @property
    def mend(self) -> str:
        """See above."""
        ...

    @property
    def clear(self) -> str:
        """See above."""
        ...

    def changes(self, candidate: Placed) -> tuple[Change, ...]:
        """What a rollout of it would change, in the order it would; touches nothing."""
        ...

    def unsplit(self, candidate: Placed) -> str:
        """Why it can give the candidate no share of the traffic, as far as is known before it is staged, or once it is; empty: it
        can. Without, there is no canary, and the log and the record say so.

        Raises:
            ConfigurationError: a person can mend that first, and is told how.
        """
        ...

    def stage(self, candidate: Placed) -> None:
        """Start the candidate beside what serves, without traffic."""
        ...

    def verify(self, candidate: Placed) -> None:
        """Check every endpoint of the staged candidate: health, model info, parity, golden requests, a short load."""
        ...

    def weigh(self, candidate: Placed, share: float) -> str:
        """Send a share in [0, 1) of the traffic, each request at random, to the staged candidate, the rest to what is live;
        return the endpoint."""
        ...

    def look(self, candidate: Placed, at_s: float) -> Look:
        """Both sides' counters at the moment `at_s`, while traffic is split.

        Raises:
            ChampionUnavailable: the side that is live does not answer; the candidate is not to blame, it is looked again.
            EngineUnavailable: the candidate does not answer.
        """
        ...

    def switch(self, candidate: Placed) -> str:
        """Give the candidate all the traffic, check it there, and return its endpoint; nothing stays staged. What was live
        until now stays loaded where `rollout.keep_previous` asks for it, so that a switch back is quick."""
        ...

    def undo(self, live: Placed | None, candidate: Placed) -> None:
        """Give `live`, if any, all the traffic first (in less than 5 s where it is still loaded) and check it; then withdraw what
        is staged of the candidate. Without `live` only what of this candidate is staged or half switched goes: whatever else
        the target serves, which this home may not know of, is left as it is."""
        ...

    def held(self, by: str) -> AbstractContextManager[None]:
        """While the block runs nobody else rolls out to this target, from whatever home or machine. A holder that died, or
        whose machine did, holds it no more.

        Raises:
            Busy: somebody does; names who, and since when.
        """
        ...

    def status(self) -> Status:
        """What serves now."""
        ...


def read(home: Path, target: str) -> Record:
    """The target's record; an empty one before its first rollout.

    Raises:
        ConfigurationError: the file is damaged.
    """
    path = _file(home, target)
    try:
        return Record.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Record(target=target)
    except ValidationError as error:
        raise ConfigurationError(
            f"{path} is no rollout record; `./tingsu status` shows what runs. Move the file away and roll out again"
        ) from error


def write(home: Path, record: Record) -> Record:
    """Keep the record, atomically; returns it."""
    write_atomically(_file(home, record.target), record.model_dump_json(indent=1).encode())
    return record


@contextmanager
def alone(home: Path, target: Target, by: str) -> Iterator[None]:
    """The only one who rolls out to this target while the block runs: of this home, and of all others.

    Raises:
        Busy: another one does; nothing was touched.
    """
    path = lock_file(home, target.name)
    with ExitStack() as held:
        try:
            held.enter_context(lock.held(path, wait=False))
        except BlockingIOError as error:
            raise Busy(
                f"a rollout to {target.name} is under way (pid {lock.holder(path)}); nothing was touched. Run this again when "
                "it has ended"
            ) from error
        held.enter_context(target.held(by))
        yield


def waits(record: Record) -> Said:
    """Whom a staged and verified version waits for."""
    return told("approval_awaited", version=record.subject.version, target=record.target)


def known(home: Path) -> tuple[str, ...]:
    """Every target that something was rolled out to."""
    return tuple(p.stem for p in sorted((home / "rollouts").glob("*.json")) if "." not in p.stem)


def lock_file(home: Path, target: str) -> Path:
    """Held by the one rollout a target may have."""
    return home / f"rollouts/{target}.lock"


def _file(home: Path, target: str) -> Path:
    return home / f"rollouts/{target}.json"
