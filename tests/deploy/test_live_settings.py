"""Settings of a running service: an edited file counts, a wrong one changes nothing, and what cannot change says that it waits."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.served import CALIBRATION, Served

CLASSIFY = "/api/v1/classify"
CALL = {"text": "客户：上个月多扣了我三十块钱。"}


@dataclass
class Running:
    """A service and the file it looks at."""

    live: Served
    file: Path

    def post(self, calls: int = 1, **more: Any) -> httpx.Response:
        return httpx.post(self.live.url + CLASSIFY, json={"calls": [CALL] * calls}, timeout=30, **more)

    def info(self) -> dict[str, Any]:
        return dict(httpx.get(self.live.url + "/model_info").json())

    def edit(self, text: str) -> dict[str, Any]:
        """Write the file, have it read at once, and return what the service says of its settings."""
        before = self.info()["settings"]["at"]
        self.file.write_text(text, encoding="utf-8")
        self.live.process.send_signal(signal.SIGHUP)
        until(lambda: self.info()["settings"]["at"] != before)
        return dict(self.info()["settings"])


def until(holds: Callable[[], bool], limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    store = FolderStore(home / "store")
    folder = served.promote(store, served.fake_bundle(store), home)
    (home / "settings.yaml").write_text("serve: {max_turns: 50}\n")
    with served.serving(folder, home, "--version=3", "--set=serve.max_calls_per_request=40") as running:
        yield Running(running.ready(), home / "settings.yaml")


@pytest.fixture
def running(started: Running) -> Iterator[Running]:
    yield started
    started.edit("serve: {max_turns: 50}\n")


def test_limits_change_while_it_runs_and_go_back_with_the_file(running: Running) -> None:
    assert running.post(3).status_code == 200

    said = running.edit("serve: {max_calls_per_request: 2, max_turns: 50, max_body_mb: 0.001, queue_calls: 1}\n")

    assert said["changed"] == ["serve.max_body_mb", "serve.max_calls_per_request", "serve.queue_calls"]
    assert (said["waiting"], said["problem"]) == ([], None)
    assert running.post(3).json()["code"] == "too_many_calls"
    assert "at most 1 are allowed" in running.post(2).json()["detail"]  # a queue of one never has room for two
    assert running.post(30).json()["code"] == "body_too_large"
    assert running.edit("serve: {max_turns: 50}\n")["changed"] == []
    assert running.post(30).status_code == 200
    assert running.post(41).json()["code"] == "too_many_calls"  # as `--set` had it at the start


def engine_of(running: Running) -> psutil.Process:
    children = psutil.Process(running.live.process.pid).children()
    return next(c for c in children if "resource_tracker" not in " ".join(c.cmdline()))


def test_times_and_batches_change_while_it_runs(running: Running) -> None:
    said = running.edit(
        "serve: {deadline_s: 1.0, client_timeout_s: 0.7, max_wait_ms: 600, batch_tokens: 3000, max_turns: 50}\n"
    )
    assert said["changed"] == [f"serve.{n}" for n in ("batch_tokens", "client_timeout_s", "deadline_s", "max_wait_ms")]

    assert running.info()["batch_tokens"] == 3000
    alone = [running.post(5), running.post()][1]  # a batch of one call, after one of five
    assert 0.5 < alone.elapsed.total_seconds() < 0.95
    with socket.create_connection(("127.0.0.1", int(running.live.url.rsplit(":", 1)[1])), timeout=10) as raw:
        began = time.monotonic()
        assert raw.recv(1) == b"" and 0.5 < time.monotonic() - began < 3
    engine_of(running).suspend()
    late = running.post()
    engine_of(running).resume()
    assert (late.json()["code"], 0.9 < late.elapsed.total_seconds() < 1.6) == ("deadline_exceeded", True)

    running.edit("serve: {max_turns: 50}\n")
    assert [running.post(5), running.post()][1].elapsed.total_seconds() < 0.3


def test_the_time_an_engine_may_take_to_start_changes_while_it_runs(running: Running) -> None:
    running.edit("serve: {start_timeout_s: 0.05}\n")
    engine_of(running).kill()
    until(lambda: "did not answer within 0 s" in running.live.log.read_text())
    assert running.post().json()["code"] == "not_ready"

    running.edit("serve: {max_turns: 50}\n")
    running.live.ready()
    assert running.post().status_code == 200


def test_a_change_is_noticed_without_a_signal_also_behind_a_link(running: Running, tmp_path: Path) -> None:
    """A ConfigMap is mounted so: a link to a folder is exchanged, and the file's own name never changes."""
    for name, most in (("a", 5), ("b", 6)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.yaml").write_text(f"serve: {{max_calls_per_request: {most}}}\n")
    (tmp_path / "data").symlink_to("a")
    running.file.unlink()
    running.file.symlink_to(tmp_path / "data/settings.yaml")
    until(lambda: running.post(6).status_code == 413)
    (tmp_path / "next").symlink_to("b")
    os.replace(tmp_path / "next", tmp_path / "data")

    until(lambda: running.post(6).status_code == 200)
    assert running.post(7).status_code == 413
    running.file.unlink()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("serve: {max_calls_per_request: 0}\n", "serve.max_calls_per_request' = 0"),
        ("serve: {max_call_per_request: 2}\n", "did you mean 'serve.max_calls_per_request'"),
        ("serve: [\n", "cannot be read as YAML"),
        ("a: " + "[" * 3000, "cannot be read as YAML"),
    ],
)
def test_a_wrong_file_keeps_what_held_and_says_why(running: Running, text: str, said: str) -> None:
    running.edit("serve: {max_calls_per_request: 2}\n")

    problem = running.edit(text)["problem"]

    assert said in problem
    assert json.dumps(problem, ensure_ascii=False)[1:-1] in running.live.log.read_text()
    assert running.post(3).status_code == 413 and running.post(2).status_code == 200
    assert running.edit("serve: {max_calls_per_request: 3}\n")["problem"] is None
    assert running.post(3).status_code == 200


def test_what_cannot_change_is_named_and_waits_for_a_restart(running: Running) -> None:
    said = running.edit("serve: {threads: 3, precision: bf16, max_turns: 9}\ntrain: {epochs: 9}\n")

    assert said["waiting"] == ["serve.precision", "serve.threads"]
    assert said["changed"] == ["serve.max_turns"]


def test_review_may_only_grow_without_a_new_gate(running: Running) -> None:
    approved = CALIBRATION.threshold
    assert running.info()["threshold"] == approved
    assert "auto" in decisions(running)

    running.edit("serve: {review_below: 1.0}\n")
    assert running.info()["threshold"] == 1.0
    assert set(decisions(running)) == {"review"}

    problem = running.edit("serve: {review_below: 0.1}\n")["problem"]
    assert f"0.1 is lower than the {approved:g}" in problem and "gate" in problem
    assert running.info()["threshold"] == 1.0


def test_calls_of_a_category_are_reviewed_from_now_on_and_one_that_is_unknown_is_refused(running: Running) -> None:
    before = answers(running)
    often = before[0]["category"]["key"]
    running.edit(f"serve: {{review_categories: [{often}]}}\n")

    for was, now in zip(before, answers(running), strict=True):
        assert now["category"] == was["category"] and now["probabilities"] == was["probabilities"]
        added = [r["code"] for r in now["reasons"] if r not in was["reasons"]]
        assert added == (["reviewed_category"] if now["category"]["key"] == often else [])
        assert now["decision"] == ("review" if now["reasons"] else "auto")
    assert running.info()["review_categories"] == [often]

    problem = running.edit("serve: {review_categories: [no_such]}\n")["problem"]
    assert "names no_such" in problem and often in problem
    assert running.info()["review_categories"] == [often]
    running.edit("serve: {max_turns: 50}\n")
    assert answers(running) == before


def answers(running: Running) -> list[dict[str, Any]]:
    calls = [{"text": f"客户：第{i}次来电"} for i in range(30)]
    found = httpx.post(running.live.url + CLASSIFY, json={"calls": calls}).raise_for_status().json()["results"]
    return list(found)


def decisions(running: Running) -> list[str]:
    calls = [{"text": f"客户：第{i}次来电"} for i in range(20)]
    return [r["decision"] for r in httpx.post(running.live.url + CLASSIFY, json={"calls": calls}).json()["results"]]


def test_the_level_of_the_log_changes(running: Running) -> None:
    running.edit("log: {level: ERROR}\n")
    running.post(headers={"x-request-id": "not-to-be-told"})
    running.edit("log: {level: INFO}\n")
    running.post(headers={"x-request-id": "to-be-told"})

    until(lambda: "to-be-told" in running.live.log.read_text().replace("not-to-be-told", ""))
    assert "not-to-be-told" not in running.live.log.read_text()


def test_the_environment_still_comes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path / "store")
    folder = served.promote(store, served.fake_bundle(store), tmp_path)
    monkeypatch.setenv("TINGSU_SERVE__MAX_CALLS_PER_REQUEST", "4")
    with served.serving(folder, tmp_path) as live:
        service = Running(live.ready(), tmp_path / "settings.yaml")

        said = service.edit("serve: {max_calls_per_request: 2, max_turns: 7}\n")

        assert said["changed"] == ["serve.max_turns"]
        assert service.post(4).status_code == 200


def test_a_log_file_that_has_grown_is_put_aside_and_no_line_is_lost(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    folder = served.promote(store, served.fake_bundle(store), tmp_path)
    (tmp_path / "settings.yaml").write_text("log: {max_mb: 0.01, kept: 9}\n")
    with served.serving(folder, tmp_path) as live, httpx.Client(base_url=live.ready().url) as client:
        for number in range(300):
            client.post(CLASSIFY, json=CALL, headers={"x-request-id": f"r-{number}"}).raise_for_status()

    files = [live.log.with_name(f"{live.log.name}.{n}") for n in range(9, 0, -1)]
    old = [file for file in files if file.exists()]
    lines = [json.loads(line) for file in (*old, live.log) for line in file.read_text().splitlines()]
    assert 3 <= len(old) <= 9
    assert [x["request_id"] for x in lines if x["event"] == "request"] == [f"r-{n}" for n in range(300)]
    assert all(file.stat().st_size < 11_000 for file in old)


def test_texts_are_logged_only_when_asked_for_by_share_and_then_masked(running: Running) -> None:
    said = {"text": "客户：我叫王小明，手机13812345678，上个月多扣了三十块钱。"}
    ask = lambda: httpx.post(running.live.url + CLASSIFY, json=said, timeout=30).raise_for_status()  # noqa: E731
    ask()
    before = running.live.log.read_text()
    running.edit("log: {text_share: 1.0}\n")
    ask()
    running.edit("log: {text_share: 0.0}\n")
    ask()
    lines = [json.loads(line) for line in running.live.log.read_text().splitlines() if '"event": "call"' in line]

    assert '"event": "call"' not in before
    assert len(lines) == 1
    assert "多扣了三十块钱" in lines[0]["text"]
    assert lines[0]["decision"] in ("auto", "review")
    assert "13812345678" not in running.live.log.read_text()
