"""Run as a script by `processes.start`: becomes the process it starts, after writing the record that names it.

The record is written by the new process itself, before it turns into the command: whoever started it may be killed at
any moment and nothing runs unrecorded. Only the standard library is imported, so a start costs milliseconds.
"""

import json
import os
import sys
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")
STARTED_BY = "STARTED_BY_TINGSU"
"""The leader, in the environment of all that it starts: `<pid>:<identity>`."""


def identity(pid: int) -> str:
    """What tells this process from a later one with the same pid: boot and start time; empty when there is none."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{boot()}:{ticks}"
    except (FileNotFoundError, ProcessLookupError):
        return "" if BOOT.exists() else _identity_elsewhere(pid)


def boot() -> str:
    """Names this start of the machine."""
    return BOOT.read_text().strip() if BOOT.exists() else "-"


def _identity_elsewhere(pid: int) -> str:
    import psutil

    try:
        return f"{boot()}:{psutil.Process(pid).create_time()}"
    except psutil.NoSuchProcess:
        return ""


def main(record: str, argv: list[str]) -> int:
    """Start `argv` detached in its own session; return 0 once it runs, 1 after printing why it does not."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        _become(Path(record), argv, writer)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        trouble = pipe.read()
    sys.stderr.write(trouble)
    return 1 if trouble else 0


def _become(record: Path, argv: list[str], writer: int) -> None:
    """The pipe closes by itself when `execvpe` succeeds."""
    try:
        os.setsid()
        entry = json.loads(record.with_suffix(".plan").read_text(encoding="utf-8"))
        log = os.open(entry["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        entry |= {"pid": os.getpid(), "started": identity(os.getpid())}
        beside = record.with_suffix(".new")
        beside.write_text(json.dumps(entry), encoding="utf-8")
        os.replace(beside, record)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ[STARTED_BY] = f"{os.getpid()}:{entry['started']}"
        os.execvp(argv[0], argv)
    except OSError as error:
        record.unlink(missing_ok=True)
        os.write(writer, f"{error.strerror}: {error.filename}".encode())
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
