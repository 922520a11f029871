"""Dynamic batching: order kept, prefills shared, overload refused at once, deadlines kept, a death told to all."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from data_contracts.errors import EngineUnavailable
from deploy.engines import Scores
from deploy.service.batcher import Batcher, DeadlineExceeded, Limits, Overloaded, Prompt

LIMITS = Limits(batch_tokens=1000, max_wait_s=0.005, queue_calls=100, deadline_s=2.0)


class Bench:
    """A fake engine that notes its batches; it echoes each prompt's first id as its only log-probability."""

    def __init__(self, delay_s: float = 0.01) -> None:
        self.delay_s = delay_s
        self.batches: list[list[int]] = []
        self.is_dead = False

    async def score(self, prompts: Sequence[Prompt]) -> Scores:
        self.batches.append([p[0] for p in prompts])
        await asyncio.sleep(self.delay_s)
        if self.is_dead:
            raise EngineUnavailable("gone")
        return Scores(np.array([[p[0]] for p in prompts], np.float32), np.ones(len(prompts), np.float32))

    def batch(self, calls: int, tokens: int, waited_s: Sequence[float]) -> None:
        pass


def run(bench: Bench, limits: Limits, scene: Callable[[Batcher], Awaitable[None]]) -> None:
    async def play() -> None:
        batcher = Batcher(bench.score, limits, bench)
        worker = asyncio.create_task(batcher.run())
        await asyncio.wait_for(scene(batcher), 20)
        worker.cancel()

    asyncio.run(play())


def prompts(first: int, n: int, tokens: int = 10) -> list[Prompt]:
    return [(first + i,) * tokens for i in range(n)]


def test_many_clients_share_prefills_and_each_gets_its_own_rows() -> None:
    bench = Bench()

    async def scene(batcher: Batcher) -> None:
        found = await asyncio.gather(*(batcher.submit(prompts(100 * k, 3)) for k in range(10)))
        for k, scores in enumerate(found):
            assert scores.logprobs[:, 0].tolist() == [100 * k, 100 * k + 1, 100 * k + 2]

    run(bench, LIMITS, scene)
    assert len(bench.batches) < 10


def test_a_batch_stays_within_the_token_limit_and_one_longer_call_still_goes() -> None:
    bench = Bench(0.0)

    async def scene(batcher: Batcher) -> None:
        await batcher.submit(prompts(0, 50, tokens=40))
        await batcher.submit(prompts(0, 1, tokens=5000))

    run(bench, replace(LIMITS, batch_tokens=200), scene)
    assert max(map(len, bench.batches)) == 5


def test_a_large_request_does_not_delay_single_calls() -> None:
    bench = Bench(0.02)
    done: list[str] = []

    async def scene(batcher: Batcher) -> None:
        async def ask(name: str, n: int) -> None:
            await batcher.submit(prompts(0, n))
            done.append(name)

        big = asyncio.create_task(ask("big", 90))
        await asyncio.sleep(0.03)
        await ask("single", 1)
        await big

    run(bench, replace(LIMITS, batch_tokens=100), scene)
    assert done == ["single", "big"]


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    async def scene(batcher: Batcher) -> None:
        busy = asyncio.create_task(batcher.submit(prompts(0, 100)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as caught:
            await batcher.submit(prompts(0, 1))
        assert caught.value.retry_after_s >= 1
        await busy

    run(Bench(), LIMITS, scene)


def test_work_that_cannot_be_done_before_the_deadline_is_refused_at_once() -> None:
    async def scene(batcher: Batcher) -> None:
        await batcher.submit(prompts(0, 10))
        with pytest.raises(Overloaded, match="would take"):
            await batcher.submit(prompts(0, 90, tokens=1000))

    run(Bench(0.1), replace(LIMITS, deadline_s=1.0), scene)


def test_a_late_answer_is_an_error_and_its_calls_leave_the_queue() -> None:
    bench = Bench(0.3)

    async def scene(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.submit(prompts(0, 1)))
        await asyncio.sleep(0.1)
        with pytest.raises(DeadlineExceeded):
            await asyncio.gather(first, batcher.submit(prompts(7, 5)))
        await asyncio.sleep(0.5)
        assert batcher.waiting_calls == batcher.waiting_tokens == 0

    run(bench, replace(LIMITS, deadline_s=0.15), scene)
    assert [0] in bench.batches


def test_a_dead_engine_fails_all_who_wait_and_the_next_request_works() -> None:
    bench = Bench(0.05)

    async def scene(batcher: Batcher) -> None:
        waiting = [asyncio.create_task(batcher.submit(prompts(k, 20))) for k in range(4)]
        await asyncio.sleep(0.02)
        bench.is_dead = True
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, EngineUnavailable) for error in found)
        bench.is_dead = False
        assert (await batcher.submit(prompts(5, 1))).logprobs.tolist() == [[5.0]]

    run(bench, replace(LIMITS, batch_tokens=100), scene)
