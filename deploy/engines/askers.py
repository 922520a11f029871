"""Prompts asked of a server at once, as many as it works on; when the engine is closed, whoever waits is told."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TypeVar

from data_contracts.errors import EngineUnavailable, TingsuError

Answer = TypeVar("Answer")


class Askers:
    """For any thread."""

    def __init__(self, engine: str, count: int) -> None:
        self._engine = engine
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=engine)
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def each(
        self, ask: Callable[[Sequence[int]], Answer], prompts: Sequence[Sequence[int]]
    ) -> tuple[list[Answer | None], dict[int, TingsuError]]:
        """What `ask` gives for each prompt, in order; where it gave none, why: what was not answered to one says nothing of others.

        Raises:
            EngineUnavailable: the engine is closed, before or meanwhile.
            ConfigurationError: it does not let us ask.
        """
        with self._lock:
            if self._is_closed:
                raise EngineUnavailable(f"engine {self._engine} is closed")
            asked = [self._pool.submit(ask, prompt) for prompt in prompts]
        failed: dict[int, TingsuError] = {}
        try:
            return [_answer(future, row, failed) for row, future in enumerate(asked)], failed
        except CancelledError as error:
            raise EngineUnavailable(f"engine {self._engine} was closed in the middle of a request") from error
        finally:
            for future in asked:
                future.cancel()  # what it is asked further is of no use

    def close(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)


def _answer(future: "Future[Answer]", row: int, failed: dict[int, TingsuError]) -> Answer | None:
    try:
        return future.result()
    except EngineUnavailable as error:
        failed[row] = error
        return None
