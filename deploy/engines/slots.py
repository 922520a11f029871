"""Places of an engine that each keep the keys and values of what they read last, so that a longer prompt costs only what is new."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from deploy.engines import GoesOn, Unwanted, always

ASK_S = 0.1
"""How often one that waits is asked whether it still does."""


class Slots:
    """So many prompts at a time. Whoever comes gets the free place that knows most of its prompt already."""

    def __init__(self, count: int) -> None:
        self._known: dict[int, tuple[int, ...]] = dict.fromkeys(range(count), ())
        self._free = list(range(count))
        self._freed = threading.Condition()

    @contextmanager
    def held(self, prompt: Sequence[int], goes_on: GoesOn = always) -> Iterator[int]:
        """A place, waited for, until the block ends. `note` tells it what was read.

        Raises:
            Unwanted: it was not worth the wait.
        """
        with self._freed:
            while not self._freed.wait_for(lambda: self._free, ASK_S):
                if not goes_on():
                    raise Unwanted
            # the least recently freed of the equals: what was read just now may be asked for again
            place = max(self._free, key=lambda at: common(self._known[at], prompt))
            self._free.remove(place)
        try:
            yield place
        finally:
            with self._freed:
                self._free.append(place)
                self._freed.notify()

    def known(self, place: int, prompt: Sequence[int]) -> int:
        """How many leading ids of this prompt a place that is held has read before."""
        return common(self._known[place], prompt)

    def note(self, place: int, ids: Sequence[int]) -> None:
        """What a place that is held has read by now."""
        self._known[place] = tuple(ids)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading ids two prompts share."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
