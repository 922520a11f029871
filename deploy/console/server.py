"""Serves the control plane on loopback until it is told to stop."""

from pathlib import Path

from configs.settings import Settings
from deploy.console.app import SCOPES_OF, create_app
from deploy.console.backend import Backend
from deploy.service import logs
from deploy.service.access import Access

HOST = "127.0.0.1"


def serve(backend: Backend, home: Path, settings: Settings) -> None:
    """Serve until SIGTERM. It is on loopback whatever serve.host says: who administers this machine is on it.

    Raises:
        SystemExit: the port is held.
    """
    import uvicorn

    logs.to_stderr(settings.log, home / "logs")
    access = Access(home, settings.serve.mode == "production", needed=SCOPES_OF)
    config = uvicorn.Config(
        create_app(backend, access),
        host=HOST,
        port=settings.ports.console,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    uvicorn.Server(config).run()
