"""LMDeploy's own environment: whether there is one, and of the version that was tried."""

import subprocess
from pathlib import Path

from data_contracts.errors import ConfigurationError

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
MAKE = f"python3 -m venv ENV && ENV/bin/pip install --no-deps -r {REQUIREMENTS}"


def require(python: str, setting: str, need: str) -> Path:
    """The interpreter that `setting` names.

    Args:
        need: what asks for it, as the beginning of a sentence.

    Raises:
        ConfigurationError: it names none, or one without LMDeploy of our version; says how to make one.
    """
    wanted = version()
    if not python:
        raise ConfigurationError(
            f"{need} in an environment of its own, and {setting} is not set. Make one: {MAKE}; then --set {setting}=ENV/bin/python"
        )
    question = "import importlib.metadata as m; print(m.version('lmdeploy'))"
    path = Path(python).expanduser()
    try:
        asked = subprocess.run([path, "-I", "-c", question], capture_output=True, text=True, timeout=60)
        found = asked.stdout.strip() or "no lmdeploy"
    except (OSError, subprocess.TimeoutExpired):
        found = "no Python"
    if found != wanted:
        raise ConfigurationError(f"{setting} {python!r} has {found}, and lmdeploy {wanted} is needed. Make one: {MAKE}")
    return path


def version() -> str:
    """The version that `requirements.txt` pins."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("lmdeploy==")).split("==")[1]
