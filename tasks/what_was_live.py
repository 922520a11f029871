"""What a target served at a moment, on which verdict and by whose hand, from the history's lines alone."""

from datetime import UTC, datetime, tzinfo
from typing import Literal

from data_contracts.artifacts import Verdict
from data_contracts.errors import ConfigurationError
from data_contracts.messages import say
from data_contracts.schema import Frozen
from deploy.targets import Record, Step
from tasks.history import SERVES, Entry, accepted


class Live(Frozen):
    """What answered. `line`: of the history, says so; `grounds`: the verdict in force then, its id first; `champion`: the version
    that the registry called champion; `beside`: another version that was being rolled out then, in which state and with which share;
    `stopped`: which version had been live, and what ended it."""

    target: str
    at: str
    version: int | None
    bundle_digest: str = ""
    since: str = ""
    line: int | None = None
    by: str = ""
    endpoint: str = ""
    grounds: str = ""
    champion: int | None = None
    beside: str = ""
    stopped: str = ""


def moment(text: str, local: tzinfo | None = None) -> datetime:
    """A time as people write it; without a zone it is this machine's own.

    Raises:
        ConfigurationError: it is no time, only a day, or not yet.
    """
    try:
        found = datetime.fromisoformat(text.strip())
        at = (found if found.tzinfo else found.replace(tzinfo=local) if local else found.astimezone()).astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the year 1 is out of reach of a time zone
        raise ConfigurationError(f"--at {text!r} is not a time; write {_FORMS}") from error
    if len(text.strip()) <= len("2026-11-22"):
        raise ConfigurationError(f"--at {text!r} names a day, and a day has many moments; write {_FORMS}")
    if at > datetime.now(UTC):
        raise ConfigurationError(f"--at {text!r} has not come yet: it is {at.isoformat()}")
    return at


def find(entries: tuple[Entry, ...], target: str, at: datetime, record: Record | None = None) -> Live:
    """What the target served at that moment; version None: nothing yet, or it was stopped.

    Args:
        record: the target's, for a rollout that has not ended.

    Raises:
        ConfigurationError: nothing was ever rolled out to a target of this name, and something was to others.
    """
    known = sorted({str(e.event.detail["target"]) for e in entries if "target" in e.event.detail})
    if known and target not in known:
        raise ConfigurationError(f"nothing was ever rolled out to target {target!r}; to these: {', '.join(known)}")
    told = [e for e in entries if datetime.fromisoformat(e.at) <= at]
    own = [e for e in told if e.event.kind in SERVES and e.event.detail.get("target") == target]
    moves = [e for e in told if e.event.kind in ("promoted", "rolled_back")]
    asked = {
        "target": target,
        "at": at.isoformat(timespec="seconds"),
        "beside": _beside(entries, target, at, record),
        "champion": moves[-1].event.version if moves else None,
    }
    if not own:
        return Live.model_validate({**asked, "version": None})
    line = own[-1]
    asked |= {"since": line.at, "line": line.number, "by": line.event.by}
    if line.event.kind == "stopped":
        stopped = f"version {line.event.version}, {line.event.detail.get('how')}"
        return Live.model_validate({**asked, "version": None, "stopped": stopped})
    endpoint, grounds = str(line.event.detail.get("endpoint", "")), _grounds(tuple(told), line)
    found = {"version": line.event.version, "bundle_digest": line.event.bundle_digest}
    return Live.model_validate({**asked, **found, "endpoint": endpoint, "grounds": grounds})


def text(live: Live, language: Literal["en", "zh"] = "en") -> str:
    """It for people, times in UTC and in this machine's own zone."""
    fields = {**live.model_dump(), "at": _both(live.at), "since": _both(live.since) if live.since else ""}
    code = "live_then" if live.version is not None else "live_stopped" if live.stopped else "live_nothing"
    lines = [say(code, **fields)]
    lines += [say("live_beside", **fields)] if live.beside else []
    lines += [say("live_other_champion", **fields)] if live.champion not in (None, live.version) else []
    lines += [say("live_limits")] if live.line is not None else []
    return "\n".join(pair[language == "zh"] for pair in lines)


def _grounds(told: tuple[Entry, ...], line: Entry) -> str:
    """The emergency verdict, or the gate's, by which the line's version was live."""
    version = line.event.version
    said = [e for e in told if e.event.kind == "emergency" and e.event.version == version and e.number < line.number]
    judged = accepted(told, version) if version is not None else None
    own = [e for e in told if e.event.kind == "recorded" and e.event.version == version]
    recorded = judged or next((e for e in reversed(own) if e.event.detail.get("decision") == "PROMOTE"), None)
    if said and (recorded is None or recorded.number < said[-1].number):
        words = said[-1].event.detail["emergency"]
        assert isinstance(words, dict)
        return f"EMERGENCY, line {said[-1].number}: {words['operator']} until {words['expires_at']}, for: {words['reason']}"
    if recorded is None:
        return "no verdict recorded"
    verdict = Verdict.model_validate(recorded.event.detail["verdict"])
    return f"{verdict.decision}, line {recorded.number}: judged {verdict.created_at} on gold set {verdict.gold_digest[:12]}"


def _beside(entries: tuple[Entry, ...], target: str, at: datetime, record: Record | None) -> str:
    """The rollout that was under way then: its steps stand in the line that ended it, else in the record."""
    for entry in entries:
        steps = entry.event.detail.get("steps")
        if entry.event.detail.get("target") == target and isinstance(steps, list) and steps:
            found = _state([Step.model_validate(step) for step in steps], at)
            if found is not None and at < datetime.fromisoformat(str(steps[-1]["at"])):
                return f"version {entry.event.version}: {found}"
    if record is None or record.is_finished:
        return ""
    now = _state(list(record.steps), at)
    return "" if now is None else f"version {record.subject.version}: {now}"


def _state(steps: list[Step], at: datetime) -> str | None:
    """The state that was reached by then."""
    reached = [step for step in steps if datetime.fromisoformat(step.at) <= at]
    if not reached:
        return None
    return f"{reached[-1].state}{f' ({reached[-1].note})' if reached[-1].note else ''}"


def _both(at: str) -> str:
    own = datetime.fromisoformat(at).astimezone()
    here = f" ({own:%Y-%m-%d %H:%M:%S %z})" if own.utcoffset() else ""
    return f"{own.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC{here}"


_FORMS = "2026-11-22T17:30 (this machine's time), 2026-11-22T17:30Z (UTC) or 2026-11-22T17:30+08:00"
