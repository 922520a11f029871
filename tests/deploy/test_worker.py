"""The keeper of the engine's process."""

import asyncio
from pathlib import Path

import pytest

from configs.serving import ServeSettings
from data_contracts.errors import EngineUnavailable
from deploy.service.child import Plan, load
from deploy.service.worker import Worker


async def cancelled_and_buried() -> None:
    worker = Worker(Plan("none", Path(), (), 0, 0, ServeSettings()), load, start_timeout_s=9, silence_s=9)
    waiting = asyncio.create_task(worker._receive(9))
    await asyncio.sleep(0)
    reply = worker._reply
    assert reply is not None

    waiting.cancel()
    if not reply.done():
        reply.set_exception(EngineUnavailable("buried"))

    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_who_waits_for_a_batch_is_cancelled_also_when_the_engine_is_buried_at_that_moment() -> None:
    """As a bundle that is replaced while a batch runs: its batcher would never end."""
    asyncio.run(cancelled_and_buried())
