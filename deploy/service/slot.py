"""The place in the service that a classifier fills, the one that is tried beside it, and the one before, kept for the way back.

Beside the first: the next one is loaded, probed and warmed while the first serves; one assignment switches; the first finishes
what it has begun, and is kept or closed. Drained, where memory cannot hold both: the first finishes and is closed before the next
is loaded. A candidate is loaded beside, too, and has a share of the requests; what is loaded already is switched to at once.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Literal, TypeVar

from configs.serving import ServeSettings
from deploy.service.answers import Served
from deploy.service.classifier import Classifier
from deploy.service.keepers import Keepers, stopped
from deploy.service.loading import Loading, Wanted
from deploy.service.metrics import Metrics
from deploy.service.mirror import Mirror
from deploy.service.room import CandidateServes, ReloadRuns, TooLittleMemory, Withdrawn
from deploy.service.share import Share

log = logging.getLogger(__name__)
How = Literal["at_once", "beside", "drained", "kept"]
T = TypeVar("T")


class Slot:
    """Every request is answered whole by the classifier it was given to: the `current` one, or by chance of its `share` the `candidate`.

    Args:
        serve: the settings in force; `tune` changes them.
        mirror: asks the candidate, too, what the current one has answered.
    """

    def __init__(
        self,
        first: Served,
        loading: Loading,
        serve: ServeSettings,
        mirror: Mirror,
    ) -> None:
        self.serve = serve
        self.current = loading.make(first, serve)
        self.candidate: Classifier | None = None
        self.previous: Classifier | None = None
        self.share = Share(mirror)
        self.mirror = mirror
        self._loading = loading
        self._keepers = Keepers(self._on_end)
        self._change: asyncio.Task[Any] | None = None
        self._failed: asyncio.Future[None] | None = None
        self._is_staging = self._is_retiring = self._is_abandoned = False

    @property
    def is_reloading(self) -> bool:
        return self._change is not None and not self._change.done()

    @property
    def metrics(self) -> Metrics:
        return self.current.metrics

    @property
    def loaded(self) -> tuple[Classifier, ...]:
        """All that hold memory and serve, or could at once."""
        return tuple(each for each in (self.current, self.candidate, self.previous) if each is not None)

    def tune(self, serve: ServeSettings) -> None:
        """Put other settings in force, for the classifiers to come too.

        Raises:
            ConfigurationError: fewer calls would go to a person than the gate approved, or a category is unknown; nothing was changed.
        """
        self.current.require_rules(serve)
        self.serve = serve
        for each in self.loaded:
            each.tune(serve)

    async def run(self) -> None:
        """Keep what is loaded going until cancelled.

        Raises:
            TingsuError: the engine of the current one can never serve.
        """
        self._failed = asyncio.get_running_loop().create_future()
        self._keepers.begin(self.current)
        self._watch(self.current)
        mirroring = asyncio.create_task(self.mirror.run(self))
        try:
            await self._failed
        finally:
            self.abandon()
            if self._change is not None:
                await stopped(self._change)
            await stopped(mirroring)
            await self._keepers.stop()

    def abandon(self) -> None:
        """Give up the reload that runs, if one does: the service is about to stop. What the bundle before has begun is finished."""
        self._is_abandoned = True
        if self._change is not None and not self._is_retiring:
            self._change.cancel()

    async def reload(self, wanted: Wanted, drain: bool = False, keep: bool = False) -> How:
        """Give all traffic to a bundle; `kept` if it has it already, `at_once` if it is loaded: then in no time.

        Args:
            keep: the one before stays loaded, to be given the traffic back at once; not if it was drained.

        Raises:
            ReloadRuns: another one has not ended.
            TooLittleMemory: for both at once, and not to be drained.
            NotLoaded: the bundle before serves, or is being loaded again.
            asyncio.CancelledError: the service stops.
        """
        loaded = self._find(wanted)
        if loaded is not None and loaded.is_ready and (self._is_staging or not self.is_reloading):
            return await self._at_once(loaded, keep)
        return await self._alone(self._replace(wanted, drain, keep))

    async def stage(self, wanted: Wanted) -> How:
        """Load a candidate beside the current one, with no share; another one is closed. What is current goes back to be the candidate.

        Raises:
            CandidateServes: it is the current one, and no other is loaded.
            Withdrawn: meanwhile.
            ReloadRuns, TooLittleMemory, NotLoaded, asyncio.CancelledError: as `reload`; the current one serves on.
        """
        return await self._alone(self._stage(wanted))

    def drawn(self, chance: float) -> Classifier | None:
        """The candidate, if a request with this chance, in [0, 1), is its own; also while it cannot answer: that is its failure."""
        return self.candidate if chance < self.share.now else None

    async def withdraw(self) -> None:
        """Take the candidate's share at once, and close it when it has answered; one that is being loaded, too."""
        self.share.take()
        if self._change is not None and self._is_staging:
            await stopped(self._change)
        old, self.candidate = self.candidate, None
        await self._retire(old)

    async def forget(self) -> None:
        """Close the one before, and with it the quick way back."""
        old, self.previous = self.previous, None
        await self._retire(old)

    async def _alone(self, change: Coroutine[Any, Any, T]) -> T:
        if self.is_reloading:
            change.close()
            raise ReloadRuns
        self._change = task = asyncio.create_task(change)
        try:
            return await task
        except asyncio.CancelledError:
            if self._is_abandoned:
                raise
            raise Withdrawn from None

    async def _stage(self, wanted: Wanted) -> How:
        found = self._find(wanted)
        if found is not None and found is self.candidate:
            return "kept"
        if found is self.current and self.previous is None:
            raise CandidateServes
        if found is not None:
            if found is self.current and self.previous is not None:
                self.current = self.previous
            self.previous = None
            return await self._try(found, "at_once")
        self._is_staging = True
        try:
            served = await self._loading.opened(wanted)
            await self._require_room(served)
            new = await self._loading.made(served, self.serve)
            self._keepers.begin(new)
            await self._keepers.until_ready(new, is_kept=True)
        finally:
            self._is_staging = False
        self._watch(new)
        return await self._try(new, "beside")

    async def _try(self, candidate: Classifier, how: How) -> How:
        self.share.take()
        older, self.candidate = self.candidate, candidate
        log.info("candidate loaded", extra={"model_version": candidate.served.model_version, "how": how})
        await self._retire(older)
        return how

    async def _replace(self, wanted: Wanted, drain: bool, keep: bool) -> How:
        served = await self._loading.opened(wanted)
        if served.model_version == self.current.served.model_version and self.current.is_ready:
            return "kept"
        if not drain:
            await self._require_room(served)
        new = await self._loading.made(served, self.serve)
        await (self._after(new) if drain else self._beside(new, keep))
        log.info("bundle switched", extra={"model_version": served.model_version, "drained": drain})
        return "drained" if drain else "beside"

    async def _require_room(self, served: Served) -> None:
        """Raises: TooLittleMemory: also without the one before, which is closed where that may help."""
        try:
            self._loading.require_room(served, self.current)
        except TooLittleMemory:
            if self.previous is None:
                raise
            await self.forget()
            self._loading.require_room(served, self.current)

    async def _at_once(self, new: Classifier, keep: bool) -> How:
        if new is self.current:
            return "kept"
        await self._take_over(new, keep)
        log.info("bundle switched", extra={"model_version": new.served.model_version, "at_once": True})
        return "at_once"

    async def _beside(self, new: Classifier, keep: bool) -> None:
        self._keepers.begin(new)
        await self._keepers.until_ready(new, is_kept=True)
        self._watch(new)
        await self._take_over(new, keep)

    async def _take_over(self, new: Classifier, keep: bool) -> None:
        """One assignment gives it the traffic; then whoever is not needed any more is closed."""
        older, old = self.previous, self.current
        self.current, self.previous = new, old if keep else None
        if new is self.candidate:
            self.candidate = None
            self.share.take()
        for unneeded in (older if older is not new else None, None if keep else old):
            await self._retire(unneeded)

    async def _after(self, new: Classifier) -> None:
        """The other requests are refused with a time to come back, as while an engine restarts."""
        await self.forget()
        old = self.current
        old.is_closing, is_ready = True, False
        try:
            await self._retire(old)
            if self._is_abandoned:
                raise asyncio.CancelledError
            new.worker.expect(old.worker.load_s)  # what callers are told to wait
            self.current = new
            self._keepers.begin(new)
            await self._keepers.until_ready(new, is_kept=False)
            is_ready = True
        finally:
            old.is_closing = False
            if not is_ready:
                self.current = new = old
                self._keepers.begin(old)
            self._watch(new)

    async def _retire(self, old: Classifier | None) -> None:
        if old is None:
            return
        self._is_retiring = True
        try:
            await self._keepers.retire(old)
        finally:
            self._is_retiring = False

    def _find(self, wanted: Wanted) -> Classifier | None:
        """What is loaded of this bundle."""
        return next((each for each in self.loaded if wanted.is_of(each)), None)

    def _watch(self, classifier: Classifier) -> None:
        classifier.tune(self.serve)  # as it is by now
        self._keepers.watch(classifier)

    def _on_end(self, classifier: Classifier, error: BaseException) -> None:
        """Only the current one's end is the service's."""
        if classifier is self.current:
            if self._failed is not None and not self._failed.done():
                self._failed.set_exception(error)
            return
        log.error("bundle lost", extra={"reason": str(error), "model_version": classifier.served.model_version})
        if classifier is self.candidate:
            self.candidate = None
            self.share.take()
        if classifier is self.previous:
            self.previous = None
