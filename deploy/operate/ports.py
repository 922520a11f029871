"""TCP ports on loopback: is one free, who holds it, which is the next free one; and the address of what listens on one."""

import os
import socket
from collections.abc import Collection

from data_contracts.errors import ResourceInsufficient

LOOPBACK = "127.0.0.1"
SPARE_PORTS = 100
HERE = ("0.0.0.0", "::", "localhost")
"""Where a server listens that loopback reaches too."""


def url(host: str, port: int) -> str:
    """Where this machine asks a server that listens there."""
    return f"http://{bracketed(LOOPBACK if host in HERE else host)}:{port}"


def bracketed(host: str) -> str:
    """A name or an address as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now; connections of a stopped one that linger do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def require_free(port: int, setting: str, host: str = LOOPBACK) -> None:
    """Return if the port is free.

    Raises:
        ResourceInsufficient: names who holds it and the setting that chooses another.
    """
    if not is_free(port, host):
        raise ResourceInsufficient(
            f"port {port} is held by {holder(port)}; stop it, or choose another port with --set {setting}=PORT"
        )


def spare(first: int, taken: Collection[int]) -> int:
    """The first free port from `first` on that is not promised to a process in `taken`.

    Raises:
        ResourceInsufficient: a hundred ports in a row are held.
    """
    for port in range(first, min(first + SPARE_PORTS, 65536)):
        if port not in taken and is_free(port):
            return port
    raise ResourceInsufficient(
        f"no port from {first} to {first + SPARE_PORTS - 1} is free for a managed engine; "
        "choose others with --set ports.engines_from=PORT"
    )


def holder(port: int) -> str:
    """The process that listens on a port, in words."""
    import psutil

    try:
        listening = [
            c for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port
        ]
        pids = [c.pid for c in listening if c.pid]
        return ", ".join(f"{psutil.Process(pid).name()} (pid {pid})" for pid in pids) or _nobody_visible(
            bool(listening)
        )
    except psutil.Error:
        return _nobody_visible(True)


def _nobody_visible(listening: bool) -> str:
    if os.geteuid() == 0 and not listening:
        return "something outside this machine's process list, or the address is not allowed here"
    return "a process of another user"
