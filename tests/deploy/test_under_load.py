"""The service under Locust's load: the bundle is replaced, the engine is killed, and every request gets its right answer."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.served import Served
from tests.deploy.swarm import CLASSIFY, TEXTS, Got, swarm

Expected = dict[str, list[dict[str, object]]]
REAL = ("--set=serve.threads=1", "--set=serve.precision=fp32")


@pytest.fixture(scope="module")
def folders(home: Path) -> dict[str, Path]:
    """Two random models of thirty thousand parameters."""
    store = FolderStore(home / "store")
    return {str(seed): served.promote(store, served.real_bundle(store, seed), home) for seed in (1, 2)}


@pytest.fixture(scope="module")
def live(folders: dict[str, Path], home: Path) -> Iterator[Served]:
    with served.serving(folders["1"], home, "--version=1", *REAL, fake=False) as running:
        yield running.ready(120)


def answers(live: Served) -> Expected:
    """What the version that serves answers when nothing else is asked."""
    answer = httpx.post(live.url + CLASSIFY, json={"calls": [{"text": t} for t in TEXTS]}, timeout=60).json()
    return {answer["model_version"].partition("+")[0]: answer["results"]}


def reload(live: Served, folders: dict[str, Path], version: str) -> None:
    body = {"bundle": str(folders[version]), "version": int(version)}
    answer = httpx.post(live.url + "/admin/reload", json=body, timeout=180)
    assert answer.status_code == 200, answer.text


def require_right(got: Sequence[Got], expected: Expected) -> set[str]:
    """Every answer is that of the one version it names; the versions seen."""
    seen = set()
    for one in got:
        results = one.body["results"]
        (version,) = {str(r["model_version"]).partition("+")[0] for r in results}
        for i, result in zip(one.asked, results, strict=True):
            wanted = expected[version][i]
            assert result["category"] == wanted["category"]
            assert result["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-4)
        seen.add(version)
    return seen


def test_a_reload_under_load_fails_not_one_of_two_thousand_requests(
    live: Served, folders: dict[str, Path], tmp_path: Path
) -> None:
    expected = answers(live)
    with swarm(live.url, tmp_path / "got.jsonl", least=2000) as users:
        users.until(100)
        reload(live, folders, "2")
        users.until(100)
        got = users.ended()
    expected |= answers(live)

    assert len(got) >= 2000
    assert all(a["probabilities"] != b["probabilities"] for a, b in zip(expected["1"], expected["2"], strict=True))
    assert [g for g in got if g.status != 200] == []
    assert require_right(got, expected) == {"1", "2"}


def test_an_engine_killed_under_load_means_a_right_answer_or_a_time_to_come_back(live: Served, tmp_path: Path) -> None:
    expected = answers(live)
    before = httpx.get(live.url + "/model_info").json()
    with swarm(live.url, tmp_path / "got.jsonl") as users:
        users.until(100)
        engine(live).kill()
        while httpx.get(live.url + "/ready").status_code == 200:
            time.sleep(0.005)
        live.ready(120)
        users.until(100)
        got = users.ended()

    answered, refused = ([g for g in got if (g.status == 200) is is_right] for is_right in (True, False))
    assert require_right(answered, expected) and len(answered) >= 200
    assert {g.status for g in refused} <= {503}
    assert all(int(g.retry_after) >= 1 for g in refused)
    assert {g.body["code"] for g in refused} <= {"not_ready"}  # who was there already is answered by the next engine
    assert max(g.seconds for g in got) < 30
    after = httpx.get(live.url + "/model_info").json()
    assert after["engine_restarts"] == before["engine_restarts"] + 1
    assert after["batch_tokens"] == before["batch_tokens"]  # it was not the kernel, for memory


@pytest.mark.slow
def test_ten_reloads_with_the_new_engine_killed_in_some_fail_no_request(
    live: Served, folders: dict[str, Path], tmp_path: Path
) -> None:
    """The engine that is killed is the one being loaded: the reload tries again, and nobody notices."""
    reload(live, folders, "1")
    expected = answers(live)
    with swarm(live.url, tmp_path / "got.jsonl", users=16, least=10_000) as users:
        users.until(100)
        for number in range(10):
            (serving,) = engines(live)
            killer = _Killer(live, serving) if number % 3 == 1 else None
            reload(live, folders, "2" if number % 2 == 0 else "1")
            expected |= answers(live)
            assert killer is None or killer.has_killed
            users.until(100)
        got = users.ended(600)

    assert len(got) >= 10_000
    assert [g for g in got if g.status != 200] == []
    assert require_right(got, expected) == {"1", "2"}
    assert len(engines(live)) == 1


class _Killer:
    """Kills the first engine that appears beside the one that serves."""

    def __init__(self, live: Served, serving: psutil.Process) -> None:
        from threading import Thread

        self.has_killed = False
        self._live, self._serving = live, serving
        Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        while not (others := [e for e in engines(self._live) if e != self._serving]):
            time.sleep(0.005)
        others[0].kill()
        self.has_killed = True


def engine(live: Served) -> psutil.Process:
    (found,) = engines(live)
    return found


def engines(live: Served) -> list[psutil.Process]:
    children = psutil.Process(live.process.pid).children()
    return [c for c in children if "resource_tracker" not in " ".join(c.cmdline())]
