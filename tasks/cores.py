"""The same work on many parts of a table, on every core this process may use."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing import get_context
from typing import TypeVar

from data_contracts.errors import ResourceInsufficient

Part = TypeVar("Part")
Result = TypeVar("Result")
WORTH_IT = 3  # parts; a process takes a second to start


def in_order(work: Callable[[Part], Result], parts: Iterable[Part], processes: int) -> Iterator[Result]:
    """`work(part)` of each part, in the order of the parts, at most two parts a process in memory.

    Args:
        work: a function of a module, without side effects: it runs in other processes.

    Raises:
        ResourceInsufficient: a process was killed.
    """
    coming = iter(parts)
    first = list(islice(coming, WORTH_IT))
    if processes < 2 or len(first) < WORTH_IT:
        yield from map(work, chain(first, coming))
        return
    waiting: deque[Future[Result]] = deque()
    try:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            for part in chain(first, coming):
                waiting.append(pool.submit(work, part))
                if len(waiting) >= 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ResourceInsufficient(
            f"one of {processes} processes that prepare calls was killed, most often for lack of memory; "
            "free memory and run the command again"
        ) from error
