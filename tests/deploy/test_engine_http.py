"""Speaking to an engine's server: what is tried again and how often, and what is said in the end."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_contracts.errors import ConfigurationError, EngineUnavailable
from deploy.engines import http
from deploy.engines.http import Http
from tests.deploy.served import free_port


class Flaky(ThreadingHTTPServer):
    """Answers the statuses it was given, one a request, then 200 with how often it was asked; 0 hangs up."""

    def __init__(self, *statuses: int, body: bytes = b'{"error": {"message": "full"}}') -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.statuses, self.body = list(statuses), body
        self.at: list[float] = []
        self.taken = b""


class Answering(BaseHTTPRequestHandler):
    server: Flaky

    def do_POST(self) -> None:
        self.server.at.append(time.monotonic())
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.server.taken += self.rfile.read(size)
                self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if not status:
            self.connection.close()
            return
        body = self.server.body if status != 200 else b'{"asked": %d}' % len(self.server.at)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(server: Flaky) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_WAIT_S", 0.02)


def test_a_network_that_fails_four_times_is_asked_a_fifth_time_each_wait_twice_as_long() -> None:
    server = Flaky(0, 503, 429, 0)
    with serving(server) as url:
        assert Http("engine", url).ask("/score", {"prompt": [1]}) == {"asked": 5}

    waits = [b - a for a, b in zip(server.at, server.at[1:], strict=False)]
    assert all(wait >= 0.02 * 2**n for n, wait in enumerate(waits)) and len(waits) == 4


def test_after_five_tries_it_says_what_is_wrong() -> None:
    busy, gone = Flaky(*[503] * 9), free_port()
    with serving(busy) as url, pytest.raises(EngineUnavailable, match="engine answered 503: full"):
        Http("engine", url).ask("/score", {})
    with pytest.raises(EngineUnavailable, match=r"engine does not answer \(ConnectError\): is it up\?"):
        Http("engine", f"http://127.0.0.1:{gone}").ask("/score", {})

    assert len(busy.at) == http.TRIES == 5


@pytest.mark.parametrize(
    ("status", "wrong"), [(400, EngineUnavailable), (500, EngineUnavailable), (401, ConfigurationError)]
)
def test_a_refusal_is_not_asked_again(status: int, wrong: type[Exception]) -> None:
    server = Flaky(status)
    with serving(server) as url, pytest.raises(wrong, match=str(status)):
        Http("engine", url).ask("/score", {})

    assert len(server.at) == 1


def test_a_server_known_to_be_dead_is_asked_once() -> None:
    before = time.monotonic()
    with pytest.raises(EngineUnavailable, match="it ended with exit code 9"):
        Http(
            "engine", f"http://127.0.0.1:{free_port()}", lives=lambda: False, said=lambda: "it ended with exit code 9"
        ).ask("/score", {})

    assert time.monotonic() - before < 1


def test_an_answer_that_is_no_json_is_not_taken_for_one() -> None:
    with serving(Flaky(500, body=b"<html>")) as url, pytest.raises(EngineUnavailable, match="/score with no JSON"):
        Http("engine", url).ask("/score", {})


def test_a_file_is_sent_whole_again(tmp_path: Path) -> None:
    (file := tmp_path / "model.gguf").write_bytes(data := bytes(range(256)) * 9000)
    server = Flaky(503)
    with serving(server) as url:
        Http("engine", url).upload("/blobs", file)

    assert server.taken == data * 2


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'127\.0\.0\.1:11434' is no URL of engine"):
        Http("engine", "127.0.0.1:11434")
