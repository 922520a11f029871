"""Places of an engine that each keep the keys and values of what they read last, so that a longer prompt costs only what is new."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Slots:
    """So many prompts at a time. Whoever comes gets the free place that knows most of its prompt already."""

    def __init__(self, count: int) -> None:
        self._known: dict[int, tuple[int, ...]] = dict.fromkeys(range(count), ())
        self._free = list(range(count))
        self._freed = threading.Condition()

    @contextmanager
    def held(self, prompt: Sequence[int]) -> Iterator[int]:
        """A place, waited for, until the block ends; it knows the prompt afterwards. `note` tells it what else was read."""
        with self._freed:
            self._freed.wait_for(lambda: self._free)
            # the least recently freed of the equals: what was read just now may be asked for again
            place = max(self._free, key=lambda at: common(self._known[at], prompt))
            self._free.remove(place)
            self._known[place] = tuple(prompt)
        try:
            yield place
        finally:
            with self._freed:
                self._free.append(place)
                self._freed.notify()

    def note(self, place: int, ids: Sequence[int]) -> None:
        """What a place that is held has read by now."""
        self._known[place] = tuple(ids)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading ids two prompts share."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
