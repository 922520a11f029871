"""Several engine processes behind one queue: both work, and one that stands still or dies holds up nobody else."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.served import Served

CALL = {"text": "客户：上个月多扣了我三十块钱。"}


@pytest.fixture(scope="module")
def live(home: Path) -> Iterator[Served]:
    store = FolderStore(home / "store")
    folder = served.promote(store, served.fake_bundle(store, delay_s=0.02), home)
    with served.serving(folder, home, "--set=serve.engines=2") as running:
        running.ready()
        until(lambda: running.log.read_text().count("engine ready") == 2)
        yield running


def engines(service: Served) -> list[psutil.Process]:
    children = psutil.Process(service.process.pid).children()
    return [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]


def until(holds: Callable[[], bool], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def ask(service: Served) -> httpx.Response:
    return httpx.post(f"{service.url}/api/v1/classify", json=CALL, timeout=60)


def test_an_engine_that_stands_still_holds_up_only_what_it_works_on(live: Served) -> None:
    still, other = engines(live)
    still.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, live) for _ in range(8)]
        until(lambda: any(one.done() for one in asked))
        later = [pool.submit(ask, live) for _ in range(8)]
        until(lambda: sum(one.done() for one in later) >= 1)
        still.send_signal(signal.SIGCONT)
        answers = [one.result().status_code for one in (*asked, *later)]

    assert answers == [200] * 16 and other.is_running()


def test_while_one_that_died_is_started_again_the_other_answers(live: Served) -> None:
    before = httpx.get(f"{live.url}/model_info").json()
    engines(live)[0].kill()
    states = set()
    answers = []
    while httpx.get(f"{live.url}/model_info").json()["engine_restarts"] == before["engine_restarts"]:
        answers.append(ask(live).status_code)
        states.add(httpx.get(f"{live.url}/ready").status_code)
    until(lambda: len(engines(live)) == 2)

    assert set(answers) <= {200} and states <= {200} and ask(live).status_code == 200
    assert before["memory_mb"] == 25.0  # both of them
