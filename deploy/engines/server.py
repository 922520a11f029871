"""An engine's server as a process of ours: started on a port the system chose and with a key of its own, asked, ended."""

import math
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from data_contracts.errors import EngineUnavailable, ModelLoadError
from deploy.engines import tether
from deploy.engines.http import Http

LAST_LINES = 8
POLL_S = 0.05
QUIT_S = 10.0
MEMORY_S = 5.0
HEALTH_S, LOST_S = 1.0, 15.0
"""How often another's server is asked how it is, and how long it may be silent."""


@dataclass(frozen=True)
class Program:
    """What to run. Variables that begin with one of `drop` are kept from it; `ending` is the signal that ends it with all it started."""

    name: str
    argv: Sequence[str]
    host_option: str
    port_option: str
    key_variable: str
    drop: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    ending: signal.Signals = signal.SIGKILL


class EngineServer:
    """A running server. It listens on loopback, on a free port the system chose; its key is known to this process alone."""

    def __init__(self, program: Program) -> None:
        """Start it. Its output is kept in memory, the last lines only."""
        self.name = program.name
        self._program = program
        self._key = secrets.token_hex(24)  # no first letter that a command line would take for an option
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._http: Http | None = None
        self._memory_mb, self._counted_at = 0.0, -math.inf
        started = threading.Event()
        # The thread that starts it stays until it ends: Linux takes the end of that thread for the end of the parent.
        threading.Thread(target=self._keep, args=(started,), daemon=True, name=self.name).start()
        started.wait()

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, limit_s: float) -> None:
        """Return once it has loaded the model.

        Raises:
            ModelLoadError: it ended instead; its last lines.
            EngineUnavailable: it took longer than the limit, and was killed.
        """
        until = time.monotonic() + limit_s
        while not (url := self._answering()):
            if not self.is_running:
                raise ModelLoadError(f"{self.name} did not start: {self._ended()}")
            if time.monotonic() > until:
                self.close()
                raise EngineUnavailable(
                    f"{self.name} was not ready within {limit_s:.0f} s and was stopped; raise serve.start_timeout_s"
                    f"{self._said()}"
                )
            time.sleep(POLL_S)
        self._http = Http(self.name, url, self._key, lives=lambda: self.is_running, said=self._ended)

    def ask(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """What it answers to a GET, or to a POST of `body`. For any thread.

        Raises:
            EngineUnavailable: it died, or refuses; says why.
        """
        return self.http.ask(path, body)

    @property
    def http(self) -> Http:
        if self._http is None:
            raise EngineUnavailable(f"{self.name} does not answer yet: {self._ended()}")
        return self._http

    def memory_mb(self) -> float:
        """Resident memory of it and of what it started, counted a moment ago: that reads every process of the machine.

        Raises:
            EngineUnavailable: it is gone.
        """
        import psutil

        if not self.is_running:
            raise EngineUnavailable(f"{self.name} is gone: {self._ended()}")
        if time.monotonic() - self._counted_at > MEMORY_S:
            with suppress(psutil.Error):  # one that has just ended
                server = psutil.Process(self.pid)
                counted = (server, *server.children(recursive=True))
                self._memory_mb = sum(float(p.memory_info().rss) for p in counted) / 2**20
                self._counted_at = time.monotonic()
        return self._memory_mb

    def close(self) -> None:
        """End it, by force where it must be: it keeps nothing that could be lost."""
        if self._process is not None and self.is_running:
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                self._process.send_signal(self._program.ending)
                self._process.wait(QUIT_S)
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        if self._http is not None:
            self._http.close()

    def _keep(self, started: threading.Event) -> None:
        program = self._program
        tied = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(int(program.ending))]
        argv = [*tied, *program.argv, program.host_option, "127.0.0.1", program.port_option, "0"]
        env = (
            {k: v for k, v in os.environ.items() if not k.startswith(program.drop)} if program.drop else {**os.environ}
        )
        env |= {**program.env, program.key_variable: self._key}
        nothing = subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(
                argv, env=env, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE, start_new_session=True
            )
        finally:
            started.set()
        assert self._process.stderr is not None
        with self._process.stderr as said:
            for line in said:
                if line.strip() and not line.startswith(b" "):  # the frames of a traceback would push its reason out
                    self._lines.append(line.decode(errors="replace").strip())
        self._process.wait()

    def _answering(self) -> str:
        """Where it answers and is not loading any more; empty before."""
        return next((url for url in self._urls() if _is_healthy(url)), "")

    def _urls(self) -> list[str]:
        import psutil

        try:
            connections = psutil.Process(self.pid).net_connections("tcp4")
        except psutil.Error:
            return []
        return [f"http://127.0.0.1:{c.laddr.port}" for c in connections if c.status == "LISTEN"]

    def _ended(self) -> str:
        if self._process is None:
            return "its process could not be made"
        try:
            code = self._process.wait(timeout=2)  # its connections close a moment before it is gone
        except subprocess.TimeoutExpired:
            return f"its process (pid {self.pid}) runs but is silent{self._said()}"
        return f"it ended with exit code {code}{self._said()}"

    def _said(self) -> str:
        return f". Its last lines: {' | '.join(self._lines)}" if self._lines else ""


class Remote:
    """A server that somebody else keeps. Its memory is counted where it runs."""

    def __init__(self, http: Http, health: str) -> None:
        """`health`: the path that answers 200 while it is well."""
        self.http = http
        self._health = health
        self._seen_at = time.monotonic()

    @property
    def is_running(self) -> bool:
        """Whether it said that it is well, a moment ago."""
        if time.monotonic() - self._seen_at > HEALTH_S and self.http.is_up(self._health):
            self._seen_at = time.monotonic()
        return time.monotonic() - self._seen_at < LOST_S

    def memory_mb(self) -> float:
        return 0.0

    def close(self) -> None:
        self.http.close()


def _is_healthy(url: str) -> bool:
    probe = Http("server", url)
    try:
        return probe.is_up("/health")
    finally:
        probe.close()
