"""Work for a caller who may hang up: then it is not done."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException

Result = TypeVar("Result")
HUNG_UP = 499
"""What nginx calls a request whose caller left; nobody reads the answer, the log and the metrics do."""


def arrived_s(request: Request) -> float:
    """When the last of the request was here, by the loop's clock."""
    return float(request.scope["state"]["arrived_s"])


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of the work, which is cancelled when the caller goes. The request's body must have been read.

    Raises:
        HTTPException: the caller went.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise HTTPException(HUNG_UP, "the caller hung up")
        return doing.result()
    finally:
        leaving.cancel()
        doing.cancel()
        await asyncio.gather(
            doing, leaving, return_exceptions=True
        )  # whoever clears up behind it must not meet it at work


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
