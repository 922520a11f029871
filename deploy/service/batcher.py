"""Dynamic batching: calls of many requests share prefills; the queue is bounded and every request has a deadline.

Two lanes take turns, so that a request of 1,000 calls does not delay single ones, nor they starve it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import EngineUnavailable
from deploy.engines import LEAST_TOKENS, Scores

log = logging.getLogger(__name__)
Prompt = tuple[int, ...]
SMALL_CALLS = 8  # a request of at most so many calls goes into the quick lane
BATCH_S = 0.25  # about how long one prefill may hold up the calls behind it
USEFUL_TOKENS = 2048  # however slow the engine is: of fewer, weights are read for too few rows (0.6B on CPU: half as long again a call)


class Overloaded(EngineUnavailable):
    """The queue is full, or would not be worked off before the deadline; refused at once."""

    code = "overloaded"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(EngineUnavailable):
    """The engine loads or restarts; refused at once."""

    code = "not_ready"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(EngineUnavailable):
    """Accepted, but not answered in time."""

    code = "deadline_exceeded"


class Meter(Protocol):
    """What the batcher reports about itself."""

    def batch(self, calls: int, tokens: int, waited_s: Sequence[float]) -> None:
        """One prefill was done, over calls that had waited this long each."""
        ...


@dataclass(frozen=True)
class Limits:
    """As configs.settings.ServeSettings."""

    batch_tokens: int
    max_wait_s: float
    queue_calls: int
    deadline_s: float


@dataclass
class _Ticket:
    """A request: its rows come back in any order and leave together."""

    done: "asyncio.Future[None]"
    logprobs: list[NDArray[np.float32]]
    label_mass: list[float]
    missing: int


@dataclass
class _Item:
    prompt: Prompt
    ticket: _Ticket
    row: int
    since: float


@dataclass
class _Speed:
    """Tokens a second: follows improvements at once and losses slowly, for small batches understate it."""

    tokens_s: float | None = None

    def learn(self, tokens: int, seconds: float) -> None:
        seen = tokens / max(seconds, 1e-6)
        self.tokens_s = max(seen, 0.9 * (self.tokens_s or seen) + 0.1 * seen)

    def seconds(self, tokens: int) -> float:
        return tokens / self.tokens_s if self.tokens_s else 0.0


@dataclass
class Batcher:
    """`run` is its one worker; `submit` is called by every request."""

    score: Callable[[Sequence[Prompt]], Awaitable[Scores]]
    limits: Limits
    meter: Meter
    waiting_calls: int = 0
    waiting_tokens: int = 0
    _fits_tokens: int | None = None
    _lanes: tuple[deque[_Item], deque[_Item]] = field(default_factory=lambda: (deque(), deque()))
    _turn: int = 0
    _last_calls: int = 1
    _flying_tokens: int = 0
    _speed: _Speed = field(default_factory=_Speed)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def batch_tokens(self) -> int:
        """The most tokens of a batch: as set, or fewer since memory did not suffice."""
        return min(self.limits.batch_tokens, self._fits_tokens or self.limits.batch_tokens)

    def shrink(self, tokens: int) -> None:
        """Batches of at most so many tokens from now on, whatever is set: memory did not suffice for more."""
        if tokens < self.batch_tokens:
            self._fits_tokens = max(tokens, LEAST_TOKENS)
            log.warning("batches shrunk for memory", extra={"batch_tokens": self._fits_tokens})

    async def submit(self, prompts: Sequence[Prompt]) -> Scores:
        """Scores of one request, in order.

        Raises:
            Overloaded: at once, when it could not be answered in time.
            DeadlineExceeded: after the deadline.
            EngineUnavailable: the engine died with it.

        Cancelled, or late, it leaves the queue to others at once.
        """
        self._admit(prompts)
        loop = asyncio.get_running_loop()
        n = len(prompts)
        ticket = _Ticket(loop.create_future(), [np.empty(0, np.float32)] * n, [0.0] * n, n)
        self._enqueue([_Item(prompt, ticket, row, loop.time()) for row, prompt in enumerate(prompts)])
        try:
            async with asyncio.timeout(self.limits.deadline_s):
                await ticket.done
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"{n} calls were not answered within {self.limits.deadline_s:g} s; send fewer at a time"
            ) from error
        finally:
            if ticket.missing:
                self._withdraw(ticket)
        return Scores(np.stack(ticket.logprobs), np.array(ticket.label_mass, np.float32))

    def learn(self, tokens: int, seconds: float) -> None:
        """What a batch took, so that the first requests are judged by it too."""
        self._speed.learn(tokens, seconds)

    async def run(self) -> None:
        """Form batches and have them scored, one at a time, until cancelled."""
        while True:
            await self._arrived.wait()
            await self._company()
            batch = self._take()
            if batch:
                await self._serve(batch)

    def _admit(self, prompts: Sequence[Prompt]) -> None:
        tokens = sum(map(len, prompts))
        wait_s = self._speed.seconds(self.waiting_tokens + self._flying_tokens)
        if self.waiting_calls + len(prompts) > self.limits.queue_calls:
            raise Overloaded(f"{self.waiting_calls} calls wait and {self.limits.queue_calls} may", max(wait_s, 1.0))
        total_s = wait_s + self._speed.seconds(tokens)
        if total_s > self.limits.deadline_s:
            raise Overloaded(
                f"the answer would take about {ceil(total_s)} s and {self.limits.deadline_s:g} s are allowed",
                max(wait_s, 1.0),
            )

    def _enqueue(self, items: Sequence[_Item]) -> None:
        self._lanes[len(items) > SMALL_CALLS].extend(items)
        self._count(items, +1)
        self._arrived.set()

    async def _company(self) -> None:
        """Wait shortly for as many calls as the last batch had: its callers are about to come back."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.limits.max_wait_s
        while self.waiting_calls < self._last_calls and (left := until - loop.time()) > 0:
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                break

    def _take(self) -> list[_Item]:
        """The next batch, from both lanes in turn; calls nobody waits for any more are dropped."""
        room = self._room()
        batch: list[_Item] = []
        while self.waiting_calls:
            lane = self._lanes[self._turn] or self._lanes[1 - self._turn]
            item = lane[0]
            if not item.ticket.done.done():
                if batch and len(item.prompt) > room:
                    break
                batch.append(item)
                room -= len(item.prompt)
                self._turn = 1 - self._turn
            self._count([lane.popleft()], -1)
        if self.waiting_calls:
            self._arrived.set()
        else:
            self._arrived.clear()
        self._last_calls = max(len(batch), 1)
        return batch

    def _room(self) -> int:
        """Tokens of the next batch: what takes about BATCH_S, within the limits."""
        wanted = int((self._speed.tokens_s or 0) * BATCH_S)
        return min(max(wanted, USEFUL_TOKENS), self.batch_tokens)

    async def _serve(self, batch: Sequence[_Item]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._flying_tokens = tokens = sum(len(item.prompt) for item in batch)
        try:
            scores = await self.score([item.prompt for item in batch])
        except EngineUnavailable as error:
            self._fail(batch, error)
            return
        finally:
            self._flying_tokens = 0
        self._speed.learn(tokens, loop.time() - started)
        self.meter.batch(len(batch), tokens, [started - item.since for item in batch])
        for i, item in enumerate(batch):
            _deliver(item, scores.logprobs[i], float(scores.label_mass[i]))

    def _fail(self, batch: Sequence[_Item], error: EngineUnavailable) -> None:
        """Everybody who waits is told now: a fresh engine may need longer than their deadlines."""
        waiting = [item for lane in self._lanes for item in lane]
        self._count(waiting, -1)
        for lane in self._lanes:
            lane.clear()
        self._arrived.clear()
        for item in (*batch, *waiting):
            if not item.ticket.done.done():
                item.ticket.done.set_exception(error)

    def _withdraw(self, ticket: _Ticket) -> None:
        for lane in self._lanes:
            self._count([item for item in lane if item.ticket is ticket], -1)
            others = [item for item in lane if item.ticket is not ticket]
            lane.clear()
            lane.extend(others)

    def _count(self, items: Sequence[_Item], sign: int) -> None:
        self.waiting_calls += sign * len(items)
        self.waiting_tokens += sign * sum(len(item.prompt) for item in items)


def _deliver(item: _Item, logprobs: NDArray[np.float32], label_mass: float) -> None:
    ticket = item.ticket
    ticket.logprobs[item.row], ticket.label_mass[item.row] = logprobs, label_mass
    ticket.missing -= 1
    if not ticket.missing and not ticket.done.done():
        ticket.done.set_result(None)
