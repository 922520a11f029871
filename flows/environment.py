"""What Prefect must find in the environment before it is imported: our folder, our server if it is up, and no telemetry.

And how long its server is waited for. Measured with 3.8.8: its client tries five times, 62 s a request and three requests
to a failed run, and its worker for events 7 s an event (30 pending ones kept the process for 210 s after the last line).
"""

import os
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

from configs.settings import Settings
from data_contracts.errors import StoreUnavailable
from deploy.operate import orchestrator, processes

PATIENCE_S = 30.0
"""A restart of the server takes 10 to 20 s."""
RETRIES = 4
"""Of a request of Prefect's client: 2 + 4 + 8 + 16 s, which is that patience."""


def prepare(home: Path, settings: Settings) -> None:
    """Point Prefect at the server that `up` started, or at an embedded one for the length of this process."""
    wanted = orchestrator.environment(home, settings) | {
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",  # our own lines tell what happens, and errors reach the caller
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # else an event that is not sent is printed whole
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_CLIENT_MAX_RETRIES": str(RETRIES),
        "PREFECT_CLIENT_RETRY_JITTER_FACTOR": "0",
    }
    if not is_up(home):
        wanted.pop("PREFECT_API_URL", None)
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


def keep_events() -> None:
    """Keep what a lost server was not told until it is back, instead of trying eleven times for each event.

    The client sends what it kept as soon as it is connected again, which it tries with every event and every 30 s.
    """
    from prefect.events.clients import PrefectEventsClient
    from prefect.events.worker import EventsWorker

    if os.environ.get("PREFECT_API_URL"):  # an embedded server lives and dies with us
        EventsWorker.set_client_override(PrefectEventsClient, reconnection_attempts=1)


def await_server(patience_s: float = PATIENCE_S) -> None:
    """Return once Prefect's server can be reached: at once, or after its restart.

    Given up, it is not waited for again: Prefect still tries to set the state of a run that this ends.

    Raises:
        StoreUnavailable: it cannot be reached for this long.
    """
    url, until = os.environ.get("PREFECT_API_URL"), time.monotonic() + patience_s
    while url and not _listens(url):
        if time.monotonic() >= until:
            _no_more_retries()
            raise StoreUnavailable(lost(url))
        time.sleep(0.5)


def lost(url: str) -> str:
    """The sentence for a server that does not answer."""
    return (
        f"Prefect at {url} (PREFECT_API_URL) does not answer; start that server (./tingsu up starts this home's), or unset "
        "PREFECT_API_URL to run on an embedded one. Finished stages are kept: the same command goes on after them"
    )


def is_up(home: Path) -> bool:
    """Whether the Prefect server of this home runs and answers."""
    return processes.answering(home, orchestrator.SERVER) is not None


def _listens(url: str) -> bool:
    """Whether its port takes connections; found in seconds, and without importing anything."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=5).close()
    except (OSError, ValueError):
        return False
    return True


def _no_more_retries() -> None:
    from prefect.context import SettingsContext
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES

    context = SettingsContext.get()
    if context is not None:
        settings = context.settings.copy_with_update(updates={PREFECT_CLIENT_MAX_RETRIES: 0})
        SettingsContext(profile=context.profile, settings=settings).__enter__()
