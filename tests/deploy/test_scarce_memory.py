"""Memory that does not suffice, for real: an address space that is too small, and a control group whose kernel kills."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.served import Served

CLASSIFY = "/api/v1/classify"
CALLS = [{"text": f"客户：第{i}次打来，{'宽带还是断的，没有人管。' * 12}"} for i in range(64)]
REAL = ("--set=serve.threads=1", "--set=serve.precision=fp32")
LONG = served.PROMPT.model_copy(update={"max_call_tokens": 640})
GROUP = Path("/sys/fs/cgroup/memory/tingsu-scarce")


def ask(service: Served) -> httpx.Response:
    return httpx.post(service.url + CLASSIFY, json={"calls": CALLS}, timeout=120)


def batch_tokens(service: Served) -> int:
    return int(httpx.get(service.url + "/model_info").json()["batch_tokens"])


@pytest.mark.slow
def test_a_batch_too_large_for_memory_is_halved_answered_and_not_tried_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderStore(home / "store")
    folder = served.promote(store, served.real_bundle(store, intermediate_size=8192), home)
    monkeypatch.setenv("TEST_ROOM_MB", "100")
    with served.serving(folder, home, "--version=1", *REAL, loader="load_scarce") as running:
        running.ready(120)
        first, fitting, second = ask(running), batch_tokens(running), ask(running)
        alone = [httpx.post(running.url + CLASSIFY, json=call, timeout=60).json() for call in CALLS]
        log = running.log.read_text()
        restarts = httpx.get(running.url + "/model_info").json()["engine_restarts"]

    assert (first.status_code, second.status_code, restarts) == (200, 200, 0), log[-2000:]
    for found in (first, second):
        for answer, wanted in zip(found.json()["results"], alone, strict=True):
            assert answer["category"] == wanted["category"]
            assert answer["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-4)
    assert 256 <= fitting < 8192
    assert "batches shrunk for memory" in log


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of 300 MB, for processes that are put into it."""
    try:
        GROUP.mkdir(exist_ok=True)
        (GROUP / "memory.limit_in_bytes").write_text(str(300 * 2**20))
    except OSError:
        pytest.skip("no control group can be made here")
    yield GROUP
    until = time.monotonic() + 10
    while GROUP.exists():  # the last of its processes may be ending
        with suppress(OSError):
            GROUP.rmdir()
        assert time.monotonic() < until


def test_an_engine_the_kernel_killed_for_memory_comes_back_with_smaller_batches_and_answers(
    home: Path, group: Path
) -> None:
    """About 9,000 tokens come in one batch, and memory is there for some 5,000."""
    store = FolderStore(home / "store")
    folder = served.promote(store, served.fake_bundle(store, token_mb=0.05), home)
    with served.serving(folder, home, "--version=1", "--set=serve.batch_tokens=20000") as running:
        running.ready()
        for process in (psutil.Process(running.process.pid), *psutil.Process(running.process.pid).children()):
            (group / "cgroup.procs").write_text(str(process.pid))
        first, second = ask(running), ask(running)
        log, info = running.log.read_text(), httpx.get(running.url + "/model_info").json()

    assert (first.status_code, second.status_code) == (200, 200)
    assert 1 <= info["engine_restarts"] <= 3 and info["batch_tokens"] < 6000
    assert "engine died" in log and "batches shrunk for memory" in log


def test_a_call_that_does_not_fit_into_memory_alone_is_refused_and_the_engine_lives(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The long one needs three times what the engine has from reading the head of 181 tokens, and 40 MB more are there."""
    store = FolderStore(home / "store")
    folder = served.promote(store, served.real_bundle(store, 3, LONG, intermediate_size=65536), home)
    monkeypatch.setenv("TEST_ROOM_MB", "40")
    monkeypatch.setenv("TEST_ROOM_FROM", "3")
    short, long = {"text": "客户：断网了。"}, {"text": 8 * CALLS[0]["text"]}
    with served.serving(folder, home, "--version=1", *REAL, loader="load_scarce") as running:
        running.ready(120)
        engine = psutil.Process(running.process.pid).children()
        refused = httpx.post(running.url + CLASSIFY, json={"calls": [short, long, short]}, timeout=60)
        chat = {"model": "complaints", "messages": [{"role": "user", "content": long["text"]}]}
        openai = httpx.post(running.url + "/v1/chat/completions", json=chat, timeout=60)
        answered = httpx.post(running.url + CLASSIFY, json=short, timeout=60)
        log, info = running.log.read_text(), httpx.get(running.url + "/model_info").json()

        assert (refused.status_code, refused.json()["code"]) == (413, "call_too_large"), log[-2000:]
        assert "call 2 " in refused.json()["detail"] and "第 2 通" in refused.json()["detail_zh"]
        assert (openai.status_code, openai.json()["error"]["code"]) == (413, "call_too_large")
        assert (answered.status_code, info["engine_restarts"]) == (200, 0)
        assert psutil.Process(running.process.pid).children() == engine
