"""What the control plane asks for; `flows/console.py` does it."""

from typing import Protocol

from pydantic import Field

from data_contracts.limits import MOST_VERSION
from data_contracts.schema import Frozen
from deploy.operate.needs import Missing
from deploy.operate.stack import Part
from deploy.targets import Placed, Step


class Wish(Frozen):
    """Roll a version out to this machine: `version` is promoted first, null rolls the champion out."""

    version: int | None = Field(default=None, ge=1, le=MOST_VERSION)


class Job(Frozen):
    """A rollout in a process of its own. `last_line` that it wrote to its log, or the error it ended with, in English and Chinese.
    `running` is false once it has ended."""

    running: bool
    pid: int | None
    log: str
    last_line: str = ""


class LocalStatus(Frozen):
    """This machine. `state` and `steps` of the rollout under way, or of the last one; `candidate` of one under way; `serving`: the
    digest of the bundle that answers; `trouble`: what to do about a rollout that was cut off and that nobody watches, or that waits for
    a person, or empty; `missing`: programs that the settings need and that are not installed."""

    mode: str
    endpoint: str
    serving: str | None
    detail: str
    live: Placed | None
    previous: Placed | None
    candidate: Placed | None
    state: str | None
    steps: tuple[Step, ...]
    trouble: str
    job: Job | None
    parts: tuple[Part, ...]
    missing: tuple[Missing, ...]


class Cleaned(Frozen):
    """What was stopped. Bundles, history and settings stay, and what was live can be rolled out again."""

    stopped: tuple[str, ...]


class Backend(Protocol):
    """The product, as the control plane needs it. `by`: whose key it was, for the history. Every method may take seconds."""

    def deploy(self, wish: Wish, by: str) -> Job:
        """Begin a rollout.

        Raises:
            RolloutFailed: one runs.
            ResourceInsufficient: a program that the settings need is missing.
        """
        ...

    def status(self) -> LocalStatus:
        """How this machine is."""
        ...

    def cleanup(self, by: str) -> Cleaned:
        """Stop what serves here and what is staged.

        Raises:
            RolloutFailed: a rollout runs.
        """
        ...
