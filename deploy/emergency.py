"""Emergency verdicts: an operator signs, with name and reason, that a bundle may serve for 24 hours against the gate's answer.

A service that runs on one goes on after it expires, and says so everywhere: it must not take down the only champion at night. But
nothing is started, reloaded, rolled out or promoted on it any more.
"""

import os
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from data_contracts.artifacts import Emergency
from data_contracts.errors import ConfigurationError, GateRefused
from data_contracts.messages import told as tell
from deploy import operators, signing

LASTS = timedelta(hours=24)
CLOCKS_DIFFER = timedelta(minutes=10)  # between the operator's machine and this one
REASON_CHARS = 500
EXPIRED = "emergency_expired"
"""What /health says of a service that runs on one that has expired."""


class Moment(NamedTuple):
    """A time, and the same on the clock that nobody can set."""

    at: datetime
    monotonic_s: float

    @classmethod
    def now(cls) -> "Moment":
        return cls(datetime.now(UTC), time.monotonic())


def said(version: int, digest: str, operator: str, reason: str, refusal: str, now: datetime) -> Emergency:
    """What the operator signs.

    Raises:
        ConfigurationError: the reason is empty, or more than a sentence or two.
    """
    words = " ".join(reason.split())
    if not 0 < len(words) <= REASON_CHARS:
        raise ConfigurationError(
            f"--reason has {len(words)} characters; say in 1 to {REASON_CHARS} why this cannot wait for the gate"
        )
    return Emergency(
        bundle_digest=digest,
        version=version,
        operator=operator,
        reason=words,
        refusal=refusal,
        created_at=now.isoformat(timespec="seconds"),
        expires_at=(now + LASTS).isoformat(timespec="seconds"),
    )


def require(said: Emergency, digest: str, home: Path) -> None:
    """Return if it covers a bundle of this digest now, and an operator whom this home trusts signed it.

    Raises:
        GateRefused: says what does not hold.
    """
    what = {"operator": said.operator, "bundle": said.bundle_digest[:12]}
    trusted = operators.trusted(home).get(said.operator)
    if trusted is None:
        raise GateRefused(tell("emergency_untrusted", **what))
    if said.public_key != trusted or not signing.is_signed(said, trusted):
        raise GateRefused(tell("emergency_edited", **what))
    if said.bundle_digest != digest:
        raise GateRefused(tell("emergency_of_other", **what, other=digest[:12]))
    _require_in_force(said, what, latest(home), home)


def told(said: Emergency) -> str:
    """It in a line, for records and lists."""
    return f"emergency verdict of {said.operator} until {said.expires_at}: {said.reason}"


def is_over(said: Emergency, admitted: Moment) -> bool:
    """Whether it has expired for who was admitted by it then; a clock that was set back since does not help."""
    passed = timedelta(seconds=time.monotonic() - admitted.monotonic_s)
    return max(datetime.now(UTC), admitted.at + passed) >= datetime.fromisoformat(said.expires_at)


def latest(home: Path) -> datetime:
    """The time; if the clock was set back, the latest at which an emergency verdict was checked in this home."""
    mark, now_s = _mark(home), time.time()
    with suppress(OSError):  # a home that only its owner may write to: the clock alone counts
        seen_s = mark.stat().st_mtime if mark.exists() else 0.0
        if now_s <= seen_s:
            return datetime.fromtimestamp(seen_s, UTC)
        mark.touch(mode=0o600)
        os.utime(mark, (now_s, now_s))
    return datetime.fromtimestamp(now_s, UTC)


def _require_in_force(said: Emergency, what: dict[str, str], now: datetime, home: Path) -> None:
    begins, ends = datetime.fromisoformat(said.created_at), datetime.fromisoformat(said.expires_at)
    if ends - begins > LASTS:
        raise GateRefused(tell("emergency_too_long", **what, lasts=ends - begins, most=LASTS))
    if begins - now > CLOCKS_DIFFER:
        raise GateRefused(tell("emergency_in_future", **what, at=said.created_at))
    if now >= ends:
        ahead = now - datetime.now(UTC)
        code = "emergency_clock" if ahead > CLOCKS_DIFFER else "emergency_expired"
        raise GateRefused(tell(code, **what, at=said.expires_at, mark=_mark(home), version=said.version))


def _mark(home: Path) -> Path:
    return operators.folder(home) / ".clock"
