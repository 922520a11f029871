"""The service that classifies and generates. The web process holds no weights and imports no torch; the engine is one child process.

app (HTTP) → route (which side) → slot (which bundles) → classifier (text to answers) → batcher (queue, batches) → worker (keeps the
child) → child (the engine); generator (messages to text) → a worker and a child of its own
"""

import hashlib
import json
import sys
from functools import cache
from pathlib import Path

from configs.serving import ServeSettings

LOAD_TRIES = 3
"""How often an engine that never was ready is started."""

ROOT = Path(__file__).parent.parent.parent
LAYERS = ("deploy", "configs", "data_contracts")
LEFT_OUT = ("__pycache__", "tiny-base", "helm", "docker", "compose")
"""What of these layers nothing that answers calls reads."""
ABOUT_BUNDLE = ("--bundle=", "--version=")
"""What of the command a reload changes."""


def command(
    bundle: Path, port: int, home: Path, serve: ServeSettings, *, evaluation: bool = False, version: int | None = None
) -> list[str]:
    """The command that serves a bundle; PYTHONPATH must be the project's root. Up once `GET /ready` answers 200.

    Every setting is passed on, so that what serves is what the caller resolved, whatever the environment says.
    """
    argv = [
        sys.executable,
        "-P",
        "-m",
        "deploy.service",
        f"--bundle={bundle}",
        f"--port={port}",
        f"--home={home}",
        *options(serve),
    ]
    return argv + ["--evaluation"] * evaluation + ([f"--version={version}"] if version is not None else [])


def options(serve: ServeSettings) -> list[str]:
    """Every setting as an option, so that a profile's and the caller's own reach the service."""
    return [f"--set=serve.{key}={json.dumps(value)}" for key, value in serve.model_dump().items()]


def settles(argv: tuple[str, ...]) -> list[str]:
    """What of a command line stays when the service is given another bundle."""
    return [word for word in argv if not word.startswith(ABOUT_BUNDLE)]


def moved(argv: tuple[str, ...], to: tuple[str, ...]) -> tuple[str, ...]:
    """A command line with the bundle that another one names."""
    about = {word.partition("=")[0]: word for word in to if word.startswith(ABOUT_BUNDLE)}
    return tuple(about.get(word.partition("=")[0], word) for word in argv)


@cache
def code() -> str:
    """Digest of the code a service runs: one started from other code is replaced, not given a bundle."""
    files = sorted(file for layer in LAYERS for file in (ROOT / layer).rglob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]
