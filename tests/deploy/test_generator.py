"""What becomes of a text whose engine says nothing, or goes on saying."""

import asyncio
import time
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from configs.settings import GenerateSettings
from deploy.service.batcher import DeadlineExceeded
from deploy.service.generator import Ask, Ending, Generator
from deploy.service.metrics import Metrics


def generator(tokens: list[int]) -> Generator:
    """Its engine says these tokens, and then nothing any more."""

    async def generate(*_: Any) -> AsyncGenerator[int, None]:
        for token in tokens:
            yield token
        await asyncio.sleep(60)

    made = Generator.__new__(Generator)
    made.limits, made.metrics = GenerateSettings(limit_s=0.05), Metrics()
    made.worker = SimpleNamespace(generate=generate)  # type: ignore[assignment]
    return made


async def written(tokens: list[int]) -> tuple[list[int], Ending]:
    ending = Ending(prompt_tokens=1)
    found = []
    async for token in generator(tokens)._tokens(Ask(()), [1], 9, (), ending, time.monotonic() + 0.05):
        ending.text_tokens += 1
        found.append(token)
    return found, ending


def test_an_engine_that_says_nothing_in_time_is_an_error_and_not_an_empty_text() -> None:
    with pytest.raises(DeadlineExceeded, match="no token"):
        asyncio.run(written([]))


def test_a_text_that_was_begun_ends_at_the_limit_of_time() -> None:
    found, ending = asyncio.run(written([7, 8]))

    assert (found, ending.finish) == ([7, 8], "time")
