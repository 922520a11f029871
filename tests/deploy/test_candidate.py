"""A candidate beside what serves, in the same service: it gets its share, nobody loses a request, and the way back takes no time."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deploy import bundle, keys
from deploy.client import SIDE, Client
from deploy.operate import canary_window
from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.served import Served

CLASSIFY, CHAT = "/api/v1/classify", "/v1/chat/completions"
CANDIDATE, RELOAD, PREVIOUS = "/admin/candidate", "/admin/reload", "/admin/previous"
CALL = {"text": "客户：上个月多扣了我三十块钱。"}
SAID = {"model": "complaints", "messages": [{"role": "user", "content": CALL["text"]}]}
HERE = {SIDE: "candidate"}
UNDO_S = 5.0


def made(home: Path, **behaviour: float) -> Path:
    store = FolderStore(home / "store")
    return served.promote(store, served.fake_bundle(store, **behaviour), home)


@pytest.fixture(scope="module")
def first(home: Path) -> Path:
    return made(home)


@pytest.fixture(scope="module")
def second(home: Path) -> Path:
    return made(home, shift=5.0)


@pytest.fixture(scope="module")
def live(first: Path, home: Path) -> Iterator[Served]:
    with served.serving(first, home, "--version=1") as running:
        yield running.ready()


@pytest.fixture
def service(live: Served, first: Path) -> Iterator[Served]:
    """It serves the first bundle, and nothing else is loaded."""
    yield live
    live.ready()
    send(live, "POST", RELOAD, {"bundle": str(first), "version": 1})
    for path in (CANDIDATE, PREVIOUS):
        assert send(live, "DELETE", path).status_code == 200


def send(service: Served, method: str, path: str, body: object = None, **more: Any) -> httpx.Response:
    return httpx.request(method, service.url + path, json=body, timeout=60, **more)


def stage(service: Served, folder: Path, version: int = 2) -> httpx.Response:
    return send(service, "POST", CANDIDATE, {"bundle": str(folder), "version": version})


def weigh(service: Served, share: float, **mirror: object) -> httpx.Response:
    return send(service, "PUT", CANDIDATE, {"share": share, **mirror})


def switch(service: Served, folder: Path, version: int) -> httpx.Response:
    return send(service, "POST", RELOAD, {"bundle": str(folder), "version": version, "keep_previous": True})


def info(service: Served, **headers: str) -> dict[str, Any]:
    return dict(send(service, "GET", "/model_info", headers=headers).json())


def version_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return str(body.get("model_version", body.get("system_fingerprint"))).partition("+")[0]


def engines(service: Served) -> list[psutil.Process]:
    children = psutil.Process(service.process.pid).children()
    return sorted(
        (c for c in children if "resource_tracker" not in " ".join(c.cmdline())), key=lambda c: c.create_time()
    )


def until(holds: Callable[[], bool], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


@contextmanager
def asked_all_the_time(service: Served, callers: int = 3) -> Iterator[list[httpx.Response]]:
    """Callers who ask one call after another, by both endpoints in turn; every one of them gets an answer."""
    stop, got = threading.Event(), list[httpx.Response]()

    def ask() -> None:
        with httpx.Client(timeout=60, base_url=service.url) as client:
            while not stop.is_set():
                path = CHAT if len(got) % 5 == 0 else CLASSIFY
                got.append(client.post(path, json=SAID if path == CHAT else CALL))

    with ThreadPoolExecutor(callers) as pool:
        asking: list[Future[None]] = [pool.submit(ask) for _ in range(callers)]
        try:
            until(lambda: len(got) > 3)
            yield got
        finally:
            stop.set()
        for one in asking:
            one.result()


def test_the_candidate_gets_its_share_and_each_answer_says_who_gave_it(service: Served, second: Path) -> None:
    assert stage(service, second).json()["candidate"]["share"] == 0
    with Client(service.url) as client, httpx.Client(base_url=service.url, timeout=60) as caller:
        before = canary_window.look_within([client], 0.0)
        unweighed = {version_of(caller.post(CLASSIFY, json=CALL)) for _ in range(50)}
        assert weigh(service, 0.3).json()["candidate"]["share"] == 0.3
        asked = [caller.post(CLASSIFY, json=CALL) if i % 4 else caller.post(CHAT, json=SAID) for i in range(600)]
        window = canary_window.between(before, canary_window.look_within([client], 1.0))

    counts = Counter(version_of(answer) for answer in asked)
    assert unweighed == {"1"}
    assert abs(counts["2"] - 180) < 5 * (600 * 0.3 * 0.7) ** 0.5 and counts.total() == 600
    assert (window.candidate.requests, window.champion.requests) == (counts["2"], counts["1"] + 50)
    assert (window.candidate.calls, window.champion.calls) == (counts["2"], counts["1"] + 50)
    for side in (window.candidate, window.champion):
        for counted in (side.latency_s, side.confidence, side.label_mass):
            assert sum(counted.counts) == side.requests
    assert "tingsu_candidate_share 0.3" in send(service, "GET", "/metrics").text


def test_the_candidate_is_shown_and_can_be_asked_before_it_has_a_share(service: Served, second: Path) -> None:
    stage(service, second)

    shown, its = info(service), info(service, **HERE)
    asked = [
        version_of(send(service, "POST", CLASSIFY, CALL, headers={SIDE: side})) for side in ("champion", "candidate")
    ]

    assert (shown["candidate"]["model_version"], shown["candidate"]["ready"]) == (its["model_version"], True)
    assert shown["model_version"].startswith("1+") and its["bundle_digest"] != shown["bundle_digest"]
    assert asked == ["1", "2"]
    assert send(service, "POST", CLASSIFY, CALL, headers={SIDE: "other"}).json()["code"] == "side_unknown"


def test_nothing_is_lost_from_staging_to_the_way_back_which_takes_no_time(
    service: Served, first: Path, second: Path
) -> None:
    with asked_all_the_time(service) as got:
        stage(service, second)
        for share in (0.1, 0.5):
            weigh(service, share)
            so_far = len(got)
            until(lambda: len(got) > so_far + 60)  # noqa: B023
        assert switch(service, second, 2).json()["how"] == "at_once"
        loaded = engines(service)
        until(lambda: version_of(got[-1]) == "2")

        began = time.monotonic()
        back = switch(service, first, 1).json()["how"]
        took_s = time.monotonic() - began
        here = len(got)
        until(lambda: len(got) > here + 30)

    versions = [version_of(answer) for answer in got]
    assert (back, engines(service)) == ("at_once", loaded) and took_s < UNDO_S
    assert versions[here:].count("2") <= 3  # one of each caller, asked before
    assert {"1", "2"} == set(versions)
    assert info(service)["previous"].startswith("2+")


def test_a_candidate_that_is_killed_costs_nobody_an_answer_and_is_charged_with_what_it_left(
    service: Served, second: Path
) -> None:
    stage(service, second)
    weigh(service, 0.5)
    with asked_all_the_time(service) as got, Client(service.url) as client:
        before = canary_window.look_within([client], 0.0)
        engines(service)[-1].send_signal(signal.SIGKILL)
        until(lambda: info(service)["candidate"]["engine_restarts"] == 1)
        here = len(got)
        until(lambda: info(service)["candidate"]["ready"] and "2" in map(version_of, got[here:]))
        window = canary_window.between(before, canary_window.look_within([client], 1.0))

    assert {version_of(answer) for answer in got} == {"1", "2"}
    assert window.champion.errors == 0 and window.champion.requests > 0
    assert 0 < window.candidate.errors < window.candidate.requests


@pytest.mark.slow
def test_what_a_candidate_cannot_answer_in_time_the_champion_answers_and_the_candidate_is_charged_with(
    home: Path, first: Path
) -> None:
    slow, calls = made(home, delay_s=3.0, shift=4.0), {"calls": [CALL] * 6}
    with (
        served.serving(first, home, "--version=1", "--set=serve.deadline_s=2") as running,
        Client(running.url) as client,
    ):
        running.ready()
        assert stage(running, slow, 3).status_code == 200
        weigh(running, 0.9)
        before = canary_window.look_within([client], 0.0)
        answers = [version_of(send(running, "POST", CLASSIFY, calls)) for _ in range(20)]
        window = canary_window.between(before, canary_window.look_within([client], 1.0))

    assert answers == ["1"] * 20
    assert (window.champion.requests, window.champion.errors) == (20, 0)
    assert window.candidate.errors == window.candidate.requests > 5 and window.candidate.calls == 0


def test_what_is_mirrored_is_compared_and_counts_as_nobodys_request(service: Served, second: Path) -> None:
    texts = [f"客户：第{i}次打来，宽带还是断的。" for i in range(12)]
    stage(service, second)
    weigh(service, 0.0, mirror_share=1.0)
    with Client(service.url) as client:
        before = canary_window.look_within([client], 0.0)
        ours = [send(service, "POST", CLASSIFY, {"text": text}).json() for text in texts]
        until(lambda: mirrored(service)[0] + mirrored(service)[2] >= len(texts))
        window = canary_window.between(before, canary_window.look_within([client], 1.0))
        theirs = [send(service, "POST", CLASSIFY, {"text": text}, headers=HERE).json() for text in texts]

    differ = sum(a["category"]["key"] != b["category"]["key"] for a, b in zip(ours, theirs, strict=True))
    assert window.mirrored == len(texts) and window.disagreed == differ > 0
    assert window.candidate.requests == window.candidate.calls == 0


def mirrored(service: Served) -> tuple[float, float, float]:
    """Calls mirrored, of those disagreed, and dropped."""
    lines = dict(line.rsplit(" ", 1) for line in send(service, "GET", "/metrics").text.splitlines() if line[0] != "#")
    of = ("tingsu_mirrored_calls_total", "tingsu_mirror_disagreed_calls_total", "tingsu_mirror_dropped_calls_total")
    return float(lines[of[0]]), float(lines[of[1]]), float(lines[of[2]])


@contextmanager
def stranger() -> Iterator[str]:
    """A server that is no service of ours."""

    class Stranger(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_service_elsewhere_is_mirrored_to_with_this_machines_key_and_counts_nothing(tmp_path: Path) -> None:
    folder, other = made(tmp_path), made(tmp_path, shift=5.0)
    crm, ops = keys.add(tmp_path, "crm", ["classify"]), keys.add(tmp_path, "ops", ["admin", "classify"])
    keys.machine(tmp_path)
    as_ops = {"headers": {"X-API-Key": ops}}
    with served.serving(folder, tmp_path, "--version=1") as one, served.serving(other, tmp_path, "--version=2") as two:
        one.ready(), two.ready()
        body = {"share": 0.0, "mirror_share": 1.0, "mirror_url": two.url}
        with stranger() as url:  # answers with something that is no answer: the calls are dropped, and no others
            send(one, "PUT", CANDIDATE, body | {"mirror_url": url}, **as_ops)
            send(one, "POST", CLASSIFY, CALL, **as_ops)
            with Client(one.url, key=ops) as ours:
                until(lambda: "tingsu_mirror_dropped_calls_total 1.0" in ours.metrics())
        assert send(one, "PUT", CANDIDATE, body, **as_ops).status_code == 200
        for _ in range(5):
            assert send(one, "POST", CLASSIFY, CALL, headers={"X-API-Key": crm}).status_code == 200
        with Client(one.url, key=ops) as ours, Client(two.url, key=ops) as theirs:
            looks = list[canary_window.Look]()

            def is_done() -> bool:
                looks.append(canary_window.look([ours], [theirs], 1.0))
                return looks[-1].champion[one.url].mirrored == 5

            until(is_done)
        refused = send(two, "POST", CLASSIFY, CALL, headers={"X-API-Key": crm, SIDE: "candidate"})

    assert looks[-1].candidate[two.url].side.requests == 0
    assert (refused.status_code, refused.json()["code"]) == (403, "side_refused")


def test_what_serves_is_no_candidate_and_goes_back_to_be_one_where_the_one_before_is_loaded(
    service: Served, first: Path, second: Path
) -> None:
    refused = stage(service, first, 1)
    stage(service, second)
    weigh(service, 0.5)
    again = stage(service, second).json()["candidate"]
    switch(service, second, 2)
    back = stage(service, second).json()["candidate"]

    assert (refused.status_code, refused.json()["code"]) == (409, "candidate_serves")
    assert (again["share"], back["share"]) == (0.5, 0.0) and len(engines(service)) == 2
    assert info(service)["model_version"].startswith("1+") and info(service)["previous"] is None


def test_a_candidate_that_cannot_serve_changes_nothing(service: Served, home: Path, first: Path) -> None:
    store = FolderStore(home / "store")
    model = served.fake_model(store, shift=3.0)
    expected = served.golden(store.root / model.key, served.FakeEngine())
    wrong = served.promote(store, bundle.assemble(served.parts(model, expected), store), home)
    (before,) = engines(service)

    refused, missing = stage(service, wrong, 9), weigh(service, 0.1)

    assert (refused.status_code, refused.json()["code"]) == (422, "reload_failed")
    assert (missing.status_code, missing.json()["code"]) == (404, "candidate_missing")
    assert engines(service) == [before] and info(service)["candidate"] is None


def test_a_candidate_is_withdrawn_while_it_loads_and_the_way_back_does_not_wait_for_it(
    service: Served, home: Path, first: Path
) -> None:
    slow = made(home, load_s=60.0, shift=8.0)
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(stage, service, slow, 4)
        until(lambda: len(engines(service)) == 2)
        during = switch(service, first, 1).json()["how"]
        gone = send(service, "DELETE", CANDIDATE)

    assert (during, gone.status_code) == ("kept", 200)
    assert (loading.result().status_code, loading.result().json()["code"]) == (409, "candidate_withdrawn")
    assert len(engines(service)) == 1 and not info(service)["reloading"]


@pytest.mark.slow
def test_a_candidate_that_memory_has_no_room_for_is_refused_and_the_one_before_makes_room_first(home: Path) -> None:
    huge, other = made(home, memory_mb=10**8), made(home, shift=6.0)
    with served.serving(huge, home, "--version=1") as running:
        running.ready()
        refused = stage(running, other)
        send(running, "POST", RELOAD, {"bundle": str(other), "version": 2, "drain": True})
        small = stage(running, made(home, shift=7.0), 3)

    assert (refused.status_code, refused.json()["code"]) == (507, "candidate_memory")
    assert small.status_code == 200


def test_a_stop_in_the_middle_of_a_canary_answers_whoever_asked_and_leaves_no_engine(
    home: Path, first: Path, second: Path
) -> None:
    with served.serving(first, home, "--version=1") as running:
        running.ready()
        stage(running, second)
        weigh(running, 0.5)
        both = engines(running)
        slow = [{"text": f"客户：第{i}条。"} for i in range(200)]
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(send, running, "POST", CLASSIFY, {"calls": slow}) for _ in range(4)]
            until(lambda: any(one.running() for one in asked))
            answers = [one.result().status_code for one in asked]
            running.process.send_signal(signal.SIGTERM)

        assert running.process.wait(15) == 0
        assert answers == [200] * 4 and not any(engine.is_running() for engine in both)
