"""Calls that wait for a prefill, in two lanes that take turns: a request of 1,000 calls does not delay single ones, nor they starve it."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import TingsuError

Prompt = tuple[int, ...]
SMALL_CALLS = 8  # a request of at most so many calls goes into the quick lane


@dataclass
class Ticket:
    """A request: its rows come back in any order and leave together, until the loop's clock says `until`."""

    done: "asyncio.Future[None]"
    until: float
    logprobs: list[NDArray[np.float32]]
    label_mass: list[float]
    missing: int

    @classmethod
    def of(cls, calls: int, until: float) -> "Ticket":
        """For so many calls, of which none is answered."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        return cls(done, until, [np.empty(0, np.float32)] * calls, [0.0] * calls, calls)

    def deliver(self, row: int, logprobs: NDArray[np.float32], label_mass: float) -> None:
        """One call was scored."""
        self.logprobs[row], self.label_mass[row] = logprobs, label_mass
        self.missing -= 1
        if not self.missing and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: TingsuError) -> None:
        """The request is answered with this, unless it has been answered."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass
class Item:
    """A call. `failures`: how often the engine died while it worked on this call, among others or alone, or had no answer to it."""

    prompt: Prompt
    ticket: Ticket
    row: int
    since: float
    failures: int = 0

    @property
    def is_wanted(self) -> bool:
        return not self.ticket.done.done()


@dataclass
class Lanes:
    """Counts what waits."""

    calls: int = 0
    tokens: int = 0
    _lanes: tuple[deque[Item], deque[Item]] = field(default_factory=lambda: (deque(), deque()))
    _turn: int = 0

    def __iter__(self) -> Iterator[Item]:
        for lane in self._lanes:
            yield from lane

    def add(self, items: Sequence[Item]) -> None:
        """The calls of a request, at the end of its lane."""
        self._lane(items[0]).extend(items)
        self._count(items, +1)

    def put_back(self, items: Sequence[Item]) -> None:
        """Calls that were taken, at the front again."""
        for item in reversed(items):
            self._lane(item).appendleft(item)
        self._count(items, +1)

    def take(self, room: int) -> list[Item]:
        """The next batch, of at most `room` tokens or one call, from both lanes in turn; what nobody waits for is dropped.

        A call that the engine may have failed over goes alone: the next time it can take no other with it.
        """
        batch: list[Item] = []
        while self.calls:
            lane = self._lanes[self._turn] or self._lanes[1 - self._turn]
            item = lane[0]
            if item.is_wanted:
                if batch and (len(item.prompt) > room or item.failures or batch[0].failures):
                    break
                batch.append(item)
                room -= len(item.prompt)
                self._turn = 1 - self._turn
            self._count([lane.popleft()], -1)
        return batch

    def withdraw(self, ticket: Ticket) -> None:
        """Nobody waits for this request any more."""
        for lane in self._lanes:
            self._count([item for item in lane if item.ticket is ticket], -1)
            others = [item for item in lane if item.ticket is not ticket]
            lane.clear()
            lane.extend(others)

    def _lane(self, item: Item) -> deque[Item]:
        return self._lanes[len(item.ticket.logprobs) > SMALL_CALLS]

    def _count(self, items: Sequence[Item], sign: int) -> None:
        self.calls += sign * len(items)
        self.tokens += sign * sum(len(item.prompt) for item in items)
