"""Reading what callers send (cleaning, masking, encoding) beside the event loop: two threads, a part at a time.

A part that was begun is finished; a request that is cancelled, for its caller left or its time is over, has no further part read.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
INLINE_CHARS = 1000
"""A request of fewer characters is read at once: a thread would cost it more."""
PART_CHARS = 20_000
"""At most so many are read at a time, or one text: 3 ms of a transcript, 0.15 s of what is made to be slow (1 1 1 …)."""
QUICK_CHARS = 80_000
"""Requests of more have a thread of their own, where they take turns, so that others do not wait behind them."""


class Reading:
    """The readers of one service. Python's lock goes to and fro between them and the event loop every 5 ms."""

    def __init__(self) -> None:
        self._quick = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._long = ThreadPoolExecutor(1, thread_name_prefix="read-long")

    async def each(
        self, read: Callable[[Item], Result], items: Sequence[Item], chars: Callable[[Item], int]
    ) -> list[Result]:
        """`read` of each item, in order. `chars`: about how many characters an item is to read."""
        sizes = [chars(item) for item in items]
        total = sum(sizes)
        if total < INLINE_CHARS:
            return [read(item) for item in items]
        lane = self._quick if total < QUICK_CHARS else self._long
        done: list[Result] = []
        for part in _parts(items, sizes):
            done += await asyncio.get_running_loop().run_in_executor(lane, _all, read, part)
        return done


def _parts(items: Sequence[Item], sizes: Sequence[int]) -> Iterator[list[Item]]:
    part: list[Item] = []
    room = PART_CHARS
    for item, size in zip(items, sizes, strict=True):
        if part and size > room:
            yield part
            part, room = [], PART_CHARS
        part.append(item)
        room -= size
    if part:
        yield part


def _all(read: Callable[[Item], Result], part: Sequence[Item]) -> list[Result]:
    return [read(item) for item in part]
