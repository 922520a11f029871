"""A running service is given another bundle: nobody notices, or it is refused and the one before serves on."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deploy import bundle, generation, keys
from deploy.service.admin import Reload
from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.served import Served

CLASSIFY, RELOAD = "/api/v1/classify", "/admin/reload"
CALL = {"text": "客户：上个月多扣了我三十块钱。"}
TEXTS = [f"客户：第{i}次打来，宽带还是断的。" for i in range(8)]


def made(home: Path, decision: str = "PROMOTE", **behaviour: float) -> Path:
    store = FolderStore(home / "store")
    return served.promote(store, served.fake_bundle(store, **behaviour), home, decision)


@pytest.fixture(scope="module")
def first(home: Path) -> Path:
    return made(home, delay_s=0.01)


@pytest.fixture(scope="module")
def second(home: Path) -> Path:
    return made(home, delay_s=0.01, shift=5.0)


@pytest.fixture(scope="module")
def live(first: Path, home: Path) -> Iterator[Served]:
    with served.serving(first, home, "--version=1") as running:
        yield running.ready()


def post(service: Served, path: str, body: object, **more: Any) -> httpx.Response:
    return httpx.post(service.url + path, json=body, timeout=60, **more)


def reload(service: Served, folder: Path | str, version: int = 1, **more: object) -> httpx.Response:
    return post(service, RELOAD, {"bundle": str(folder), "version": version, **more})


def serving_now(service: Served) -> str:
    return str(post(service, CLASSIFY, CALL).json()["model_version"]).partition("+")[0]


def engines(service: Served) -> list[psutil.Process]:
    children = psutil.Process(service.process.pid).children()
    return [c for c in children if "resource_tracker" not in " ".join(c.cmdline())]


def answers(service: Served) -> dict[str, list[float]]:
    found = post(service, CLASSIFY, {"calls": [{"text": t} for t in TEXTS]}).json()["results"]
    return {text: list(answer["probabilities"].values()) for text, answer in zip(TEXTS, found, strict=True)}


def test_under_load_no_request_fails_and_every_answer_is_whole(live: Served, first: Path, second: Path) -> None:
    expected = {"1": answers(live)}
    assert reload(live, second, 2).json()["how"] == "beside"
    expected["2"] = answers(live)
    assert expected["1"] != expected["2"]
    stop, got = threading.Event(), []

    def ask(worker: int) -> None:
        with httpx.Client(timeout=60) as client:
            while not stop.is_set():
                texts = TEXTS[worker % 7 :]
                answer = client.post(live.url + CLASSIFY, json={"calls": [{"text": t} for t in texts]})
                got.append((texts, answer))

    with ThreadPoolExecutor(6) as pool:
        for worker in range(6):
            pool.submit(ask, worker)
        for folder, version in ((first, 1), (second, 2), (first, 1)):
            assert reload(live, folder, version).status_code == 200
            time.sleep(0.1)
        stop.set()

    seen = set()
    for texts, answer in got:
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        (version,) = {r["model_version"].partition("+")[0] for r in results}
        for text, result in zip(texts, results, strict=True):
            assert list(result["probabilities"].values()) == pytest.approx(expected[version][text])
        seen.add(version)
    assert seen == {"1", "2"} and len(got) > 100
    assert len(engines(live)) == 1


def test_what_serves_already_is_kept(live: Served, first: Path) -> None:
    reload(live, first, 1)
    (before,) = engines(live)

    answer = reload(live, first, 1).json()
    assert (answer["how"], answer["until_restart"]) == ("kept", True)
    assert engines(live) == [before]


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("nowhere", "reload_refused", "is not a folder"),
        ("text", "reload_refused", "is of another kind"),
        ("held", "reload_refused", "is HOLD"),
        ("corrupt", "reload_refused", "does not match its digest"),
        ("parity", "reload_failed", "parity probe"),
    ],
)
def test_a_bundle_that_may_not_or_cannot_serve_changes_nothing(
    live: Served, first: Path, home: Path, what: str, code: str, said: str
) -> None:
    folder = {
        "nowhere": lambda: home / "nowhere",
        "held": lambda: made(home, "HOLD", shift=1.0),
        "text": lambda: of_another_kind(home),
    }.get(what, lambda: None)()
    if what == "corrupt":
        folder = made(home, shift=2.0)
        (folder / "model/model.safetensors").write_bytes(b"v" * 1000)
    if what == "parity":
        folder = wrong(home)
    reload(live, first, 1)
    (before,) = engines(live)

    answer = reload(live, folder, 9)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code), problem
    assert said in problem["detail"] and problem["detail_zh"].startswith("新模型包")
    assert serving_now(live) == "1" and engines(live) == [before]


def of_another_kind(home: Path) -> Path:
    """A whole bundle, of slot `generate`."""
    store = FolderStore(home / "store")
    model = served.fake_model(store)
    facts = generation.Facts(
        engine="transformers", quantization="merged", thinks="no", stop_ids=(2,), context_tokens=100
    )
    ref = generation.assemble({"model.safetensors": store.root / model.key / "model.safetensors"}, facts, store)
    return bundle.place(store, ref)


def wrong(home: Path) -> Path:
    """A promoted bundle whose engine answers otherwise than it says."""
    store = FolderStore(home / "store")
    model = served.fake_model(store, shift=3.0)
    expected = served.golden(store.root / model.key, served.FakeEngine())
    return served.promote(store, bundle.assemble(served.parts(model, expected), store), home)


def test_the_document_has_the_request_and_every_way_to_fail(live: Served) -> None:
    described = httpx.get(live.url + "/openapi.json").json()["paths"][RELOAD]["post"]

    examples = described["requestBody"]["content"]["application/json"]["examples"]
    assert [Reload.model_validate(e["value"]).drain for e in examples.values()] == [False, True]
    assert "until the service is restarted" in " ".join(described["description"].split())
    assert "重启后" in described["description"]
    assert {"200", "409", "413", "422", "503", "507"} <= set(described["responses"])


def test_a_second_reload_is_refused_while_one_runs(live: Served, first: Path, home: Path) -> None:
    slow = made(home, load_s=1.0)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(reload, live, slow, 4)
        while not httpx.get(live.url + "/model_info").json()["reloading"]:
            time.sleep(0.01)
        refused = reload(live, first, 1)
        during = serving_now(live)

    assert (refused.status_code, refused.json()["code"]) == (409, "reload_running")
    assert int(refused.headers["retry-after"]) >= 1 and during != "4"
    assert running.result().status_code == 200 and serving_now(live) == "4"
    assert httpx.get(live.url + "/model_info").json()["reloading"] is False


def test_what_memory_cannot_hold_twice_is_told_with_the_numbers_and_can_be_drained(home: Path) -> None:
    huge, other = made(home, memory_mb=10**8), made(home, shift=6.0, load_s=1.0)
    with served.serving(huge, home, "--version=1") as running:
        running.ready()
        refused = reload(running, other, 2)
        assert (refused.status_code, refused.json()["code"]) == (507, "reload_memory")
        assert "needs about 100000000 MB" in refused.json()["detail"] and '"drain": true' in refused.json()["detail_zh"]
        with ThreadPoolExecutor(1) as pool:
            draining = pool.submit(reload, running, other, 2, drain=True)
            while httpx.get(running.url + "/ready").status_code == 200:
                time.sleep(0.01)
            meanwhile = post(running, CLASSIFY, CALL)

        assert draining.result().json()["how"] == "drained"
        assert meanwhile.status_code == 503 and int(meanwhile.headers["retry-after"]) >= 1
        assert serving_now(running) == "2" and len(engines(running)) == 1


def test_a_drained_reload_that_fails_brings_the_bundle_before_back(home: Path, first: Path) -> None:
    with served.serving(first, home, "--version=1") as running:
        running.ready()

        answer = reload(running, wrong(home), 2, drain=True)

        assert (answer.status_code, answer.json()["code"]) == (422, "reload_undone")
        running.ready()
        assert serving_now(running) == "1" and len(engines(running)) == 1


def test_sigterm_in_the_middle_of_a_reload_ends_both_engines_and_exits_0(home: Path, first: Path) -> None:
    with served.serving(first, home, "--version=1") as running, ThreadPoolExecutor(1) as pool:
        running.ready()
        asked = pool.submit(reload, running, made(home, load_s=30.0), 2)
        while len(both := engines(running)) < 2:
            time.sleep(0.01)
        running.process.send_signal(signal.SIGTERM)

        assert running.process.wait(15) == 0
        assert (asked.result().status_code, asked.result().json()["code"]) == (503, "stopping")
        assert not any(engine.is_running() for engine in both)


def test_a_stop_in_the_middle_of_a_switch_under_load_and_with_callers_who_leave_answers_whoever_stays(
    home: Path, first: Path, second: Path
) -> None:
    """Two switches are done while callers come and go, and one is on its way when the service is told to stop."""
    with served.serving(first, home, "--version=1") as running, ThreadPoolExecutor(7) as pool:
        running.ready()
        expected = {"1": answers(running)}
        stop, got, left = threading.Event(), [], []

        def stay(worker: int) -> None:
            with httpx.Client(timeout=60) as client:
                while not stop.is_set():
                    texts = TEXTS[worker:]
                    got.append(
                        (texts, client.post(running.url + CLASSIFY, json={"calls": [{"text": t} for t in texts]}))
                    )

        def leave() -> None:
            while not stop.is_set():
                with suppress(httpx.TimeoutException):
                    many = {"calls": [{"text": t} for t in TEXTS * 60]}
                    httpx.post(running.url + CLASSIFY, json=many, timeout=httpx.Timeout(60, read=0.03))
                left.append(1)

        staying = [pool.submit(stay, worker) for worker in range(4)]
        leaving = [pool.submit(leave) for _ in range(2)]
        assert reload(running, second, 2).status_code == 200
        expected["2"] = answers(running)
        assert reload(running, first, 1).status_code == 200
        switching = pool.submit(reload, running, made(home, load_s=30.0), 3)
        while len(both := engines(running)) < 2:
            time.sleep(0.01)
        time.sleep(0.3)
        running.process.send_signal(signal.SIGTERM)
        ended = [type(asked.exception(timeout=60)) for asked in (*staying, *leaving)]
        stop.set()

        assert running.process.wait(20) == 0
        assert (switching.result().status_code, switching.result().json()["code"]) == (503, "stopping")
        assert not any(engine.is_running() for engine in both)
        log = running.log.read_text()

    assert set(ended) <= {
        httpx.ConnectError,
        httpx.RemoteProtocolError,
        httpx.ReadError,
    }  # the door is shut, between two requests
    assert len(got) > 50 and len(left) > 10 and '"status": 499' in log
    for texts, answer in got:
        assert answer.status_code == 200, answer.text
        (version,) = {r["model_version"].partition("+")[0] for r in answer.json()["results"]}
        for text, result in zip(texts, answer.json()["results"], strict=True):
            assert list(result["probabilities"].values()) == pytest.approx(expected[version][text])


def test_a_service_killed_in_the_middle_of_a_reload_leaves_no_engine_behind(home: Path, first: Path) -> None:
    with served.serving(first, home, "--version=1") as running, ThreadPoolExecutor(1) as pool:
        running.ready()
        asked = pool.submit(reload, running, made(home, load_s=30.0), 2)
        while len(both := engines(running)) < 2:
            time.sleep(0.01)
        time.sleep(1.0)  # the second has begun to load
        running.process.kill()
        running.process.wait()

        assert not psutil.wait_procs(both, timeout=5)[1]
        assert isinstance(asked.exception(), httpx.TransportError)


def test_only_a_key_of_the_administration_may_reload(tmp_path: Path) -> None:
    folder = made(tmp_path)
    crm, ops = keys.add(tmp_path, "crm", ["classify"]), keys.add(tmp_path, "ops", ["admin"])
    with served.serving(folder, tmp_path, "--version=1") as running:
        running.ready()
        body = {"bundle": str(folder), "version": 1}
        asked = [post(running, RELOAD, body, headers={"X-API-Key": key}) for key in ("", crm, ops)]

    told = [json.loads(line) for line in running.log.read_text().splitlines() if RELOAD in line]
    assert [a.status_code for a in asked] == [401, 403, 200]
    assert [(line["status"], line.get("key")) for line in told] == [(401, None), (403, None), (200, "ops")]


@pytest.mark.parametrize("drain", [False, True])
def test_a_service_told_to_stop_finishes_what_the_bundle_before_has_begun(home: Path, first: Path, drain: bool) -> None:
    slow = made(home, delay_s=1.0, shift=7.0)
    with served.serving(slow, home, "--version=1") as running, ThreadPoolExecutor(50) as pool:
        running.ready()
        begun = [pool.submit(post, running, CLASSIFY, CALL)]
        time.sleep(0.3)
        switching = pool.submit(reload, running, first, 2, drain=drain)
        while not retires(running, drain):
            begun += [] if drain else [pool.submit(post, running, CLASSIFY, CALL)]
            time.sleep(0.1)
        is_in_time = not all(asked.done() for asked in begun)
        running.process.terminate()

        assert is_in_time and [asked.result().status_code for asked in begun] == [200] * len(begun)
        assert begun[0].result().json()["model_version"].startswith("1+")
        assert switching.result().status_code == (503 if drain else 200)
        assert running.process.wait(15) == 0


def retires(service: Served, drain: bool) -> bool:
    """Whether the bundle before takes nothing more."""
    if drain:
        return httpx.get(service.url + "/ready").status_code == 503
    return str(httpx.get(service.url + "/model_info").json()["model_version"]).startswith("2+")
