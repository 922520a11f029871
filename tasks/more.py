"""About how many more gold calls would decide, and how sure that number is."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from data_contracts.artifacts import BoundResult
from data_contracts.messages import say

MOST_TIMES = 1e4  # as many calls as there are; beyond that no number is practical
# Standard errors either way. By `tingsu bench gate` that is nine times in ten, not 98 in 100: where rare categories carry the
# variance it is also overestimated on few calls (macro-F1 on 500 calls by a fifth), and a HOLD is likelier if it is.
LUCK = 2.33
POINT = 0.3  # a number is said alone where the range is no wider than this share of it, either way
SIGNIFICANT = 2  # digits


@dataclass(frozen=True)
class More:
    """`calls` more would decide; where that is not sure to ±30 %, somewhere in `range`, nine times in ten."""

    calls: int
    range: tuple[int, int] | None = None


def search(is_decided: Callable[[float, float], bool], rows: int) -> More | None:
    """The fewest calls more than `rows` that decide. `is_decided`: (times as many calls, luck) → would that decide?

    The range is what good and bad luck in how much the calls to come vary make of it. None: no practical number would.
    """
    found = [_first(is_decided, luck) for luck in (0.0, -LUCK, LUCK)]
    if found[0] is None:
        return None
    calls, least, most = (rows * ((times or MOST_TIMES) - 1) for times in found)
    is_sure = (1 - POINT) * calls <= least and most <= (1 + POINT) * calls
    return More(_rounded(calls), None if is_sure else (_rounded(least), _rounded(most)))


def of_verdict(results: Iterable[BoundResult]) -> More | None:
    """The most that an undecided binding bound needs, unless one that will be missed decides sooner.

    None: calls cannot help.
    """
    held = [r for r in results if r.binding and r.decision == "HOLD"]
    known = [r for r in held if r.needed_rows is not None]
    missing = [r for r in known if not _is_met(r)]
    if not missing and (not held or len(known) < len(held)):
        return None
    deciding = (min if missing else max)(missing or held, key=lambda r: r.needed_rows or 0)
    return More(deciding.needed_rows or 0, deciding.needed_range)


def said(code: str, needed: More | None, rows: int, **values: object) -> tuple[str, str]:
    """The message `code`, with the number, the range, or neither."""
    if needed is None:
        return say(f"{code}_never", **values)
    if needed.range is None:
        return say(f"{code}_about", more=f"{needed.calls:,}", **values)
    least, most = needed.range
    return say(f"{code}_between", least=f"{least:,}", most=f"{most:,}", rows=f"{rows:,}", **values)


def _first(is_decided: Callable[[float, float], bool], luck: float) -> float | None:
    low, high = 0.0, math.log(MOST_TIMES)
    if not is_decided(MOST_TIMES, luck):
        return None
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (low, middle) if is_decided(math.exp(middle), luck) else (middle, high)
    return math.exp(high)


def _is_met(result: BoundResult) -> bool:
    return result.value >= result.bound if result.kind == "at_least" else result.value <= result.bound


def _rounded(calls: float) -> int:
    if calls < 1:
        return 1
    unit = int(10 ** max(0, math.floor(math.log10(calls)) + 1 - SIGNIFICANT))
    return int(math.ceil(calls / unit) * unit)
