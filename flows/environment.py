"""What Prefect must find in the environment before it is imported: our folder, our server if it is up, and no telemetry."""

import os
from pathlib import Path

from configs.settings import Settings
from deploy.operate import orchestrator, processes


def prepare(home: Path, settings: Settings) -> None:
    """Point Prefect at the server that `up` started, or at an embedded one for the length of this process."""
    wanted = orchestrator.environment(home, settings) | {
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",  # our own lines tell what happens, and errors reach the caller
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    }
    if not is_up(home):
        wanted.pop("PREFECT_API_URL", None)
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def is_up(home: Path) -> bool:
    """Whether the Prefect server of this home runs and answers."""
    return processes.answering(home, orchestrator.SERVER) is not None
