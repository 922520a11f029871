"""The classifiers that are loaded, each with the task that keeps its engine going."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from data_contracts.errors import TingsuError
from deploy.service.classifier import Classifier
from deploy.service.room import NotLoaded

log = logging.getLogger(__name__)
FINISH_S = 5.0
"""Beyond the deadline of a request, for its encoding and its answer."""


class Keepers:
    """`on_end` hears when one that is `watch`ed ended by itself: its engine can serve no more."""

    def __init__(self, on_end: Callable[[Classifier, BaseException], None]) -> None:
        self._on_end = on_end
        self._tasks: dict[Classifier, asyncio.Task[None]] = {}

    def begin(self, classifier: Classifier) -> None:
        """Start its engine."""
        self._tasks[classifier] = asyncio.create_task(classifier.run())

    def watch(self, classifier: Classifier) -> None:
        """From now on its end is told."""
        self._tasks[classifier].add_done_callback(lambda task: self._ended(classifier, task))

    async def until_ready(self, classifier: Classifier, is_kept: bool) -> None:
        """Return once it serves; otherwise it is stopped.

        Raises:
            NotLoaded: it cannot; `is_kept` as there.
        """
        keeper = self._tasks[classifier]
        ready = asyncio.create_task(classifier.worker.first_ready.wait())
        try:
            await asyncio.wait((ready, keeper), return_when=asyncio.FIRST_COMPLETED)
            if keeper.done():
                await keeper
        except TingsuError as error:
            log.error(
                "bundle not loaded", extra={"reason": str(error), "model_version": classifier.served.model_version}
            )
            raise NotLoaded(error, is_kept) from error
        finally:
            ready.cancel()
            if not classifier.worker.first_ready.is_set():
                await self._stop(classifier)

    async def retire(self, classifier: Classifier) -> None:
        """Close it when its last request is answered, or should have been."""
        try:
            await classifier.finished(FINISH_S)
        finally:
            await self._stop(classifier)

    async def stop(self) -> None:
        """Close them all at once."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _stop(self, classifier: Classifier) -> None:
        task = self._tasks.pop(classifier, None)
        if task is not None:
            await stopped(task)

    def _ended(self, classifier: Classifier, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            self._on_end(classifier, task.exception() or RuntimeError("the engine's keeper ended"))


async def stopped(task: "asyncio.Task[Any]") -> None:
    """Return when it has ended; how it ended is told elsewhere."""
    task.cancel()
    await asyncio.wait((task,))
