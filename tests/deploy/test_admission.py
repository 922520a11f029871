"""Texts that are slow to read: they delay no other caller, and their own deadline runs while they are read."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.served import Served
from tests.deploy.test_wire import connected, head, queued

CLASSIFY = "/api/v1/classify"
CALL = {"text": "客户：上个月多扣了我三十块钱。"}
DEADLINE_S = 2.0
SLOW = {"calls": [{"text": "622202 " * 2600} for _ in range(400)]}
"""7.3 MB that take half a minute to clean and mask: everywhere a number may begin."""


@pytest.fixture(scope="module")
def live(home: Path) -> Iterator[Served]:
    store = FolderStore(home / "store")
    folder = served.promote(store, served.fake_bundle(store), home)
    limits = (f"deadline_s={DEADLINE_S}", "queue_calls=900", "max_body_mb=32")
    with served.serving(folder, home, *(f"--set=serve.{limit}" for limit in limits)) as running:
        yield running.ready()


def post(service: Served, body: object) -> httpx.Response:
    return httpx.post(service.url + CLASSIFY, json=body, timeout=60)


def seconds(service: Served, path: str, until: "list[Future[httpx.Response]]") -> list[float]:
    """What GET `path` took, again and again until these are answered."""
    took = []
    while not all(asked.done() for asked in until):
        took.append(httpx.get(service.url + path, timeout=60).raise_for_status().elapsed.total_seconds())
        time.sleep(0.02)
    return took


def test_two_huge_requests_keep_their_deadline_and_delay_neither_health_nor_single_calls(live: Served) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        huge = [pool.submit(post, live, SLOW) for _ in range(2)]
        time.sleep(0.3)
        long = {"text": "客户：宽带断了三天，没有人管，我要投诉你们。" * 100}
        single = [post(live, call) for call in (CALL, long, CALL)]
        health = seconds(live, "/health", huge)
    took = time.monotonic() - began

    assert {(a.result().status_code, a.result().json()["code"]) for a in huge} == {(503, "deadline_exceeded")}
    assert all(int(a.result().headers["retry-after"]) >= 1 for a in huge)
    assert took < DEADLINE_S + 1
    assert [a.status_code for a in single] == [200] * 3
    assert max(a.elapsed.total_seconds() for a in single) < 1
    assert sorted(health)[len(health) * 9 // 10] < 0.3 and len(health) > 10


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        (CLASSIFY, {"calls": [{}] * 300_000}, "calls.0"),
        (CLASSIFY, {"turns": [{"speaker": "x"}] * 200_000}, "More than 200"),
        (CLASSIFY, {"text": "a", **{f"k{i}": 1 for i in range(200_000)}}, "More than 200"),
        ("/v1/chat/completions", {"model": "complaints", "messages": [{}] * 300_000}, "messages.0"),
        ("/v1/chat/completions", {"model": "generate", "messages": [{}] * 300_000}, "messages.0"),
        ("/generate", {"prompt": "a", **{f"k{i}": 1 for i in range(200_000)}}, "More than 200"),
    ],
)
def test_what_is_wrong_in_a_hundred_thousand_places_is_refused_without_naming_them_all(
    live: Served, path: str, body: dict[str, object], named: str
) -> None:
    with ThreadPoolExecutor(1) as pool:
        wrong = pool.submit(httpx.post, live.url + path, json=body, timeout=60)
        health = seconds(live, "/health", [wrong])

    told = wrong.result()
    assert told.status_code in (400, 422) and len(told.content) < 10_000
    assert named in told.text
    assert max(health) < 1


def test_what_the_queue_never_has_room_for_is_refused_before_a_word_is_read_and_not_asked_to_come_back(
    live: Served,
) -> None:
    many = {"calls": SLOW["calls"][:1] * 901}
    before = busy(live)

    answer = post(live, many)

    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_calls")
    assert "retry-after" not in answer.headers
    assert busy(live) - before < 1


def test_what_is_read_for_a_caller_who_hangs_up_is_read_no_further(live: Served) -> None:
    body = json.dumps(SLOW).encode()
    with connected(live) as raw:
        raw.sendall(head(len(body)) + body)
        until = time.monotonic() + 10
        while not queued(live) and time.monotonic() < until:
            time.sleep(0.02)
        assert queued(live) == 400
    time.sleep(0.5)
    before = busy(live)
    time.sleep(0.7)

    assert queued(live) == 0
    assert busy(live) - before < 0.3


def busy(service: Served) -> float:
    """Seconds of processor that the service's own process has used."""
    times = psutil.Process(service.process.pid).cpu_times()
    return float(times.user + times.system)
