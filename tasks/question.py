"""What a person is shown who says whether a version gets traffic: what it is, on which evidence, and how to answer elsewhere."""

import re
from pathlib import Path
from typing import Literal

from data_contracts.messages import say
from deploy.targets import Record
from tasks import why

DIGEST = re.compile(r"([0-9a-f]{12})[0-9a-f]{52}")
LANGUAGES: tuple[Literal["en", "zh"], ...] = ("en", "zh")


def markdown(home: Path, record: Record) -> str:
    """In both languages, from the history and the rollout's record alone; short, for it stands beside a form."""
    placed = record.subject
    values = {"version": placed.version, "target": record.target, "bundle": placed.bundle_digest[:12]}
    parts = [*say("approval_question", **values)]
    for language, how in zip(LANGUAGES, say("approval_how", **values), strict=True):
        parts += [_listed(why.evidence(home, placed.version, language)), how]
    return "\n\n".join(parts)


def _listed(lines: list[str]) -> str:
    return DIGEST.sub(r"\1", "\n".join(f"- {line.strip()}" for line in lines if line.strip()))
