"""From a bundle's folder to a classifier that can be started: opened, permitted, and made where memory has room for it."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from configs.serving import ServeSettings
from data_contracts.errors import TingsuError
from deploy.memory import Memory
from deploy.service.answers import Served
from deploy.service.classifier import Classifier
from deploy.service.room import NotLoaded, require_room

log = logging.getLogger(__name__)
Make = Callable[[Served, ServeSettings], Classifier]


class Wanted(NamedTuple):
    """A bundle and its registered version; `open` opens and permits it, and is called in a thread if it is not loaded."""

    folder: Path
    version: int | None
    open: Callable[[], Served]

    def is_of(self, classifier: Classifier) -> bool:
        """Whether this is what it was made of, with a verdict that held then."""
        served = classifier.served
        return (served.bundle.folder, served.version) == (self.folder.absolute(), self.version)


class Loading(NamedTuple):
    """`make`: a classifier over what it is to serve; not yet running. May take a second: it reads the tokenizer.
    `memory`: what is free on this machine now."""

    make: Make
    memory: Callable[[], Memory]

    async def opened(self, wanted: Wanted) -> Served:
        """Raises: NotLoaded: it may not serve."""
        try:
            return await asyncio.to_thread(wanted.open)
        except TingsuError as error:
            raise _refused(error) from error

    async def made(self, served: Served, serve: ServeSettings) -> Classifier:
        """Raises: NotLoaded: its tokenizer is another one."""
        try:
            return await asyncio.to_thread(self.make, served, serve)
        except TingsuError as error:
            raise _refused(error) from error

    def require_room(self, served: Served, current: Classifier) -> None:
        """Raises: TooLittleMemory: for it beside the current one."""
        ratio = max(1.0, served.bundle.weights_bytes / max(1, current.served.bundle.weights_bytes))
        require_room(current.worker.usage, ratio, self.memory())


def _refused(error: TingsuError) -> NotLoaded:
    log.error("bundle refused", extra={"reason": str(error)})
    return NotLoaded(error, is_kept=True)
