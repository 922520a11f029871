"""A share of what the current classifier has answered is asked of the candidate too, afterwards, and whether both agree is counted.

It may cost no caller anything: one request at a time, only while nobody waits for either engine, and dropped when that does not come soon.
The candidate is in the same service, or behind a URL.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from data_contracts.errors import TingsuError
from data_contracts.schema import Call
from deploy.client import Client
from deploy.service import logs
from deploy.service.answers import Answer
from deploy.service.metrics import Metrics

if TYPE_CHECKING:
    from deploy.service.slot import Slot

log = logging.getLogger(__name__)
WAITING = 16
"""Requests that may wait to be mirrored."""
PATIENCE_S = 2.0
LOOK_S = 0.01
MOST_CALLS = 32
"""A larger request would keep the candidate's engine from its own callers for too long."""


class _Answered(NamedTuple):
    calls: tuple[Call, ...]
    categories: tuple[str, ...]


class Mirror:
    """`share` of the answered requests; `url` of another service, empty for the candidate in the same slot."""

    def __init__(self, metrics: Metrics) -> None:
        self.share = 0.0
        self.url = ""
        self._has_failed = False
        self._remote: Client | None = None
        self._metrics = metrics
        self._waiting: asyncio.Queue[_Answered] = asyncio.Queue(WAITING)

    def tune(self, share: float, remote: Client | None) -> None:
        """Have this share asked of this one from now on."""
        if self._remote is not None and remote is not None and self._remote.url == remote.url:
            remote.close()  # told again: what is being asked of it goes on
            self.share = share
            return
        before, self._remote = self._remote, remote
        self.share, self.url = share, "" if remote is None else remote.url
        self._has_failed = False
        if before is not None:
            before.close()

    def offer(self, calls: tuple[Call, ...], answers: Sequence[Answer]) -> None:
        """These were answered; never waits."""
        if not self.share or random.random() >= self.share:
            return
        try:
            if len(calls) > MOST_CALLS:
                raise asyncio.QueueFull
            self._waiting.put_nowait(_Answered(calls, tuple(answer.category.key for answer in answers)))
        except asyncio.QueueFull:
            self._metrics.mirror_dropped.inc(len(calls))

    async def run(self, slot: "Slot") -> None:
        """Ask until cancelled."""
        while True:
            answered = await self._waiting.get()
            try:
                found = await self._ask(slot, answered.calls)
                differ = sum(a != b for a, b in zip(found or (), answered.categories, strict=found is not None))
            except TingsuError:
                found = None
            except Exception as error:  # the outermost boundary of this task: the next calls are compared again
                found = None
                self._tell(error)
            if found is None:
                self._metrics.mirror_dropped.inc(len(answered.calls))
                continue
            self._metrics.mirrored.inc(len(found))
            self._metrics.disagreed.inc(differ)

    def _tell(self, error: Exception) -> None:
        """Once for each candidate: it may go on failing with every call."""
        if not self._has_failed:
            log.error("mirrored calls are dropped", extra={"error": type(error).__name__, "where": logs.where(error)})
        self._has_failed = True

    async def _ask(self, slot: "Slot", calls: tuple[Call, ...]) -> list[str] | None:
        """The candidate's categories; None: it has no time, or there is none.

        Raises:
            TingsuError: it cannot answer.
        """
        remote = self._remote
        if remote is not None:
            answers = await asyncio.to_thread(remote.classify, calls, len(calls))
            return [str(answer["category"]["key"]) for answer in answers]
        if not await _is_quiet(slot) or (candidate := slot.candidate) is None:
            return None
        found = await candidate.classify(calls, asyncio.get_running_loop().time(), None)
        return [answer.category.key for answer in found]


async def _is_quiet(slot: "Slot") -> bool:
    """Whether nobody waits for an engine, soon."""
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE_S
    while loop.time() < until:
        if slot.candidate is None:
            return False
        if slot.current.batcher.is_idle and slot.candidate.batcher.is_idle:
            return True
        await asyncio.sleep(LOOK_S)
    return False
