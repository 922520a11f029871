"""About how many gold calls, in all, would decide.

The number said is the total, not the difference to the calls there are: by `tingsu bench gate` the total is within ±30 % of what
then decides nine times in ten, a difference of two such totals far less often. Who labels more makes a new gold set anyway.
"""

import math
from collections.abc import Callable, Iterable

from data_contracts.artifacts import BoundResult
from data_contracts.messages import say

MOST_TIMES = 1e4  # as many calls as there are; beyond that no number is practical
SIGNIFICANT = 2  # digits


def search(is_decided: Callable[[float], bool], rows: int) -> int | None:
    """The fewest calls that decide, where `rows` do not. `is_decided`: times as many calls → would they decide?

    None: no practical number would.
    """
    if not is_decided(MOST_TIMES):
        return None
    low, high = 0.0, math.log(MOST_TIMES)
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (low, middle) if is_decided(math.exp(middle)) else (middle, high)
    return max(_rounded(rows * math.exp(high)), rows + 1)


def of_verdict(results: Iterable[BoundResult]) -> int | None:
    """The most that an undecided binding bound needs, unless one that will be missed decides sooner.

    None: calls cannot help.
    """
    held = [r for r in results if r.binding and r.decision == "HOLD"]
    known = [r for r in held if r.calls_to_decide is not None]
    missing = [r for r in known if not _is_met(r)]
    if not missing and (not held or len(known) < len(held)):
        return None
    return (min if missing else max)(r.calls_to_decide or 0 for r in missing or held)


def said(code: str, calls: int | None, rows: int, **values: object) -> tuple[str, str]:
    """The message `code`, with the calls that would decide and the `rows` there are, or without."""
    if calls is None:
        return say(f"{code}_never", **values)
    return say(f"{code}_about", calls=f"{calls:,}", rows=f"{rows:,}", **values)


def _is_met(result: BoundResult) -> bool:
    return result.value >= result.bound if result.kind == "at_least" else result.value <= result.bound


def _rounded(calls: float) -> int:
    unit = int(10 ** max(0, math.floor(math.log10(calls)) + 1 - SIGNIFICANT))
    return int(math.ceil(calls / unit) * unit)
