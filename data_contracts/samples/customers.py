"""Who calls: most customers once, a few very often, their calls spread over the stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from data_contracts.samples.grammar import pick

MOST_CALLS = 20
TAIL = 2.2  # P(k calls) falls as k to the -2.2: mean 1.95, heavy tail
WAITING = 48  # customers whose next call may come; bounds the memory, whatever the number of calls
CUMULATED = tuple(accumulate(count**-TAIL for count in range(1, MOST_CALLS + 1)))
COUNTS = range(1, MOST_CALLS + 1)


@dataclass(slots=True)
class Customer:
    id: str
    region: str
    calls_left: int


def new_customer(rng: Random, regions: Sequence[str]) -> Customer:
    (count,) = rng.choices(COUNTS, cum_weights=CUMULATED)
    return Customer(f"cust-{rng.getrandbits(48):012x}", pick(rng, regions), count)


def callers(rng: Random, regions: Sequence[str]) -> Iterator[Customer]:
    """The customer of each call, for ever."""
    waiting = [new_customer(rng, regions) for _ in range(WAITING)]
    while True:
        at = int(rng.random() * WAITING)
        customer = waiting[at]
        yield customer
        customer.calls_left -= 1
        if not customer.calls_left:
            waiting[at] = new_customer(rng, regions)
