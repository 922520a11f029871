"""What a log ends with, fit for messages and the history: our own lines, without the fields that may hold what was said in a call."""

import json
from collections.abc import Iterable

from deploy.operate.processes import OURS

SHOWN = ("level", "event", "reason", "error")
"""Fields of a log line that never hold what was said in a call."""


def told(lines: Iterable[str], kept: int = 3) -> list[str]:
    """The last `kept` lines that are ours; other programs' lines may quote a call."""
    return [shown for line in lines if (shown := _shown(line))][-kept:]


def _shown(line: str) -> str:
    if line.startswith(OURS):
        return line.removeprefix(OURS).rstrip(".")
    try:
        found = json.loads(line)
    except ValueError:
        return ""
    return " ".join(str(found[name]) for name in SHOWN if name in found) if isinstance(found, dict) else ""
