"""Dynamic batching: calls of many requests share prefills; the queue is bounded and every request has a deadline.

A request is counted from its arrival, while it is still being read. When the engine dies, who waits goes on waiting if a fresh one
can be there in time, and what it worked on is asked once more.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

import numpy as np

from data_contracts.errors import EngineUnavailable, ResourceInsufficient, TingsuError
from deploy.engines import LEAST_TOKENS, RowsFailed, Scores
from deploy.service.lanes import Item, Lanes, Prompt, Ticket
from deploy.service.refusals import CallTooLarge, EngineDied, Overloaded

log = logging.getLogger(__name__)
TRIES = 2
"""A call over which the engine died so often, or failed, is given up."""
BATCH_S = 0.25  # about how long one prefill may hold up the calls behind it
WAIT_SHARE = 0.05  # of the last prefill's time a batch may wait for company: a call alone costs much more than that
USEFUL_TOKENS = 2048  # however slow the engine is: of fewer, weights are read for too few rows (0.6B on CPU: half as long again a call)


class Scorer(Protocol):
    """One engine, and a fresh one whenever it dies."""

    @property
    def is_ready(self) -> bool:
        """Whether it may be asked."""
        ...

    @property
    def back_in_s(self) -> float:
        """About how long until it is ready again."""
        ...

    async def until_ready(self) -> None:
        """Return when it may be asked."""
        ...

    async def score(self, prompts: Sequence[Prompt]) -> Scores:
        """Scores of one batch.

        Raises:
            RowsFailed: some of the batch cannot be scored; the engine lives.
            EngineUnavailable: it died.
        """
        ...


class Meter(Protocol):
    """What the batcher reports about itself."""

    def batch(self, calls: int, tokens: int, waited_s: Sequence[float]) -> None:
        """One prefill was done, over calls that had waited this long each."""
        ...


@dataclass(frozen=True)
class Limits:
    """As configs.serving.ServeSettings."""

    batch_tokens: int
    max_wait_s: float
    queue_calls: int
    deadline_s: float


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
    """`run` works it off, one batch an engine at a time; every request is `admitted`, then read, then `submit`ted."""

    engine: Scorer
    limits: Limits
    meter: Meter
    _reading_calls: int = 0
    _fits_tokens: int | None = None
    _lanes: Lanes = field(default_factory=Lanes)
    _company_calls: int = 1
    _last_s: float = 0.0
    _flying_tokens: int = 0
    _speed: _Speed = field(default_factory=_Speed)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    others: tuple[Scorer, ...] = ()

    @property
    def waiting_calls(self) -> int:
        """Calls that are being read or wait for a prefill."""
        return self._reading_calls + self._lanes.calls

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is worked on."""
        return not self.waiting_calls and not self._flying_tokens

    @property
    def _engines(self) -> tuple[Scorer, ...]:
        return (self.engine, *self.others)

    @property
    def _away_s(self) -> float:
        """About how long until one of the engines may be asked."""
        return min(engine.back_in_s for engine in self._engines)

    @property
    def _wait_s(self) -> float:
        """About how long what is there already takes the engines that are."""
        at_work = max(1, sum(engine.is_ready for engine in self._engines))
        return self._speed.seconds(self.waiting_tokens + self._flying_tokens) / at_work

    @property
    def waiting_tokens(self) -> int:
        """Of the calls that were read."""
        return self._lanes.tokens

    @property
    def batch_tokens(self) -> int:
        """The most tokens of a batch: as set, or fewer since memory did not suffice."""
        return min(self.limits.batch_tokens, self._fits_tokens or self.limits.batch_tokens)

    def shrink(self, tokens: int) -> None:
        """Batches of at most so many tokens from now on, whatever is set: memory did not suffice for more."""
        if tokens < self.batch_tokens:
            self._fits_tokens = max(tokens, LEAST_TOKENS)
            log.warning("batches shrunk for memory", extra={"batch_tokens": self._fits_tokens})

    @contextmanager
    def admitted(self, calls: int, until: float) -> Iterator[None]:
        """Room in the queue for calls that are being read; `submit` them right behind it.

        Raises:
            Overloaded: there is none, or what waits already takes until after the deadline.
        """
        if self.waiting_calls + calls > self.limits.queue_calls:
            wait_s = self._wait_s
            raise Overloaded(f"{self.waiting_calls} calls wait and {self.limits.queue_calls} may", max(wait_s, 1.0))
        self._require_in_time(0, until)
        self._reading_calls += calls
        try:
            yield
        finally:
            self._reading_calls -= calls

    async def submit(self, prompts: Sequence[Prompt], until: float) -> Scores:
        """Scores of one request, in order. Cancelled, it leaves the queue to others at once.

        Raises:
            Overloaded: at once, when it could not be answered before the loop's clock says `until`.
            EngineDied: and it could not be answered by a fresh engine.
            TingsuError: one of the prompts cannot be scored.
        """
        self._require_in_time(sum(map(len, prompts)), until)
        loop = asyncio.get_running_loop()
        ticket = Ticket.of(len(prompts), until)
        self._lanes.add([Item(prompt, ticket, row, loop.time()) for row, prompt in enumerate(prompts)])
        self._arrived.set()
        try:
            self._give_up_late()
            await ticket.done
        finally:
            if ticket.missing:
                self._lanes.withdraw(ticket)
        return Scores(np.stack(ticket.logprobs), np.array(ticket.label_mass, np.float32))

    def learn(self, tokens: int, seconds: float) -> None:
        """What a batch took, so that the first requests are judged by it too."""
        self._speed.learn(tokens, seconds)

    async def run(self) -> None:
        """Form batches and have them scored, each engine one at a time, until cancelled; who waits then is told."""
        try:
            async with asyncio.TaskGroup() as group:
                for engine in self._engines:
                    group.create_task(self._work(engine))
        finally:
            for item in self._lanes:
                item.ticket.fail(EngineUnavailable("the engine was stopped"))

    async def _work(self, engine: Scorer) -> None:
        while True:
            await self._arrived.wait()
            await engine.until_ready()
            await self._company()
            if engine.is_ready and (batch := self._take()):
                await self._serve(engine, batch)

    def _require_in_time(self, tokens: int, until: float) -> None:
        left_s = until - asyncio.get_running_loop().time()
        wait_s = self._wait_s
        total_s = wait_s + self._speed.seconds(tokens)
        if total_s > left_s:
            raise Overloaded(
                f"the answer would take about {ceil(total_s)} s and {left_s:.1f} s are left", max(wait_s, 1.0)
            )

    async def _company(self) -> None:
        """Wait shortly for as many calls as there were when the last batch was done: its callers are about to come back."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (self.limits.max_wait_s and max(self.limits.max_wait_s, WAIT_SHARE * self._last_s))
        while (
            self._lanes.calls < self._company_calls
            and self._lanes.tokens < self._room()
            and (left := until - loop.time()) > 0
        ):
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                break
        self._mark()  # also where the engine died meanwhile, and no batch is taken

    def _take(self) -> list[Item]:
        batch = self._lanes.take(self._room())
        self._mark()
        return batch

    def _mark(self) -> None:
        if self._lanes.calls:
            self._arrived.set()
        else:
            self._arrived.clear()

    def _room(self) -> int:
        """Tokens of the next batch: what takes about BATCH_S, within the limits."""
        wanted = int((self._speed.tokens_s or 0) * BATCH_S)
        return min(max(wanted, USEFUL_TOKENS), self.batch_tokens)

    async def _serve(self, engine: Scorer, batch: Sequence[Item]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        tokens = sum(len(item.prompt) for item in batch)
        self._flying_tokens += tokens
        failed: dict[int, TingsuError] = {}
        try:
            scores = await engine.score([item.prompt for item in batch])
        except RowsFailed as error:
            scores, failed = error.scores, error.failed
        except EngineUnavailable:
            self._once_more(batch)
            return
        except BaseException:
            for item in batch:
                item.ticket.fail(EngineUnavailable("the engine was stopped"))
            raise
        finally:
            self._flying_tokens -= tokens
        self._last_s, self._company_calls = loop.time() - started, len(batch) + self.waiting_calls
        if not failed:  # a batch that fails at once says nothing of how fast it would have been
            self._speed.learn(tokens, self._last_s)
        self.meter.batch(len(batch), tokens, [started - item.since for item in batch])
        for i, item in enumerate(batch):
            if i not in failed:
                item.ticket.deliver(item.row, scores.logprobs[i], float(scores.label_mass[i]))
            elif not isinstance(failed[i], EngineUnavailable):
                is_memory = isinstance(failed[i], ResourceInsufficient)
                item.ticket.fail(CallTooLarge(str(failed[i]), item.row + 1) if is_memory else failed[i])
        self._once_more([batch[i] for i, error in failed.items() if isinstance(error, EngineUnavailable)])

    def _once_more(self, items: Sequence[Item]) -> None:
        """Ask again, each call alone, what the engine died of or had no answer to; what it has no answer to alone is given up."""
        for item in items:
            item.failures += 1
            if item.failures >= TRIES:
                item.ticket.fail(EngineDied("the engine failed twice over this call", max(self._away_s, 1.0)))
        self._lanes.put_back([item for item in items if item.is_wanted])
        self._give_up_late()
        self._mark()

    def _give_up_late(self) -> None:
        """Tell now whoever cannot be answered in time, for the engine is away for longer."""
        away_s = self._away_s
        back_at = asyncio.get_running_loop().time() + away_s
        for item in self._lanes if away_s else ():
            if item.ticket.until < back_at:
                item.ticket.fail(EngineDied("the engine is being restarted", away_s))
