"""Dates and times as platforms write them, as ISO 8601."""

import re
from datetime import datetime, timedelta, timezone

_MOMENT = re.compile(
    r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?(?:[T ]*(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?)?"
    r" ?(Z|[+-]\d{2}(?::?\d{2})?)?",
    re.IGNORECASE,
)


def moment(value: str | None) -> str | None:
    """A date and time as ISO 8601, or None where it is none; a time zone stays as given."""
    match = _MOMENT.fullmatch(value) if value else None
    if match is None:
        return None
    *numbers, zone = match.groups()
    year, month, day, hour, minute, second = (int(n or 0) for n in numbers)
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=_zone(zone)).isoformat()
    except ValueError:
        return None


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text in "Zz":
        return timezone(timedelta(0))
    sign = -1 if text[0] == "-" else 1
    digits = text[1:].replace(":", "").ljust(4, "0")
    return timezone(sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:])))
