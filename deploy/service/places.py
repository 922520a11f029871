"""The engine's slots, as the service gives them to texts: in order, a bounded number of them waiting, none given twice."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from configs.serving import GenerateSettings
from deploy.service.refusals import DeadlineExceeded, Overloaded
from deploy.service.texts import Text


@dataclass
class Place:
    """A slot. `text`: the last that was begun in it."""

    text: Text | None = None


class Places:
    """As many as the engine has slots. One is free again when nobody holds it and the engine works on its text no more: a caller who
    leaves frees it at the engine's next step."""

    def __init__(self, limits: GenerateSettings) -> None:
        self.limits = limits
        self.waiting = self._reading = 0
        self._free = asyncio.Semaphore(limits.slots)

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Room among those that wait, for what is being read.

        Raises:
            Overloaded: there is none.
        """
        self._require_room()
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Place]:
        """A place, until the block ends.

        Raises:
            Overloaded: too many wait.
            DeadlineExceeded: it waited too long.
        """
        self._require_room()
        await self._taken()
        place = Place()
        try:
            yield place
        finally:
            if place.text is None:
                self._free.release()
            else:  # never awaited here: whoever holds it may be cancelled again and again
                place.text.ended.add_done_callback(lambda _: self._free.release())

    def _require_room(self) -> None:
        """Texts that are read are counted as waiting, and may take the places that are free."""
        before, most = self.waiting + self._reading, self.limits.queue
        if before >= most + (0 if self._free.locked() else self.limits.slots):
            raise Overloaded(f"{before} texts wait and {most} may", self.limits.wait_s)

    async def _taken(self) -> None:
        wait_s = self.limits.wait_s
        self.waiting += 1
        try:
            async with asyncio.timeout(wait_s):
                await self._free.acquire()
        except TimeoutError as error:
            raise DeadlineExceeded(f"no slot became free within {wait_s:g} s; ask again later") from error
        finally:
            self.waiting -= 1
