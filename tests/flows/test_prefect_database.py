"""Prefect's database killed in its making, for real: what is left is set aside, and the same command goes on."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from configs.sources import load
from deploy.operate import prefect_database
from tests.flows.faults import Scene, lines
from tests.flows.ports import free_ports

ROOT = Path(__file__).parent.parent.parent
MB = 1 << 20


def environment(home: Path) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    env |= {"TINGSU_PORTS__PREFECT": str(free_ports(1)[0]), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    return env | {"PYTHONPATH": str(ROOT), "TINGSU_HOME": str(home)}


def kill_in_the_migration(home: Path, words: list[str], at_bytes: int) -> None:
    argv = [sys.executable, "-P", "-m", "flows", *words]
    process = subprocess.Popen(argv, env=environment(home), stderr=subprocess.PIPE, text=True, start_new_session=True)
    journal = home / "prefect/prefect.db-wal"
    while not (journal.exists() and journal.stat().st_size > at_bytes):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def revision(home: Path, wanted: str = "") -> str:
    """Which migration the database says it has had last; or what it is to say."""
    with closing(sqlite3.connect(home / "prefect/prefect.db")) as database, database:
        if wanted:
            database.execute("UPDATE alembic_version SET version_num = ?", (wanted,))
        return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.mark.slow
def test_a_database_cut_off_in_its_first_migration_is_set_aside_and_the_same_command_goes_on(tmp_path: Path) -> None:
    lines("calls.jsonl")(Scene(tmp_path, tmp_path, {}))
    words = ["submit", str(tmp_path / "calls.jsonl"), "--set", "data.min_rows_per_category=2"]
    home = tmp_path / "home"
    mark = home / "prefect/database-made"
    kill_in_the_migration(home, words, MB)
    assert not mark.exists()
    reached = revision(home)

    prefect_database.ensure(home, load("tiny"))
    assert mark.exists()
    assert revision(home) != reached

    revision(home, reached)  # as a kill between a migration's columns and its number leaves it
    mark.unlink()
    argv = [sys.executable, "-P", "-m", "flows", *words]
    again = subprocess.run(argv, env=environment(home), capture_output=True, text=True, timeout=300)

    assert again.returncode == 0, again.stderr
    assert again.stderr.count("set aside as prefect.db.broken-1") == 1
    assert (home / "prefect/prefect.db.broken-1").exists()
    assert mark.exists()
