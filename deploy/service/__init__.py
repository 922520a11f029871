"""The classification service. The web process holds no weights and imports no torch; the engine is one child process.

app (HTTP) → classifier (text to answers) → batcher (queue, batches) → worker (the child's keeper) → child (the engine)
"""

import json
import sys
from pathlib import Path

from configs.settings import ServeSettings


def command(
    bundle: Path, port: int, home: Path, serve: ServeSettings, *, evaluation: bool = False, version: int | None = None
) -> list[str]:
    """The command that serves a bundle; PYTHONPATH must be the project's root. Up once `GET /ready` answers 200.

    Every setting is passed on, so that what serves is what the caller resolved, whatever the environment says.
    """
    settings = [f"--set=serve.{key}={json.dumps(value)}" for key, value in serve.model_dump().items()]
    argv = [
        sys.executable,
        "-P",
        "-m",
        "deploy.service",
        f"--bundle={bundle}",
        f"--port={port}",
        f"--home={home}",
        *settings,
    ]
    return argv + ["--evaluation"] * evaluation + ([f"--version={version}"] if version is not None else [])
