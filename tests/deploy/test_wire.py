"""Callers as they come: slow, gone, too large. Raw sockets against a real service."""

import contextlib
import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.served import Served

CLASSIFY = "/api/v1/classify"
CALL = {"text": "客户：上个月多扣了我三十块钱。"}
PATIENCE_S = 1.0
HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


@pytest.fixture(scope="module")
def live(home: Path) -> Iterator[Served]:
    store = FolderStore(home / "store")
    folder = served.promote(store, served.fake_bundle(store), home)
    limits = ("client_timeout_s=1", "max_turns=3", "max_calls_per_request=5", "max_body_mb=1")
    with served.serving(folder, home, *(f"--set=serve.{limit}" for limit in limits)) as running:
        yield running.ready()


@contextlib.contextmanager
def connected(service: Served) -> Iterator[socket.socket]:
    port = int(service.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        yield raw


def seconds_until_cut_off(raw: socket.socket) -> float:
    began = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while raw.recv(65536):
            pass
    return time.monotonic() - began


def head(length: int, path: str = CLASSIFY) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()


def test_every_answer_forbids_sniffing_keeping_framing_and_loading(live: Served) -> None:
    answers = [
        httpx.get(live.url + "/health"),
        httpx.get(live.url + "/nowhere"),
        httpx.get(live.url + CLASSIFY),
        httpx.post(live.url + CLASSIFY, json=CALL),
        httpx.post(live.url + CLASSIFY, json={}),
        httpx.post(live.url + CLASSIFY, content=b"a" * 2 * 2**20),
    ]

    assert [a.status_code for a in answers] == [200, 404, 405, 200, 422, 413]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answers[2].headers["allow"] == "POST"


def test_the_documentation_page_loads_what_this_service_has_and_nothing_from_elsewhere(live: Served) -> None:
    page = httpx.get(live.url + "/docs")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert page.status_code == 200
    assert "script-src 'self' 'unsafe-inline';" in page.headers["content-security-policy"]
    assert len(loaded) == 3
    assert [httpx.get(live.url + path).status_code for path in loaded] == [200] * 3
    assert "https://" not in page.text
    assert httpx.get(live.url + "/redoc").status_code == 404


def test_limits_are_told_with_the_value_and_the_bound(live: Served) -> None:
    turn = {"speaker": "customer", "text": "宽带断了"}
    long = httpx.post(live.url + CLASSIFY, json={"calls": [CALL, {"turns": [turn] * 4}]})
    many = httpx.post(live.url + CLASSIFY, json={"calls": [CALL] * 6})
    large = httpx.post(live.url + CLASSIFY, content=b"a" * 2 * 2**20)

    assert [a.status_code for a in (long, many, large)] == [413] * 3
    assert [a.json()["code"] for a in (long, many, large)] == ["too_many_turns", "too_many_calls", "body_too_large"]
    assert "call 2 has 4 turns, at most 3" in long.json()["detail"] and "最多 3 轮" in long.json()["detail_zh"]
    assert "6 calls" in many.json()["detail"] and "at most 5" in many.json()["detail"]
    assert "2.0 MB" in large.json()["detail"] and "at most 1 MB" in large.json()["detail"]
    assert httpx.post(live.url + CLASSIFY, json={"turns": [turn] * 3}).status_code == 200


@pytest.mark.parametrize(
    "first", [b"", b"POST /api/v1/cl", head(1000)[:-2] + b"X-Slow: ", head(1000), head(1000) + b'{"text": "']
)
def test_a_caller_that_trickles_its_request_is_cut_off_and_others_are_not_delayed(live: Served, first: bytes) -> None:
    with connected(live) as raw:
        raw.sendall(first)
        raw.settimeout(0.15)
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 10:
                with contextlib.suppress(TimeoutError):
                    if not raw.recv(1):
                        break
                raw.sendall(b"a" if first else b"")
        took = time.monotonic() - began

        assert PATIENCE_S * 0.8 < took < PATIENCE_S * 4
    assert httpx.post(live.url + CLASSIFY, json=CALL).elapsed.total_seconds() < PATIENCE_S


def test_hundreds_that_trickle_headers_at_once_are_cut_off_and_others_are_answered_meanwhile(live: Served) -> None:
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(live)) for _ in range(300)]
        for raw in slow:
            raw.sendall(head(1000)[:-2] + b"X-Slow: ")
        took = [httpx.post(live.url + CLASSIFY, json=CALL).elapsed.total_seconds() for _ in range(5)]
        is_there = psutil.Process(live.process.pid).num_fds()
        for raw in slow:
            seconds_until_cut_off(raw)

    assert sorted(took)[2] < PATIENCE_S / 2
    assert is_there > 300 > psutil.Process(live.process.pid).num_fds()


def test_a_kept_connection_may_wait_between_requests_and_not_in_the_middle_of_one(live: Served) -> None:
    kept = http.client.HTTPConnection("127.0.0.1", int(live.url.rsplit(":", 1)[1]), timeout=20)
    with contextlib.closing(kept):
        for _ in range(2):
            kept.request("POST", CLASSIFY, json.dumps(CALL), {"Content-Type": "application/json"})
            answer = kept.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
            time.sleep(PATIENCE_S * 1.5)
        assert kept.sock is not None
        kept.sock.sendall(head(100) + b"{")

        assert PATIENCE_S * 0.8 < seconds_until_cut_off(kept.sock) < PATIENCE_S * 4


def test_a_caller_that_does_not_take_its_answers_is_cut_off(live: Served) -> None:
    asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4000
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(20)
        raw.connect(("127.0.0.1", int(live.url.rsplit(":", 1)[1])))
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() - began < 20:
                raw.sendall(asked)

    assert httpx.get(live.url + "/health").status_code == 200


def test_callers_who_hold_every_connection_do_not_keep_an_engine_from_coming_back(home: Path) -> None:
    store = FolderStore(home / "few")
    folder = served.promote(store, served.fake_bundle(store), home)
    limit = ["prlimit", "--nofile=128:128"]
    with served.serving(folder, home, "--set=serve.client_timeout_s=30", before=limit) as running:
        running.ready()
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                stack.enter_context(connected(running)).sendall(b"GET ")
            (engine,) = (p for p in psutil.Process(running.process.pid).children() if "spawn_main" in p.cmdline()[-2])
            engine.kill()
            until = time.monotonic() + 30
            while running.log.read_text().count("engine ready") < 2 and time.monotonic() < until:
                time.sleep(0.1)
            came_back = running.log.read_text().count("engine ready")
        running.ready()  # once it has closed what those callers left
        answer = httpx.post(running.url + CLASSIFY, json=CALL, timeout=30)

    assert (came_back, answer.status_code) == (2, 200)


def test_a_caller_that_hangs_up_takes_its_calls_out_of_the_queue(home: Path) -> None:
    store = FolderStore(home / "slow")
    folder = served.promote(store, served.fake_bundle(store, delay_s=0.5), home)
    body = json.dumps({"calls": [{"text": f"客户：第{i}次来电"} for i in range(200)]}).encode()
    with served.serving(folder, home, "--set=serve.batch_tokens=256", "--set=serve.deadline_s=300") as running:
        running.ready()
        with connected(running) as raw:
            raw.sendall(head(len(body)) + body)
            until = time.monotonic() + 10
            while queued(running) < 100 and time.monotonic() < until:
                time.sleep(0.05)
            waiting = queued(running)
        time.sleep(0.3)
        left = queued(running)
        began = time.monotonic()
        answer = httpx.post(running.url + CLASSIFY, json=CALL, timeout=30)
        took = time.monotonic() - began
        log = running.log.read_text()

    assert waiting > 100 and left == 0
    assert answer.status_code == 200 and took < 2.5
    assert '"status": 499' in log


def queued(service: Served) -> float:
    lines = httpx.get(service.url + "/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("tingsu_queue_calls ")))


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.7", "[::1", "[zz]", ""]
)
def test_a_page_whose_name_was_made_to_point_here_is_not_answered(live: Served, host: str) -> None:
    answer = httpx.post(live.url + CLASSIFY, json=CALL, headers={"Host": host})

    assert (answer.status_code, answer.json()["code"]) == (403, "host_refused")
    assert "keys add" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9", "[::1]:8000"])
def test_every_name_of_this_machine_is_answered(live: Served, host: str) -> None:
    assert httpx.post(live.url + CLASSIFY, json=CALL, headers={"Host": host}).status_code == 200
