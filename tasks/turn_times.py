"""When a call's turns were said, where the platform tells it: in order, within the call, or not.

A time is seconds or milliseconds since the call began, a clock time (00:01:30.5), a moment, or seconds or milliseconds since 1970.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from tasks.moments import moment

STARTS = ("start", "start_time", "started_at", "begin", "begin_time", "start_s", "start_ms")
ENDS = ("end", "end_time", "ended_at", "finish", "finish_time", "end_s", "end_ms")
FAST, SLOW = 30, 0.1  # characters a second that nobody speaks, and no call with anything said has
SINCE_1970 = 1e9
ROUNDED_S = 1.0  # moments are whole seconds
_CLOCK = re.compile(r"(?:(\d{1,2}):)?(\d{1,2}):(\d{2}(?:\.\d{1,6})?)")


class Times(NamedTuple):
    """What the times of a call's turns say: the number of the first turn whose time cannot be read, is before the call begins, or is
    before that of an earlier turn or of its own start; and how many seconds after its begin the call goes on. None: nothing wrong, or
    not told."""

    unreadable: int | None = None
    before_call: int | None = None
    out_of_order: int | None = None
    last_s: float | None = None


class _Time(NamedTuple):
    """Seconds on one scale: `offset` since the call began, `bare` the same or a thousandth, `wall` a clock without a zone, `instant`."""

    scale: str
    value: float


class _Said(NamedTuple):
    """Turn number `at`; one that has but a start or an end has it as both."""

    at: int
    start: float
    end: float


NONE = Times()


def read(turns: Sequence[Mapping[str, Any]], started_at: str | None, chars: int) -> Times:
    """What the times of these turns say.

    Args:
        started_at: when the call began, as it was submitted.
        chars: of all turns together; they tell seconds from milliseconds.
    """
    said: list[_Said] = []
    unreadable, scale = None, ""
    for at, turn in enumerate(turns, start=1):
        own = [time for time in (_time(turn, STARTS), _time(turn, ENDS)) if time]
        scales = {scale, *(time.scale for time in own)} - {""}
        if any(math.isnan(time.value) for time in own) or len(scales) > 1:
            unreadable = unreadable or at
        elif own:
            (scale,) = scales
            said.append(_Said(at, own[0].value, own[-1].value))
    return _judged(said, scale, _origin(started_at, scale), chars)._replace(unreadable=unreadable)


def _judged(said: Sequence[_Said], scale: str, origin: float | None, chars: int) -> Times:
    if not said:
        return NONE
    earliest = min(min(turn.start, turn.end) for turn in said)
    begin = earliest if origin is None else origin
    slack = ROUNDED_S if scale in ("wall", "instant") else 0.0
    last = max(max(turn.start, turn.end) for turn in said) - begin
    if scale == "bare" and chars < SLOW * last and chars <= FAST * last / 1000:
        last /= 1000
    before = (turn.at for turn in said if min(turn.start, turn.end) < begin - slack)
    return Times(None, next(before, None), next(_disordered(said), None), last)


def _disordered(said: Sequence[_Said]) -> Iterator[int]:
    """Turns that start before an earlier one did, or end before they start. They may overlap: people interrupt each other."""
    latest = -math.inf
    for turn in said:
        if turn.start < latest or turn.end < turn.start:
            yield turn.at
        latest = max(latest, turn.start)


def _origin(started_at: str | None, scale: str) -> float | None:
    """Where the scale has the call's begin; None where nobody can say."""
    if scale in ("offset", "bare"):
        return 0.0
    begin = _moment(started_at or "")
    return begin.value if begin and begin.scale == scale else None


def _time(turn: Mapping[str, Any], names: Sequence[str]) -> _Time | None:
    """The first of these times that the turn has; one that cannot be read is NaN."""
    for name in names:
        value = turn.get(name)
        if value is not None and value != "":
            return _written(value, name)
    return None


def _written(value: object, name: str) -> _Time:
    if isinstance(value, str):
        clock = _CLOCK.fullmatch(value.strip())
        if clock:
            hours, minutes, seconds = (float(part or 0) for part in clock.groups())
            return _Time("offset", 3600 * hours + 60 * minutes + seconds)
        return _moment(value.strip()) or _number(value.strip(), name)
    return _number("" if isinstance(value, bool) else str(value), name)


def _number(text: str, name: str) -> _Time:
    try:
        value = float(text)
    except ValueError:
        return _Time("bare", math.nan)
    if not math.isfinite(value):
        return _Time("bare", math.nan)
    if value >= SINCE_1970:
        return _Time("instant", value / 1000 if value >= 1000 * SINCE_1970 else value)
    if name.endswith(("_s", "_ms")):
        return _Time("offset", value / 1000 if name.endswith("_ms") else value)
    return _Time("bare", value)


def _moment(text: str) -> _Time | None:
    written = moment(text)
    if written is None:
        return None
    read = datetime.fromisoformat(written)
    if read.tzinfo:
        return _Time("instant", read.timestamp())
    return _Time("wall", (read - datetime(1970, 1, 1)).total_seconds())
