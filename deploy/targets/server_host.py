"""A Linux server as the rollout sees it: commands run there as root, files and ports. This machine, or another one by the system's ssh."""

import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, Protocol

from configs.rollout import ServerSettings
from data_contracts.errors import EngineUnavailable, RolloutFailed
from deploy.operate import ports

LIMIT_S = 60.0
SSH_FAILED = 255
CONNECTED_S = 60  # a connection that nobody uses ends by itself
LONG = 60  # of about a hundred characters that a socket's path may have

Given = bytes | IO[bytes]


class Host(Protocol):
    """A machine that runs commands as root. `name` is for people."""

    name: str

    def run(self, argv: Sequence[str], given: Given = b"", limit_s: float = LIMIT_S) -> str:
        """What the command writes; `given` is its input: of bytes it begins when the last has arrived, for whoever sends them may die,
        or the connection.

        Raises:
            RolloutFailed: it failed; says how.
            EngineUnavailable: the machine does not answer.
        """
        ...

    def begin(self, argv: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start a command that goes on until the pipe that it reads, which is ours, is closed.

        Raises:
            EngineUnavailable: the machine does not answer.
            RolloutFailed: there is no ssh here.
        """
        ...

    def reach(self, port: int) -> str:
        """The URL under which a port of the machine's loopback answers from here.

        Raises:
            EngineUnavailable: the machine does not answer.
        """
        ...


class Here:
    """This machine."""

    name = "this machine"

    def run(self, argv: Sequence[str], given: Given = b"", limit_s: float = LIMIT_S) -> str:
        return _done(self.name, argv, _ran([*self._become, *_whole(argv, given)], given, limit_s))

    def begin(self, argv: Sequence[str]) -> "subprocess.Popen[bytes]":
        return _begun([*self._become, *argv])

    def reach(self, port: int) -> str:
        return f"http://127.0.0.1:{port}"

    @property
    def _become(self) -> list[str]:
        return [] if os.geteuid() == 0 else ["sudo", "-n"]


class Ssh:
    """Another machine, over one connection that stays open while it is used; nothing is installed there for it."""

    def __init__(self, address: str, options: Sequence[str] = ()) -> None:
        self.name = address
        where = tempfile.gettempdir()
        folder = tempfile.mkdtemp(prefix="tingsu-ssh-", dir=where if len(where) < LONG else "/tmp")
        shared = {"ControlMaster": "auto", "ControlPath": f"{folder}/c", "ControlPersist": f"{CONNECTED_S}"}
        quiet = {"BatchMode": "yes", "ConnectTimeout": "10", "ServerAliveInterval": "15", "LogLevel": "ERROR"}
        self._ssh = ["ssh", *options, *(f"-o{key}={value}" for key, value in (shared | quiet).items())]
        self._local: dict[int, int] = {}
        self._picking = threading.Lock()
        self.close = weakref.finalize(self, _hang_up, [*self._ssh, "-O", "exit", address], folder)
        """Ends the connection; at the end of the process at the latest."""

    def run(self, argv: Sequence[str], given: Given = b"", limit_s: float = LIMIT_S) -> str:
        return _done(self.name, argv, self._asked([*self._become, *_whole(argv, given)], given, limit_s))

    def begin(self, argv: Sequence[str]) -> "subprocess.Popen[bytes]":
        return _begun([*self._ssh, self.name, "--", shlex.join([*self._become, *argv])])

    def reach(self, port: int) -> str:
        local = self._port_for(port)
        if not _listens(local):
            self._forward(local, port)
        return f"http://127.0.0.1:{local}"

    def _port_for(self, port: int) -> int:
        """One of its own for each, also where several threads ask at a time."""
        with self._picking:
            while port not in self._local:
                local = _free()
                if local not in self._local.values():
                    self._local[port] = local
        return self._local[port]

    @cached_property
    def _become(self) -> list[str]:
        return (
            [] if _done(self.name, ["id"], self._asked(["id", "-u"], b"", LIMIT_S)).strip() == "0" else ["sudo", "-n"]
        )

    def _asked(self, argv: Sequence[str], given: Given, limit_s: float) -> "subprocess.CompletedProcess[bytes]":
        done = _ran([*self._ssh, self.name, "--", shlex.join(argv)], given, limit_s)
        if done.returncode == SSH_FAILED:
            raise EngineUnavailable(
                f"{self.name} cannot be reached by ssh: {_last_line(done.stderr)}; "
                f"`ssh {self.name} true` must work without a question. The setting is rollout.server.host"
            )
        return done

    def _forward(self, local: int, port: int) -> None:
        asked = [*self._ssh, "-O", "forward", f"-L127.0.0.1:{local}:127.0.0.1:{port}", self.name]
        done = _ran(asked, b"", LIMIT_S)
        if done.returncode:  # the connection may have been closed
            self._asked(["true"], b"", LIMIT_S)
            done = _ran(asked, b"", LIMIT_S)
        if done.returncode:
            raise EngineUnavailable(
                f"{self.name} does not let its port {port} be reached by ssh: {_last_line(done.stderr)}; "
                "allow it with AllowTcpForwarding in its sshd_config"
            )


def find(settings: ServerSettings) -> Host:
    """The machine of the settings."""
    return Ssh(settings.host, settings.ssh_options) if settings.host else Here()


def shell(host: Host, script: str, *words: str, limit_s: float = LIMIT_S) -> str:
    """Run a script of the POSIX shell, which ends at its first failure; $1, $2, … are the words. Raises as `Host.run`."""
    return host.run(["sh", "-euc", f"umask 022\n{script}", "sh", *words], limit_s=limit_s)


def read(host: Host, path: str) -> str:
    """A file's text; empty if there is none."""
    return shell(host, 'if [ -f "$1" ]; then cat -- "$1"; fi', path)


def write(host: Host, path: str, text: str, mode: str = "0644", group: str = "root") -> bool:
    """Write a file, at once and whole, if it holds something else; whether it did."""
    script = (
        'umask 022; mkdir -p -- "$(dirname -- "$1")"; cat >"$1.new"; chmod "$2" "$1.new"; chgrp "$3" "$1.new"; '
        'if [ -f "$1" ] && cmp -s -- "$1" "$1.new"; then rm -- "$1.new"; else mv -T -- "$1.new" "$1"; echo changed; fi'
    )
    return bool(host.run(["sh", "-euc", script, "sh", path, mode, group], text.encode()))


def link(host: Host, path: str, to: str) -> None:
    """Have a link point elsewhere, at once."""
    shell(host, 'ln -sfn -- "$2" "$1.new"; mv -T -- "$1.new" "$1"', path, to)


def send(host: Host, folder: Path, to: str, *left_out: str) -> None:
    """Copy what a folder holds into one there, except names of these patterns."""
    packed = ["tar", "-C", str(folder), *(f"--exclude={name}" for name in left_out), "-chf", "-", "."]
    with subprocess.Popen(packed, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as packing:
        assert packing.stdout is not None and packing.stderr is not None
        script = 'umask 022; mkdir -p -- "$1"; tar -C "$1" --no-same-owner -xf -'
        host.run(["sh", "-euc", script, "sh", to], packing.stdout, limit_s=3600)
        if packing.wait():
            raise RolloutFailed(f"{folder} cannot be sent to {host.name}: {_last_line(packing.stderr.read())}")


def _whole(argv: Sequence[str], given: Given) -> list[str]:
    """The command, which begins only when all bytes of its input are there."""
    return ["sh", "-euc", _WHOLE, "sh", str(len(given)), *argv] if isinstance(given, bytes) and given else [*argv]


_WHOLE = """
came=$(mktemp)
cat >"$came"
size=$(wc -c <"$came")
exec <"$came"
rm -- "$came"
[ "$size" -eq "$1" ] || { echo "$size of $1 bytes arrived, so nothing was done; do the same again" >&2; exit 1; }
shift
exec "$@"
"""


def _ran(argv: Sequence[str], given: Given, limit_s: float) -> "subprocess.CompletedProcess[bytes]":
    try:
        if isinstance(given, bytes):
            return subprocess.run(argv, input=given, capture_output=True, timeout=limit_s, check=False)
        return subprocess.run(argv, stdin=given, capture_output=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise RolloutFailed(
            f"`{shlex.join(argv)[:200]}` did not end within {limit_s:g} s; is the machine busy?"
        ) from error
    except FileNotFoundError as error:
        raise RolloutFailed(f"there is no program {argv[0]!r} on this machine; install it") from error


def _begun(argv: Sequence[str]) -> "subprocess.Popen[bytes]":
    """In a session of its own: Ctrl-C on this terminal is ours to heed, not its."""
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    except FileNotFoundError as error:
        raise RolloutFailed(f"there is no program {argv[0]!r} on this machine; install it") from error


def _done(name: str, argv: Sequence[str], done: "subprocess.CompletedProcess[bytes]") -> str:
    if done.returncode:
        what = " ".join(shlex.join(argv).split())[:160]
        raise RolloutFailed(f"`{what}` failed on {name} ({done.returncode}): {_last_line(done.stderr)}")
    return done.stdout.decode(errors="replace")


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def _hang_up(argv: Sequence[str], folder: str) -> None:
    subprocess.run(argv, capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _free() -> int:
    with socket.socket() as probe:
        probe.bind((ports.LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ports.LOOPBACK, port)) == 0
