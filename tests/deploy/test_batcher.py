"""Dynamic batching: order kept, prefills shared, overload refused at once, deadlines kept, a death told to all."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from data_contracts.errors import EngineUnavailable, ResourceInsufficient
from deploy.engines import RowsFailed, Scores
from deploy.service.batcher import Batcher, Limits
from deploy.service.lanes import Prompt
from deploy.service.refusals import CallTooLarge, DeadlineExceeded, EngineDied, Overloaded, before

LIMITS = Limits(batch_tokens=1000, max_wait_s=0.005, queue_calls=100, deadline_s=2.0)


class Bench:
    """A fake engine that notes its batches; it echoes each prompt's first id as its only log-probability.

    It dies in a batch with one of `deadly` first ids, and is back after `away_s`; for `huge` ones it has no memory.
    """

    def __init__(self, delay_s: float = 0.01, away_s: float = 0.05) -> None:
        self.delay_s, self.away_s = delay_s, away_s
        self.batches: list[list[int]] = []
        self.deadly: set[int] = set()
        self.huge: set[int] = set()
        self.is_ready = True
        self.back_in_s = 0.0
        self._up = asyncio.Event()
        self._up.set()

    async def until_ready(self) -> None:
        await self._up.wait()

    async def score(self, prompts: Sequence[Prompt]) -> Scores:
        assert self.is_ready
        first = [p[0] for p in prompts]
        self.batches.append(first)
        await asyncio.sleep(self.delay_s)
        if self.deadly & set(first):
            self.die()
            raise EngineUnavailable("gone")
        scores = Scores(np.array([[i] for i in first], np.float32), np.ones(len(prompts), np.float32))
        if self.huge & set(first):
            why = ResourceInsufficient("does not fit")
            raise RowsFailed(scores, {row: why for row, i in enumerate(first) if i in self.huge})
        return scores

    def die(self) -> None:
        self.is_ready, self.back_in_s = False, self.away_s
        self._up.clear()
        asyncio.get_running_loop().call_later(self.away_s, self.rise)

    def rise(self) -> None:
        self.is_ready, self.back_in_s = True, 0.0
        self._up.set()

    def batch(self, calls: int, tokens: int, waited_s: Sequence[float]) -> None:
        pass


class Queue(Batcher):
    """Asked as the classifier does it: within the deadline of a request that arrives now."""

    async def ask(self, prompts: Sequence[Prompt]) -> Scores:
        until = asyncio.get_running_loop().time() + self.limits.deadline_s
        async with before(until, len(prompts)):
            with self.admitted(len(prompts), until):
                pass
            return await self.submit(prompts, until)


def run(bench: Bench, limits: Limits, scene: Callable[[Queue], Awaitable[None]]) -> None:
    async def play() -> None:
        batcher = Queue(bench, limits, bench)
        worker = asyncio.create_task(batcher.run())
        await asyncio.wait_for(scene(batcher), 20)
        worker.cancel()

    asyncio.run(play())


def prompts(first: int, n: int, tokens: int = 10) -> list[Prompt]:
    return [(first + i,) * tokens for i in range(n)]


def test_many_clients_share_prefills_and_each_gets_its_own_rows() -> None:
    bench = Bench()

    async def scene(batcher: Queue) -> None:
        found = await asyncio.gather(*(batcher.ask(prompts(100 * k, 3)) for k in range(10)))
        for k, scores in enumerate(found):
            assert scores.logprobs[:, 0].tolist() == [100 * k, 100 * k + 1, 100 * k + 2]

    run(bench, LIMITS, scene)
    assert len(bench.batches) < 10


def test_a_batch_stays_within_the_token_limit_and_one_longer_call_still_goes() -> None:
    bench = Bench(0.0)

    async def scene(batcher: Queue) -> None:
        await batcher.ask(prompts(0, 50, tokens=40))
        await batcher.ask(prompts(0, 1, tokens=5000))

    run(bench, replace(LIMITS, batch_tokens=200), scene)
    assert max(map(len, bench.batches)) == 5


def test_a_large_request_does_not_delay_single_calls() -> None:
    bench = Bench(0.02)
    done: list[str] = []

    async def scene(batcher: Queue) -> None:
        async def ask(name: str, n: int) -> None:
            await batcher.ask(prompts(0, n))
            done.append(name)

        big = asyncio.create_task(ask("big", 90))
        await asyncio.sleep(0.03)
        await ask("single", 1)
        await big

    run(bench, replace(LIMITS, batch_tokens=100), scene)
    assert done == ["single", "big"]


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    async def scene(batcher: Queue) -> None:
        busy = asyncio.create_task(batcher.ask(prompts(0, 100)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as caught:
            await batcher.ask(prompts(0, 1))
        assert caught.value.retry_after_s >= 1
        await busy

    run(Bench(), LIMITS, scene)


def test_work_that_cannot_be_done_before_the_deadline_is_refused_at_once() -> None:
    async def scene(batcher: Queue) -> None:
        await batcher.ask(prompts(0, 10))
        with pytest.raises(Overloaded, match="would take"):
            await batcher.ask(prompts(0, 90, tokens=1000))

    run(Bench(0.1), replace(LIMITS, deadline_s=1.0), scene)


def test_a_late_answer_is_an_error_and_its_calls_leave_the_queue() -> None:
    bench = Bench(0.3)

    async def scene(batcher: Queue) -> None:
        first = asyncio.create_task(batcher.ask(prompts(0, 1)))
        await asyncio.sleep(0.1)
        with pytest.raises(DeadlineExceeded):
            await asyncio.gather(first, batcher.ask(prompts(7, 5)))
        await asyncio.sleep(0.5)
        assert batcher.waiting_calls == batcher.waiting_tokens == 0

    run(bench, replace(LIMITS, deadline_s=0.15), scene)
    assert [0] in bench.batches


def test_calls_that_are_still_read_have_their_place_in_the_queue() -> None:
    async def scene(batcher: Queue) -> None:
        until = asyncio.get_running_loop().time() + 2
        with batcher.admitted(60, until):
            assert batcher.waiting_calls == 60
            with pytest.raises(Overloaded):
                await batcher.ask(prompts(0, 41))
            await batcher.ask(prompts(0, 40))
        assert batcher.waiting_calls == 0
        await batcher.ask(prompts(0, 100))

    run(Bench(), LIMITS, scene)


def test_who_waited_when_the_engine_died_and_who_it_worked_for_are_answered_by_the_next_one() -> None:
    bench = Bench(0.05)

    async def scene(batcher: Queue) -> None:
        bench.deadly = {0}
        waiting = [asyncio.create_task(batcher.ask(prompts(20 * k, 20))) for k in range(4)]
        await asyncio.sleep(0.02)
        asyncio.get_running_loop().call_later(0.08, bench.deadly.clear)
        found = await asyncio.gather(*waiting)
        for k, scores in enumerate(found):
            assert scores.logprobs[:, 0].tolist() == list(range(20 * k, 20 * k + 20))

    run(bench, replace(LIMITS, batch_tokens=100), scene)
    assert len(bench.batches[0]) == 10 and all(len(again) == 1 for again in bench.batches[1:11])


def test_a_call_that_the_engine_dies_of_twice_is_given_up_and_takes_no_other_with_it() -> None:
    bench = Bench()

    async def scene(batcher: Queue) -> None:
        bench.deadly = {7}
        found = await asyncio.gather(*(batcher.ask(prompts(i, 1)) for i in range(10)), return_exceptions=True)
        assert [type(f) for f in found] == [Scores] * 7 + [EngineDied] + [Scores] * 2
        assert (await batcher.ask(prompts(1, 1))).logprobs.tolist() == [[1.0]]

    run(bench, LIMITS, scene)
    assert [7] in bench.batches and sum(7 in batch for batch in bench.batches) == 2


def test_who_would_be_late_when_the_engine_is_back_is_told_at_once() -> None:
    bench = Bench(0.05, away_s=10.0)

    async def scene(batcher: Queue) -> None:
        bench.deadly = {0}
        began = asyncio.get_running_loop().time()
        waiting = [asyncio.create_task(batcher.ask(prompts(20 * k, 20))) for k in range(4)]
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, EngineDied) and error.retry_after_s > 5 for error in found)
        with pytest.raises(EngineDied):
            await batcher.ask(prompts(5, 1))
        assert asyncio.get_running_loop().time() - began < 1
        assert batcher.waiting_calls == batcher.waiting_tokens == 0

    run(bench, replace(LIMITS, batch_tokens=100), scene)


def test_a_call_that_waits_for_company_when_the_engine_dies_is_answered_by_the_next_one() -> None:
    bench = Bench(away_s=0.4)

    async def scene(batcher: Queue) -> None:
        await asyncio.gather(*(batcher.ask(prompts(i, 1)) for i in range(4)))
        alone = asyncio.create_task(batcher.ask(prompts(9, 1)))
        await asyncio.sleep(0.1)
        assert bench.batches[-1] != [9]
        bench.die()
        assert (await asyncio.wait_for(alone, 2)).logprobs.tolist() == [[9.0]]

    run(bench, replace(LIMITS, max_wait_s=0.3, deadline_s=5.0), scene)


def test_calls_that_fail_at_once_do_not_make_the_engine_look_fast() -> None:
    bench = Bench(0.05)

    async def scene(batcher: Queue) -> None:
        await batcher.ask(prompts(1, 10))
        bench.delay_s, bench.huge = 0.0, {2}
        with pytest.raises(CallTooLarge):
            await batcher.ask(prompts(2, 1))
        with pytest.raises(Overloaded):
            await batcher.ask(prompts(3, 50, tokens=200))

    run(bench, LIMITS, scene)


def test_a_call_that_cannot_be_scored_fails_its_own_request_alone_and_is_named() -> None:
    bench = Bench()

    async def scene(batcher: Queue) -> None:
        bench.huge = {21}
        found = await asyncio.gather(*(batcher.ask(prompts(10 * k, 3)) for k in range(4)), return_exceptions=True)
        assert [isinstance(f, Scores) for f in found] == [True, True, False, True]
        assert isinstance(found[2], CallTooLarge) and found[2].at == 2

    run(bench, LIMITS, scene)


def test_who_waits_is_told_when_the_queue_ends() -> None:
    async def scene() -> None:
        bench = Bench(10.0)
        batcher = Queue(bench, replace(LIMITS, batch_tokens=20), bench)
        worker = asyncio.create_task(batcher.run())
        asked = asyncio.create_task(batcher.ask(prompts(0, 5)))
        await asyncio.sleep(0.05)
        worker.cancel()
        with pytest.raises(EngineUnavailable, match="stopped"):
            await asyncio.wait_for(asked, 1)

    asyncio.run(scene())
