"""All of a target stopped, or started again, by a command that is no rollout: one that was cut off ends with it, and the history tells."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from deploy import targets
from deploy.targets import Record, Target, left_behind
from tasks.book import Book
from tasks.controller import Controller

T = TypeVar("T")


def stop(target: Target, home: Path, by: str, how: str, end: Callable[[], T], *, forgets: bool = False) -> T:
    """What `end` answers, which ends all that the target serves.

    Args:
        how: the command, for the history.
        forgets: the versions cannot be gone back to any more.

    Raises:
        Busy: a rollout is under way; nothing was touched.
    """
    with targets.alone(home, target, by):
        answer = end()
        book = Book(home, target.name, by)
        record = book.read()
        if not record.is_finished and (forgets or record.state != "awaiting"):
            said = f"version {record.subject.version} is not live: {how} ended all that {target.name} ran"
            record = book.undone(record, said)
        if record.live is not None and not book.is_stopped():
            book.moved("stopped", record.live, how)
        if forgets:
            targets.write(home, Record(target=target.name))
    return answer


def started(control: Controller, how: str, limit_s: float) -> None:
    """After what is live was started: a rollout that nobody carries out, and no person is asked about, is taken back.

    Raises:
        RolloutFailed: what served before it cannot be brought back.
    """
    book, record = control.book, control.book.read()
    left = left_behind.find(control.home, record.target)
    if left is not None and left.is_fault:
        record = control.withdraw(f"{how} found it cut off", limit_s)
    now = control.target.status()
    if record.live is not None and now.serving is not None and book.is_stopped():
        book.moved("started", record.live, how, now.endpoint)
