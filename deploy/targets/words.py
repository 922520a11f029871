"""What a person tells a rollout that another process carries out: go on, or take it back. A small file each beside its record."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from data_contracts.schema import Frozen
from deploy.store import write_atomically

Kind = Literal["approve", "withdraw"]


class Word(Frozen):
    """`rollout`: the id of the one that is meant, so that no later one takes it for its own."""

    kind: Kind
    version: int
    rollout: str
    by: str
    why: str
    at: str

    @property
    def told(self) -> str:
        """By whom, when, why."""
        return f"by {self.by} at {self.at}{f': {self.why}' if self.why else ''}"


def leave(home: Path, target: str, word: Word) -> None:
    """Say it; the process that carries the rollout out looks several times a second.

    Raises:
        ResourceInsufficient, StoreUnavailable: the disk is full or not writable.
    """
    write_atomically(_file(home, target, word.kind), word.model_dump_json(indent=1).encode())


def find(home: Path, target: str, kind: Kind, rollout: str) -> Word | None:
    """What was said about the rollout of that id, if anything. A file that cannot be read says nothing."""
    try:
        word = Word.model_validate_json(_file(home, target, kind).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return word if word.rollout == rollout else None


def lock_file(home: Path, target: str) -> Path:
    """Held by whoever approves: of two at once, the second is told of the first."""
    return home / f"rollouts/{target}.approve.lock"


def _file(home: Path, target: str, kind: Kind) -> Path:
    return home / f"rollouts/{target}.{kind}.json"
