"""Why an accepted or refused request gets no scores: most often not now (503, when to come back), or never as it is (413)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from data_contracts.errors import EngineUnavailable, ResourceInsufficient


class Later(EngineUnavailable):
    """Not now: the caller is told when to come back."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(Later):
    """The queue is full, or would not be worked off before the deadline; refused at once."""

    code = "overloaded"


class NotReady(Later):
    """The engine loads or restarts; refused at once."""

    code = "not_ready"


class EngineDied(Later):
    """Accepted, and then the engine died: a fresh one would be too late, or failed over the same call."""


class DeadlineExceeded(EngineUnavailable):
    """Accepted, but not answered in time."""

    code = "deadline_exceeded"


class Stopping(EngineUnavailable):
    """Not done when the service had to stop."""

    code = "stopping"


class CallTooLarge(ResourceInsufficient):
    """Call number `at` of a request does not fit into the engine's memory, though it is scored alone."""

    code = "call_too_large"

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


@asynccontextmanager
async def before(until: float, calls: int) -> AsyncIterator[None]:
    """What is done within is done before the loop's clock says `until`, or cancelled.

    Raises:
        DeadlineExceeded: it was.
    """
    try:
        async with asyncio.timeout_at(until):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded(f"{calls} calls were not answered in time; send fewer at a time") from error
