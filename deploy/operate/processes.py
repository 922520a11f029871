"""Background processes of Tingsu on this machine: started detached, recorded in `home/run`, logged in `home/logs`.

A process is known by pid and start time, so a recycled pid is never killed, and is stopped with everything it started.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import Field, ValidationError

from data_contracts.errors import EngineUnavailable, ResourceInsufficient
from data_contracts.schema import Frozen
from deploy.operate import group, launch, lock, ports
from deploy.store import write_atomically

ROOT = Path(__file__).parent.parent.parent
LOG_LIMIT_BYTES = 16 * 1024 * 1024
POLL_S = 0.1
LEFTOVERS_S = 2.0
OURS = "tingsu: "
"""How the line of an error begins that one of our commands ended with; the next is its Chinese, where it has one."""


class Command(Frozen):
    """What to start. `url` answers 200 when it is up, `setting` names what chooses `port`, `env` is added to ours.

    A command without a port has port 0. The environment is never written down, it may hold secrets.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    argv: tuple[str, ...] = Field(min_length=1)
    port: int = 0
    url: str = ""
    setting: str = ""
    env: dict[str, str] = Field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Equal for commands that do the same in the same environment."""
        return hashlib.sha256(json.dumps([self.argv, self.env], sort_keys=True).encode()).hexdigest()


class Process(Frozen):
    """A started process. `started` tells it from a later one with the same pid; it leads the process group `pid`. `log_from`: where
    in its log, which those before it wrote too, it began."""

    name: str
    argv: tuple[str, ...]
    port: int
    url: str
    log: str
    log_from: int = 0
    pid: int
    started: str
    fingerprint: str = ""


def start(home: Path, command: Command) -> Process:
    """Start a command detached from us; what is left of an earlier life of it is removed first.

    Raises:
        ResourceInsufficient: it runs already, or its port is held.
        EngineUnavailable: the program cannot be executed.
    """
    with lock.held(home / "run/.lock"):
        known = find(home, command.name)
        if known is not None:
            raise ResourceInsufficient(
                f"{command.name} runs already (pid {known.pid}, port {known.port}); stop it first: ./tingsu down"
            )
        stop(home, command.name)
        if command.port:
            ports.require_free(command.port, command.setting)
        return _launch(home, command)


def stop(home: Path, name: str, limit_s: float = 10.0) -> bool:
    """Ask the process to end, kill it and all it started after `limit_s`, forget it; False if nothing was left to stop.

    Only the leader is asked at first: it may need its children to finish what it has begun. What outlived a leader that
    was killed is killed too: asked to end, a flow would report a crash of its own, and look like one not to be resumed.
    """
    process = _read(_record(home, name))
    if process is None:
        return False
    mine = {pid: launch.identity(pid) for pid in group.members(process.pid, process.started)}
    ended = False
    if alive(process):
        group.send([process.pid], signal.SIGTERM)
        ended = _gone({process.pid: process.started}, limit_s)
    group.send(_left(mine), signal.SIGTERM if ended else signal.SIGKILL)
    if not _gone(mine, LEFTOVERS_S):
        group.send(_left(mine), signal.SIGKILL)
        _gone(mine, LEFTOVERS_S)
    group.send(group.members(process.pid, process.started), signal.SIGKILL)
    _record(home, name).unlink(missing_ok=True)
    return bool(mine)


def serves(home: Path, command: Command, timeout_s: float = 10.0) -> Process | None:
    """The running process of this very command, if it answers; None if it has to be started, or replaced."""
    known = find(home, command.name)
    if known is None or known.fingerprint != command.fingerprint:
        return None
    return known if not command.url or answers(command.url, timeout_s) else None


def becomes(home: Path, process: Process, argv: tuple[str, ...], fingerprint: str) -> Process:
    """Record what a running process has become, as if it had been started so; unchanged if it is another one by now."""
    with lock.held(home / "run/.lock"):
        known = _read(_record(home, process.name))
        if known is None or known.pid != process.pid or known.started != process.started:
            return process
        now = known.model_copy(update={"argv": argv, "fingerprint": fingerprint})
        if now != known:  # on a full disk nothing can be written, and nothing has to be
            write_atomically(_record(home, process.name), now.model_dump_json().encode())
        return now


def find(home: Path, name: str) -> Process | None:
    """The process of this name if it runs."""
    process = _read(_record(home, name))
    return process if process is not None and alive(process) else None


def answering(home: Path, name: str) -> Process | None:
    """The process of this name if it runs and its URL answers."""
    process = find(home, name)
    return process if process is not None and answers(process.url) else None


def recorded(home: Path) -> list[Process]:
    """Every process started and not stopped, by name; some may have died."""
    found = (_read(path) for path in sorted((home / "run").glob("*.json")))
    return [process for process in found if process is not None]


def running(home: Path) -> list[Process]:
    """Every process that runs now, by name."""
    return [process for process in recorded(home) if alive(process)]


def alive(process: Process) -> bool:
    """Whether it runs: this very process, not a later one with its pid."""
    return group.is_running(process.pid, process.started)


def memory_mb(process: Process) -> float:
    """Resident memory of the process and everything it started."""
    return group.memory_mb(group.members(process.pid, process.started))


def wait(process: Process, timeout_s: float) -> float:
    """Return the seconds until its URL answered 200.

    Raises:
        EngineUnavailable: it died, or did not answer in time; names the log and its last line.
    """
    began = time.monotonic()
    while not answers(process.url):
        if not alive(process):
            raise EngineUnavailable(f"{process.name} ended before it was ready; see {process.log}{last_line(process)}")
        if time.monotonic() - began > timeout_s:
            raise EngineUnavailable(
                f"{process.name} does not answer at {process.url} after {timeout_s:.0f} s; "
                f"see {process.log}{last_line(process)}"
            )
        time.sleep(POLL_S)
    return time.monotonic() - began


def answers(url: str, timeout_s: float = 2.0) -> bool:
    """Whether a GET answers 200, without any proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def last_line(process: Process) -> str:
    """The end of its log, for an error message."""
    said = last_said(process)
    return f" (last line: {said[:300]})" if said else ""


def last_said(process: Process) -> str:
    """The last line it wrote to its log; where that is the end of an error of ours, all of the error, in both languages."""
    with suppress(OSError):
        tail = Path(process.log).read_bytes()[process.log_from :][-4096:].decode(errors="replace")
        lines = [line.strip() for line in tail.splitlines() if line.strip()]
        begins = len(lines) - 2 if len(lines) > 1 and lines[-2].startswith(OURS) else len(lines) - 1
        return " ".join(lines[max(begins, 0) :])
    return ""


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line of a module of ours, or an installed one, in this environment."""
    return (sys.executable, "-P", "-m", module, *arguments)


def environment(home: Path) -> dict[str, str]:
    """What every process of ours needs: our code found from anywhere, the same home, no telemetry."""
    return {
        "PYTHONPATH": str(ROOT),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "TINGSU_HOME": str(home),
        "DO_NOT_TRACK": "true",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def inherited(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Our own environment with what every process of ours needs and more."""
    return {**os.environ, **environment(home), **more}


def _launch(home: Path, command: Command) -> Process:
    record, log = _record(home, command.name), home / f"logs/{command.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.is_file() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    begins = log.stat().st_size if log.is_file() else 0
    plan = command.model_dump(exclude={"setting", "env"}) | {"log": str(log), "log_from": begins}
    plan["fingerprint"] = command.fingerprint
    write_atomically(record.with_suffix(".plan"), json.dumps(plan).encode())
    done = subprocess.run(
        [sys.executable, "-P", launch.__file__, str(record), *command.argv],
        env=inherited(home, command.env),
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    record.with_suffix(".plan").unlink(missing_ok=True)
    if done.returncode:
        raise EngineUnavailable(
            f"{command.name} does not start: {done.stderr.strip()}; the command was {command.argv[0]}"
        )
    return Process.model_validate_json(record.read_bytes())


def _record(home: Path, name: str) -> Path:
    return home / f"run/{name}.json"


def _read(path: Path) -> Process | None:
    try:
        return Process.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _left(pids: dict[int, str]) -> list[int]:
    return [pid for pid, started in pids.items() if group.is_running(pid, started)]


def _gone(pids: dict[int, str], limit_s: float) -> bool:
    until = time.monotonic() + limit_s
    while _left(pids):
        if time.monotonic() > until:
            return False
        time.sleep(POLL_S / 2)
    return True
