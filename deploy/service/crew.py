"""The engines of one bundle: several processes that share its queue, and their numbers as if they were one.

One that dies costs only what it worked on: the others go on while it is started again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from deploy.service.child import Usage
from deploy.service.worker import State, Worker


class Crew:
    """At least one worker. `first_ready` is set once each of them has been ready."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = tuple(workers)
        self.first_ready = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether one of them answers."""
        return any(worker.is_ready for worker in self.workers)

    @property
    def state(self) -> State:
        return "ready" if self.is_ready else self.workers[0].state

    @property
    def restarts(self) -> int:
        return sum(worker.restarts for worker in self.workers)

    @property
    def load_s(self) -> float:
        """Of the slowest."""
        return max(worker.load_s for worker in self.workers)

    @property
    def retry_after_s(self) -> float:
        """What callers are told to wait."""
        return min(worker.retry_after_s for worker in self.workers)

    @property
    def usage(self) -> Usage:
        """Of all of them together."""
        used = [worker.usage for worker in self.workers]
        gpus = [one.gpu for one in used if one.gpu is not None]
        gpu = replace(gpus[-1], held_mb=sum(one.held_mb for one in gpus)) if gpus else None
        return Usage(sum(one.memory_mb for one in used), gpu)

    def expect(self, load_s: float) -> None:
        """Callers are told to wait so long while it loads for the first time."""
        for worker in self.workers:
            worker.load_s = load_s

    def tune(self, start_timeout_s: float, silence_s: float) -> None:
        """Have these limits from now on."""
        for worker in self.workers:
            worker.start_timeout_s, worker.silence_s = start_timeout_s, silence_s

    async def keep(self, probe: Callable[[Worker], Awaitable[None]]) -> None:
        """As Worker.keep, for each; `probe` is given the one that started."""
        async with asyncio.TaskGroup() as group:
            for worker in self.workers:
                group.create_task(self._keep(worker, probe))
            for worker in self.workers:
                await worker.first_ready.wait()
            self.first_ready.set()

    async def _keep(self, worker: Worker, probe: Callable[[Worker], Awaitable[None]]) -> None:
        await worker.keep(lambda: probe(worker))
