"""Prefect's own SQLite database: made before anything uses it, in a step that may be killed and is done again.

A first migration that is cut off leaves columns of which the migrations know nothing, and every later start fails on them
("duplicate column name"). It holds nothing yet: until a migration has ended well here, and left its mark, a database that
cannot be migrated is set aside and made anew.
"""

import logging
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from configs.settings import Settings
from data_contracts.errors import EngineUnavailable
from deploy.operate import lock, orchestrator, processes
from deploy.store import write_atomically

log = logging.getLogger("tingsu")
MARK, NAME = "database-made", "prefect.db"
MAKE_S = 300.0
ELSEWHERE = ("PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL")


def ensure(home: Path, settings: Settings) -> None:
    """Return once this home's database has been made, for its owner only; somebody else's (PostgreSQL) is not ours to make.

    Raises:
        EngineUnavailable: Prefect cannot make it; says its last line.
    """
    folder = home / "prefect"
    if any(os.environ.get(name) for name in ELSEWHERE):
        return
    if not (folder / MARK).exists():
        _make(home, settings, folder)
    with suppress(FileNotFoundError):  # deleted since, or somewhere else (PREFECT_HOME)
        (folder / NAME).chmod(0o600)  # SQLite gives what it keeps beside it the same mode


def _make(home: Path, settings: Settings, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with lock.held(home / "run/.prefect-database.lock"):
        if (folder / MARK).exists():
            return
        trouble = _migrate(home, settings)
        if trouble and _set_aside(folder):
            trouble = _migrate(home, settings)
        if trouble:
            raise EngineUnavailable(f"Prefect cannot make its database {folder / NAME}: {trouble}")
        write_atomically(folder / MARK, b"")


def _migrate(home: Path, settings: Settings) -> str:
    """The last line of what Prefect said if it failed."""
    done = subprocess.run(
        processes.python("prefect", "--no-prompt", "server", "database", "upgrade", "--yes"),
        env=processes.inherited(home, orchestrator.environment(home, settings)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        umask=0o077,
        timeout=MAKE_S,
    )
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return (lines[-1][:300] if lines else f"exit {done.returncode}") if done.returncode else ""


def _set_aside(folder: Path) -> bool:
    """Rename the database and what SQLite keeps beside it; False if there is none."""
    number = next(n for n in range(1, 1000) if not (folder / f"{NAME}.broken-{n}").exists())
    files = [folder / f"{NAME}{end}" for end in ("", "-wal", "-shm") if (folder / f"{NAME}{end}").exists()]
    for file in files:
        file.rename(folder / file.name.replace(NAME, f"{NAME}.broken-{number}"))
    if files:
        log.warning("Prefect's database was cut off in its making: set aside as %s.broken-%d, made anew", NAME, number)
    return bool(files)
