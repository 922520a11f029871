"""A way to an S3 server on which things go wrong: refused, slow, cut, or changed, for as many requests as told.

An HTTP proxy on loopback. It says which requests it saw, so that a test can tell that the fault was met.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>made by a test</Message></Error>"


def flipped(body: bytes) -> bytes:
    """One bit is another."""
    return body[:-1] + bytes([body[-1] ^ 1]) if body else body


@dataclass
class Fault:
    """What happens to the next `times` requests whose "METHOD /path?query" matches `what`.

    busy, digest: S3 refuses (503 SlowDown, 400 BadDigest). slow: no answer for `seconds`, then the connection is closed. cut: half
    of the answer's body, then closed. lost: closed with half of the request read. change: the answer's body is another.
    """

    what: str
    kind: Literal["busy", "digest", "slow", "cut", "lost", "change"]
    times: int = 1
    seconds: float = 0.0
    change: Callable[[bytes], bytes] = flipped


@dataclass
class Way:
    """`faults` may be added to at any time; `seen` are all requests with their headers, `met` those that met a fault."""

    url: str
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    met: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault_of(self, line: str, headers: dict[str, str]) -> Fault | None:
        with self.lock:
            self.seen.append((line, headers))
            for fault in self.faults:
                if fault.times and re.search(fault.what, line):
                    fault.times -= 1
                    self.met.append(f"{fault.kind} {line}")
                    return fault
        return None


@contextmanager
def through(target: str) -> Iterator[Way]:
    """A way to the server at `target`."""
    place = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or a body waits 40 ms for the headers' receipt

        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            fault = way.fault_of(f"{self.command} {self.path}", {k.lower(): v for k, v in self.headers.items()})
            kind = fault.kind if fault else ""
            if kind == "lost":
                self.rfile.read(size // 2)
                self.close_connection = True
                return
            body = self.rfile.read(size)
            if fault and kind == "slow":
                time.sleep(fault.seconds)
                self.close_connection = True
            elif kind in ("busy", "digest"):
                status, code = (503, "SlowDown") if kind == "busy" else (400, "BadDigest")
                self._send(status, {}, ERROR.format(code=code).encode())
            else:
                self._forward(body, fault)

        do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

        def _forward(self, body: bytes, fault: Fault | None) -> None:
            there = HTTPConnection(str(place.hostname), place.port)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "expect")}
            there.request(self.command, self.path, body, headers)
            answer: HTTPResponse = there.getresponse()
            content = answer.read()
            if fault and fault.kind == "change":
                content = fault.change(content)
            kept = {
                k: v
                for k, v in answer.getheaders()
                if k.lower() not in ("content-length", "connection", "date", "server")
            }
            if self.command == "HEAD":
                kept["Content-Length"] = answer.getheader("Content-Length") or "0"
            self._send(answer.status, kept, content, cut=bool(fault and fault.kind == "cut"))
            there.close()

        def _send(self, status: int, headers: dict[str, str], body: bytes, cut: bool = False) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = self.close_connection or cut

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    way = Way(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield way
    finally:
        server.shutdown()
        server.server_close()
