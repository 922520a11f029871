"""A part of a benchmark, alone in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run(module: str, *words: object, env: dict[str, str] | None = None) -> dict[str, Any]:
    """The last line that `python -m MODULE WORDS…` prints, read as JSON; nothing printed is an empty answer."""
    command = [sys.executable, "-P", "-m", module, *map(str, words)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment() | (env or {}), check=False, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{module} {words[0]} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1])) if done.stdout.strip() else {}


def environment() -> dict[str, str]:
    """What such a process finds around it."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
