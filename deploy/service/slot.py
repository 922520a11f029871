"""The place in the service that a classifier fills, and the reload that puts the next one into it.

Beside the first: the next one is loaded, probed and warmed while the first serves; one assignment switches; the first finishes
what it has begun and is closed. Drained, where memory cannot hold both: the first finishes and is closed before the next is loaded.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Literal

from configs.settings import ServeSettings
from data_contracts.errors import TingsuError
from data_contracts.schema import Call
from deploy.memory import Memory
from deploy.service.answers import Answer, Served
from deploy.service.child import Usage
from deploy.service.classifier import Classifier

log = logging.getLogger(__name__)
How = Literal["beside", "drained", "kept"]
FINISH_S = 5.0
"""Beyond the deadline of a request, for its encoding and its answer."""


class ReloadRuns(Exception):
    """One at a time."""


class TooLittleMemory(Exception):
    """Both bundles do not fit, into the machine's memory or the GPU's; nothing was touched."""

    def __init__(self, needed_mb: float, memory: Memory, is_gpu: bool = False) -> None:
        super().__init__(f"{needed_mb:.0f} MB are needed, {memory.free_mb:.0f} of {memory.limit_mb:.0f} MB are free")
        self.needed_mb = needed_mb
        self.memory = memory
        self.is_gpu = is_gpu


class NotLoaded(Exception):
    """The next bundle may not or cannot serve, as `cause` says; `is_kept`: the one before never stopped serving."""

    def __init__(self, cause: TingsuError, is_kept: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.is_kept = is_kept


class Slot:
    """Every request is answered whole by the classifier that was in the slot when it came.

    Args:
        make: a classifier over what it is to serve; not yet running. May take a second: it reads the tokenizer.
        serve: the settings in force; `tune` changes them.
        memory: what is free on this machine now.
    """

    def __init__(
        self,
        first: Served,
        make: Callable[[Served, ServeSettings], Classifier],
        serve: ServeSettings,
        memory: Callable[[], Memory],
    ) -> None:
        self.serve = serve
        self.current = make(first, serve)
        self._make = make
        self._memory = memory
        self._keeper: asyncio.Task[None] | None = None
        self._reload: asyncio.Task[How] | None = None
        self._failed: asyncio.Future[None] | None = None
        self._is_retiring = self._is_abandoned = False

    @property
    def is_reloading(self) -> bool:
        return self._reload is not None and not self._reload.done()

    def tune(self, serve: ServeSettings) -> None:
        """Put other settings in force, for the classifiers to come too.

        Raises:
            ConfigurationError: fewer calls would go to a person than the gate approved, or a category is unknown; nothing was changed.
        """
        self.current.require_rules(serve)
        self.serve = serve
        self.current.tune(serve)

    async def classify(self, calls: tuple[Call, ...], arrived_s: float) -> list[Answer]:
        """As Classifier.classify, by the current one."""
        return await self.current.classify(calls, arrived_s)

    async def run(self) -> None:
        """Keep the current classifier going until cancelled.

        Raises:
            TingsuError: its engine can never serve.
        """
        self._failed = asyncio.get_running_loop().create_future()
        self._install(self.current, asyncio.create_task(self.current.run()))
        try:
            await self._failed
        finally:
            self.abandon()
            if self._reload is not None:
                await _stop(self._reload)
            if self._keeper is not None:
                await _stop(self._keeper)

    def abandon(self) -> None:
        """Give up the reload that runs, if one does: the service is about to stop. What the bundle before has begun is finished."""
        self._is_abandoned = True
        if self._reload is not None and not self._is_retiring:
            self._reload.cancel()

    async def reload(self, opened: Callable[[], Served], drain: bool) -> How:
        """Serve what `opened` gives; `kept` if that is served already.

        Args:
            opened: opens and permits the bundle; called in a thread.

        Raises:
            ReloadRuns: another one has not ended.
            TooLittleMemory: for both at once, and not to be drained.
            NotLoaded: the bundle before serves, or is being loaded again.
            asyncio.CancelledError: the service stops.
        """
        if self.is_reloading:
            raise ReloadRuns
        self._reload = asyncio.create_task(self._replace(opened, drain))
        return await self._reload

    async def _replace(self, opened: Callable[[], Served], drain: bool) -> How:
        try:
            served = await asyncio.to_thread(opened)
            if served.model_version == self.current.served.model_version and self.current.is_ready:
                return "kept"
            if not drain:
                self._require_room(served)
            new = await asyncio.to_thread(self._make, served, self.serve)
        except TingsuError as error:
            log.error("bundle refused", extra={"reason": str(error)})
            raise NotLoaded(error, is_kept=True) from error
        await (self._after(new) if drain else self._beside(new))
        log.info("bundle switched", extra={"model_version": served.model_version, "drained": drain})
        return "drained" if drain else "beside"

    def _require_room(self, served: Served) -> None:
        old = self.current
        ratio = max(1.0, served.bundle.weights_bytes / max(1, old.served.bundle.weights_bytes))
        require_room(old.worker.usage, ratio, self._memory())

    async def _beside(self, new: Classifier) -> None:
        keeper = asyncio.create_task(new.run())
        await self._until_ready(new, keeper, is_kept=True)
        old, before = self.current, self._keeper
        self._install(new, keeper)
        await self._retire(old, before)

    async def _after(self, new: Classifier) -> None:
        """The other requests are refused with a time to come back, as while an engine restarts."""
        old, before = self.current, self._keeper
        old.is_closing, is_ready = True, False
        try:
            await self._retire(old, before)
            if self._is_abandoned:
                raise asyncio.CancelledError
            new.worker.load_s = old.worker.load_s  # what callers are told to wait
            self.current, keeper = new, asyncio.create_task(new.run())
            await self._until_ready(new, keeper, is_kept=False)
            is_ready = True
        finally:
            old.is_closing = False
            if not is_ready:
                new, keeper = old, asyncio.create_task(old.run())
            self._install(new, keeper)

    async def _until_ready(self, new: Classifier, keeper: "asyncio.Task[None]", is_kept: bool) -> None:
        """Return once it serves; otherwise it is stopped."""
        ready = asyncio.create_task(new.worker.first_ready.wait())
        try:
            await asyncio.wait((ready, keeper), return_when=asyncio.FIRST_COMPLETED)
            if keeper.done():
                await keeper
        except TingsuError as error:
            log.error("bundle not loaded", extra={"reason": str(error), "model_version": new.served.model_version})
            raise NotLoaded(error, is_kept) from error
        finally:
            ready.cancel()
            if not new.worker.first_ready.is_set():
                await _stop(keeper)

    async def _retire(self, old: Classifier, keeper: "asyncio.Task[None] | None") -> None:
        """Close it when its last request is answered, or should have been."""
        self._is_retiring = True
        try:
            await old.finished(FINISH_S)
        finally:
            self._is_retiring = False
            if keeper is not None:
                await _stop(keeper)

    def _install(self, classifier: Classifier, keeper: "asyncio.Task[None]") -> None:
        self.current, self._keeper = classifier, keeper
        classifier.tune(self.serve)  # as it is by now
        keeper.add_done_callback(self._on_end)

    def _on_end(self, keeper: "asyncio.Task[None]") -> None:
        """Only the current one's end is the service's."""
        if keeper is not self._keeper or keeper.cancelled() or self._failed is None or self._failed.done():
            return
        error = keeper.exception()
        self._failed.set_exception(error or RuntimeError("the engine's keeper ended"))


def require_room(held: Usage, ratio: float, machine: Memory) -> None:
    """Return if an engine `ratio` times as large as one that holds this fits in beside it.

    Raises:
        TooLittleMemory: it does not; says of which memory.
    """
    on_gpu_mb = 0.0
    if held.gpu is not None:
        on_gpu_mb = held.gpu.held_mb
        if on_gpu_mb * ratio > held.gpu.memory.free_mb:
            raise TooLittleMemory(on_gpu_mb * ratio, held.gpu.memory, is_gpu=True)
    needed_mb = max(held.memory_mb - on_gpu_mb, 0.0) * ratio
    if needed_mb > machine.free_mb:
        raise TooLittleMemory(needed_mb, machine)


async def _stop(task: "asyncio.Task[Any]") -> None:
    """Return when it has ended; how it ended is told elsewhere."""
    task.cancel()
    await asyncio.wait((task,))
