"""When a call's turns were said, where the platform tells it: in order, within the call, or not.

A time is seconds or milliseconds since the call began, a clock time (00:01:30.5), a moment, or seconds or milliseconds since 1970. A
clock time counts from the call's begin, or is the time of day (14:05:05): how near the first one is to either tells which. One of two
parts is minutes and seconds (12:30), unless the first turn of the call would come minutes late then and the call began at that time of day.
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
DAY_S, NEAR_S = 86_400.0, 1800.0  # the first words are said that soon after the call begins, menus and waiting included
LATE_S = 300.0  # no call's first words come that late, and no platform's two clocks are that far apart
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
    """Seconds on one scale: `offset` since the call began, `bare` the same or a thousandth, `short` the same or a sixtieth of those since
    midnight, `clock` since the call began or since midnight, `day` of a clock that shows the time of day since the call began, `wall` a
    date and clock without a zone, `instant`."""

    scale: str
    value: float


class _Said(NamedTuple):
    """Turn number `at`; one that has but a start or an end has it as both."""

    at: int
    start: float
    end: float


NONE = Times()
_Written = Sequence[Sequence[_Time]]  # what each turn has


def read(turns: Sequence[Mapping[str, Any]], started_at: str | None, chars: int) -> Times:
    """What the times of these turns say.

    Args:
        started_at: when the call began, as it was submitted.
        chars: of all turns together; they tell seconds from milliseconds.
    """
    written = [[time for time in (_time(turn, STARTS), _time(turn, ENDS)) if time] for turn in turns]
    at, first = next(((at, times[0]) for at, times in enumerate(written, start=1) if times), (0, None))
    if first and first.scale == "short" and _is_of_day(first.value, started_at):
        written = [[_Time("clock", 60 * t.value) if t.scale == "short" else t for t in times] for times in written]
        return _read(_of_day(written, _minute(started_at) or 0.0), started_at, chars)
    if first is None or first.scale != "clock":
        return _read(_counted(written), started_at, chars)
    begin, is_local = _shown(started_at)
    readings = [_read(_counted(written), started_at, chars)] if first.value <= NEAR_S else []
    if begin is not None and abs(_since(begin, first.value)) <= NEAR_S:
        readings.append(_read(_of_day(written, begin), started_at, chars))
    if readings:
        return min(readings, key=_doubt)
    order = _read(_of_day(written, first.value), None, chars)
    return order._replace(unreadable=order.unreadable or at) if is_local else order


def _is_of_day(short: float, started_at: str | None) -> bool:
    """Whether a clock of two parts, `short` seconds as minutes and seconds, is hours and minutes of the moment the call began."""
    begin = _minute(started_at)
    return short > LATE_S and begin is not None and abs(_since(begin, 60 * short)) <= LATE_S


def _minute(started_at: str | None) -> float | None:
    """What a clock without seconds showed when the call began, in seconds."""
    begin, _ = _shown(started_at)
    return None if begin is None else begin - begin % 60


def _shown(started_at: str | None) -> tuple[float | None, bool]:
    """What a clock showed when the call began, in seconds; and whether no zone is told, so that it was the clock of the turns."""
    written = moment(started_at)
    if written is None:
        return None, False
    read = datetime.fromisoformat(written)
    return _wall(read.replace(tzinfo=None)), read.tzinfo is None


def _doubt(times: Times) -> tuple[int, float]:
    """How much is wrong in a reading: of two that the clock allows, the one with less counts."""
    return sum(wrong is not None for wrong in times[:3]), times.last_s or 0.0


def _counted(written: _Written) -> _Written:
    """Clocks as time since the call began."""
    return [
        [_Time("offset", time.value) if time.scale in ("clock", "short") else time for time in times]
        for times in written
    ]


def _of_day(written: _Written, begin: float) -> _Written:
    """Clocks as the time of day of a call that began then, maybe before midnight."""
    return [
        [_Time("day", _since(begin, time.value)) if time.scale == "clock" else time for time in times]
        for times in written
    ]


def _since(begin: float, clock: float) -> float:
    """Seconds from a moment to the nearest one at which a clock shows that time of day."""
    return (clock - begin + DAY_S / 2) % DAY_S - DAY_S / 2


def _read(written: _Written, started_at: str | None, chars: int) -> Times:
    said: list[_Said] = []
    unreadable, scale = None, ""
    for at, own in enumerate(written, start=1):
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
    slack = ROUNDED_S if scale in ("day", "wall", "instant") else 0.0
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
    if scale == "day":
        return None if started_at is None else 0.0
    begin = _moment(started_at or "")
    return begin.value if begin and begin.scale == scale else None


def _time(turn: Mapping[str, Any], names: Sequence[str]) -> _Time | None:
    """The first of these times that the turn has; one that cannot be read is NaN."""
    for name in names:
        value = turn.get(name)
        if value is not None and value != "":
            return _as_written(value, name)
    return None


def _as_written(value: object, name: str) -> _Time:
    if isinstance(value, str):
        clock = _CLOCK.fullmatch(value.strip())
        if clock:
            hours, minutes, seconds = (float(part or 0) for part in clock.groups())
            return _Time("clock" if clock[1] else "short", 3600 * hours + 60 * minutes + seconds)
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
    return _Time("wall", _wall(read))


def _wall(read: datetime) -> float:
    return (read - datetime(1970, 1, 1)).total_seconds()
