"""Slot `generate` under callers who leave and engines that hang: no place is lost, no text is worked on that nobody wants."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from configs.sources import load
from deploy.store import FolderStore
from flows.adoption import bring
from flows.session import Session
from tasks import gguf_file
from tests.deploy import engines, served, speaking
from tests.deploy.served import Served

SETS = ("serve.threads=1", "serve.precision=fp32", "serve.generate.slots=2", "serve.generate.silence_s=2.5")
ASK = "上个月多扣了我三十块钱，怎么办？"
LONG = "话费" * 1900
SILENCE_S = 2.5


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A model that never ends: some milliseconds a token, and more than a second to read LONG."""
    home = tmp_path_factory.mktemp("home")
    folder = speaking.promoted(home, speaking.write_chatter(home / "model"))
    sets = (f"--set={s}" for s in SETS)
    with served.serving(None, home, f"--generate={folder}", *sets, fake=False) as running:
        yield running.ready(120)


def post(live: Served, prompt: str, length: int, timeout: float = 60) -> httpx.Response:
    body = {"prompt": prompt, "max_length": length, "temperature": 0}
    return httpx.post(f"{live.url}/generate", json=body, timeout=timeout)


def leave(live: Served, after_s: float, prompt: str = LONG) -> None:
    with pytest.raises(httpx.ReadTimeout):
        post(live, prompt, 3500 if prompt != LONG else 200, timeout=after_s)


def engine(live: Served) -> psutil.Process:
    children = psutil.Process(live.process.pid).children()
    return next(p for p in children if "spawn_main" in " ".join(p.cmdline()))


def metric(live: Served, name: str) -> float:
    lines = httpx.get(f"{live.url}/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name + " ")))


def lines(live: Served, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in live.log.read_text().splitlines()]
    return [line for line in found if line["event"] == event]


def test_forty_who_leave_while_their_long_prompts_are_read_cost_the_next_one_nothing(live: Served) -> None:
    before = time.monotonic()
    post(live, LONG, 1)
    whole_s = time.monotonic() - before
    process = engine(live)
    threads = process.num_threads()

    most = 0
    with ThreadPoolExecutor(8) as pool:
        leaving = [pool.submit(leave, live, 0.15) for _ in range(40)]
        while not all(one.done() for one in leaving):
            most = max(most, process.num_threads())
            time.sleep(0.02)
        for one in leaving:
            one.result()
    before = time.monotonic()
    answer = post(live, "好", 2)
    took_s = time.monotonic() - before

    assert answer.json()["tokens_used"] == 2
    assert most <= threads + 4, "two texts are in the engine, and two may have said their last word just now"
    assert took_s < whole_s, f"{took_s:.2f} s after 40 left, and {whole_s:.2f} s is what one of theirs takes"
    assert engine(live) == process


def test_a_stopped_engine_is_found_by_its_first_text_and_a_fresh_one_answers(live: Served) -> None:
    """Prompts sent to it fill the pipe, which nobody reads; the service answers all the same."""
    restarts, process = metric(live, "tingsu_engine_restarts_total"), engine(live)
    process.send_signal(signal.SIGSTOP)

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(post, live, LONG, 5) for _ in range(2)]
        before = time.monotonic()
        while not all(one.done() for one in asked) and time.monotonic() < before + 3 * SILENCE_S:
            httpx.get(f"{live.url}/health", timeout=0.5)
        found_s = time.monotonic() - before
        answers = [one.result() for one in asked]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(503, "engine_unavailable")] * 2
    assert found_s < SILENCE_S + 3
    assert httpx.get(f"{live.url}/ready").status_code == 503
    live.ready(60)
    assert engine(live) != process and not process.is_running()
    assert post(live, "好", 2).json()["tokens_used"] == 2
    assert metric(live, "tingsu_engine_restarts_total") == restarts + 1
    assert "said nothing for 2.5 s" in lines(live, "engine died")[-1]["reason"]


@pytest.mark.slow
def test_an_engine_that_is_stopped_while_it_has_nothing_to_do_is_found_without_a_text(live: Served) -> None:
    process = engine(live)
    process.send_signal(signal.SIGSTOP)

    until = time.monotonic() + SILENCE_S + 4
    while httpx.get(f"{live.url}/ready").status_code == 200:
        assert time.monotonic() < until
        time.sleep(0.1)

    live.ready(60)
    assert engine(live) != process and post(live, "好", 1).status_code == 200


@pytest.mark.slow
def test_an_engine_stopped_after_all_callers_left_is_found_too(live: Served) -> None:
    process = engine(live)
    with ThreadPoolExecutor(2) as pool:
        leaving = [pool.submit(leave, live, 0.3) for _ in range(2)]
        time.sleep(0.2)
        process.send_signal(signal.SIGSTOP)
        for one in leaving:
            one.result()

    late = post(live, "好", 1)

    assert late.status_code == 503, "its place was never given back by an engine that is stopped"
    live.ready(60)
    assert engine(live) != process and post(live, "好", 1).status_code == 200


def test_a_long_prompt_is_no_silence(live: Served) -> None:
    """Two at once take longer to read than an engine may be silent."""
    process = engine(live)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda i: post(live, f"{i}{LONG}", 1), range(4)))

    assert [answer.status_code for answer in answers] == [200] * 4
    assert engine(live) == process


def test_a_text_that_is_surely_too_long_is_refused_unread(live: Served) -> None:
    process, service = engine(live), psutil.Process(live.process.pid)
    post(live, "话" * 2_000_000, 5)
    held = service.memory_info().rss

    answers = [post(live, f"{i}话费" * 700_000, 5) for i in range(6)]

    assert {(a.status_code, a.json()["code"]) for a in answers} == {(422, "too_long")}
    assert all("+ tokens" in a.json()["detail"] for a in answers)
    assert service.memory_info().rss - held < 30 * 2**20, "a text of two million tokens is remembered in 80 MB"
    assert engine(live) == process


def test_who_leaves_a_stream_before_its_first_piece_is_no_fault_of_ours(live: Served) -> None:
    asked = {"model": "generate", "messages": [{"role": "user", "content": LONG}], "stream": True}
    unexpected = len(lines(live, "unexpected"))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{live.url}/v1/chat/completions", json=asked, timeout=0.3)

    assert post(live, "好", 1).status_code == 200
    assert lines(live, "request")[-2]["status"] == 499
    assert len(lines(live, "unexpected")) == unexpected


def test_a_service_that_stood_still_itself_does_not_take_its_engine_for_hung(live: Served) -> None:
    process = engine(live)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(post, live, ASK, 400)
        time.sleep(0.5)
        live.process.send_signal(signal.SIGSTOP)
        time.sleep(SILENCE_S + 1.5)
        live.process.send_signal(signal.SIGCONT)
        assert asked.result().status_code == 200

    assert engine(live) == process


def test_tokens_of_texts_that_were_left_are_counted(live: Served) -> None:
    name = "tingsu_generated_tokens_total"
    before = metric(live, name)
    whole = post(live, ASK, 20).json()["tokens_used"]
    assert metric(live, name) - before == whole == 20

    leave(live, 1.0, ASK)

    assert metric(live, name) - before > 25


@pytest.fixture
def settings(live: Served) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Edits the settings of the service while it runs; says what it made of them."""
    file = live.log.parent.parent / "settings.yaml"

    def edit(generate: str) -> dict[str, Any]:
        before = info()["at"]
        file.write_text(f"serve: {{generate: {{{generate}}}}}\n" if generate else "")
        live.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 20
        while info()["at"] == before:
            assert time.monotonic() < until
            time.sleep(0.02)
        return info()

    def info() -> dict[str, Any]:
        return dict(httpx.get(f"{live.url}/model_info").json()["settings"])

    yield edit
    edit("")


def test_limits_of_texts_change_while_it_runs_and_what_cannot_says_so(
    live: Served, settings: Callable[[str], dict[str, Any]]
) -> None:
    process = engine(live)

    said = settings("answer_tokens: 3, queue: 0, slots: 3, context_tokens: 999")

    assert said["changed"] == ["serve.generate.answer_tokens", "serve.generate.queue"]
    assert said["waiting"] == ["serve.generate.context_tokens", "serve.generate.slots"]
    body = {"prompt": ASK, "temperature": 0}
    assert httpx.post(f"{live.url}/generate", json=body, timeout=60).json()["tokens_used"] == 3
    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(leave, live, 1.5, ASK) for _ in range(2)]
        time.sleep(0.5)
        full = post(live, ASK, 1)
        for one in busy:
            one.result()
    assert (full.status_code, full.json()["code"]) == (503, "overloaded")
    assert settings("answer_tokens: 0")["problem"] is not None
    assert engine(live) == process


def test_a_text_is_cut_off_at_the_limit_of_time_and_its_place_is_free(
    live: Served, settings: Callable[[str], dict[str, Any]]
) -> None:
    settings("limit_s: 0.8")
    with ThreadPoolExecutor(6) as pool:
        texts = [pool.submit(post, live, ASK, 3500) for _ in range(4)]
        chats = [pool.submit(chat, live) for _ in range(2)]
        cut, said = [text.result().json() for text in texts], [one.result() for one in chats]

    assert [text["finish_reason"] for text in cut] == ["time"] * 4
    assert all(0 < text["tokens_used"] < 3500 and text["response_time"] < 8 for text in cut)
    assert all('"finish_reason": "length"' in one and one.endswith("data: [DONE]\n\n") for one in said)
    settings("limit_s: 0.05")
    late = post(live, LONG, 1)
    assert (late.status_code, late.json()["code"]) == (503, "deadline_exceeded")
    settings("")
    before = time.monotonic()
    assert post(live, "好", 1).status_code == 200
    assert time.monotonic() - before < 2


def test_streams_are_left_while_settings_change_and_every_place_comes_back(
    live: Served, settings: Callable[[str], dict[str, Any]]
) -> None:
    process = engine(live)

    with ThreadPoolExecutor(6) as pool:
        leaving = [pool.submit(leave_stream, live, time.monotonic() + 0.2 * at) for at in range(12)]
        for tokens in range(2, 8):
            assert settings(f"answer_tokens: {tokens}")["problem"] is None
        for one in leaving:
            one.result()
        before = time.monotonic()
        answers = list(pool.map(lambda _: post(live, "好", 1), range(2)))

    assert [answer.status_code for answer in answers] == [200] * 2 and time.monotonic() - before < 2
    assert metric(live, "tingsu_queue_texts") == 0 and engine(live) == process


def test_stopped_with_texts_open_and_waiting_it_ends_in_time_and_leaves_no_process(tmp_path: Path) -> None:
    folder = speaking.promoted(tmp_path, speaking.write_chatter(tmp_path / "model"))
    sets = [f"--set={s}" for s in (*SETS, "serve.deadline_s=1")]
    with served.serving(None, tmp_path, f"--generate={folder}", *sets, fake=False) as live:
        live.ready(120)
        process = engine(live)
        with ThreadPoolExecutor(6) as pool:
            texts = [pool.submit(post, live, ASK, 3000 if at else 3) for at in range(3)]
            streams = [pool.submit(chat, live) for _ in range(3)]
            time.sleep(0.5)
            live.process.terminate()
            before = time.monotonic()
            assert live.process.wait(20) == 0
            took_s = time.monotonic() - before

    assert took_s < 8 and not process.is_running()
    for stream in streams:
        assert '"stopping"' in stream.result() and "[DONE]" not in stream.result()
    answers = [text.result() for text in texts]
    assert all(a.status_code == 200 or (a.status_code, a.json()["code"]) == (503, "stopping") for a in answers)
    assert {a.status_code for a in answers} >= {503}
    assert "Traceback" not in live.log.read_text()


STREAM = {
    "model": "generate",
    "messages": [{"role": "user", "content": ASK}],
    "stream": True,
    "max_tokens": 3500,
    "temperature": 0,
}


def chat(live: Served) -> str:
    """The whole stream."""
    return httpx.post(f"{live.url}/v1/chat/completions", json=STREAM, timeout=60).text


def leave_stream(live: Served, at: float) -> None:
    """Read until this monotonic time, then hang up."""
    with httpx.stream("POST", f"{live.url}/v1/chat/completions", json=STREAM, timeout=60) as stream:
        for _ in stream.iter_text():
            if time.monotonic() > at:
                return


@pytest.mark.slow
def test_a_server_of_the_engine_that_hangs_is_ended_with_it(tmp_path: Path) -> None:
    engines.require("llamacpp")
    gguf_file.write(speaking.write_speaker(tmp_path / "model"), tmp_path)
    sets = ("serve.threads=1", "serve.generate.slots=2", "serve.generate.silence_s=3")
    home = Session(load(sets=sets, env={"TINGSU_HOME": str(tmp_path)}), tmp_path)
    folder = bring(tmp_path / "model.gguf", home).folder
    with served.serving(None, tmp_path, f"--generate={folder}", *(f"--set={s}" for s in sets), fake=False) as live:
        live.ready(60)
        (server,) = [p for p in engine(live).children(recursive=True) if "llama" in p.name()]
        server.send_signal(signal.SIGSTOP)

        answer = post(live, ASK, 5)

        assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")
        live.ready(60)
        assert not server.is_running() and post(live, ASK, 5).status_code == 200


@pytest.mark.slow
def test_a_classifier_is_reloaded_while_texts_are_left_and_no_count_falls(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    first, second = (served.promote(store, served.real_bundle(store, seed), tmp_path) for seed in (0, 1))
    text = speaking.promoted(tmp_path, speaking.write_chatter(tmp_path / "model"))
    sets = [f"--set={s}" for s in SETS]
    with served.serving(first, tmp_path, f"--generate={text}", *sets, fake=False) as live:
        live.ready(120)
        engine(live).kill()
        time.sleep(0.5)
        live.ready(60)
        before = metric(live, "tingsu_engine_restarts_total")
        with ThreadPoolExecutor(5) as pool:
            leaving = [pool.submit(leave, live, 0.2 + 0.05 * at) for at in range(24)]
            for folder in (second, first):
                body = {"bundle": str(folder), "drain": True}
                reloaded = httpx.post(f"{live.url}/admin/reload", json=body, timeout=60)
                assert reloaded.json()["how"] == "drained", reloaded.text
            for one in leaving:
                one.result()
        answer = post(live, "好", 1)

        after = metric(live, "tingsu_engine_restarts_total")

    assert before == after == 1 and answer.status_code == 200
