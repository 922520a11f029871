"""The service as a real process: a fake engine where only the service is at stake, the real one end to end."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from configs.serving import ServeSettings
from configs.sources import load
from deploy import bundle, service
from deploy.service.text import prepare
from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.served import Served

CLASSIFY = "/api/v1/classify"
CALL = {"text": "客户：上个月多扣了我三十块钱。"}
SECRET = "我叫王小明住在朝阳区幸福里"


@pytest.fixture(scope="module")
def folder(home: Path) -> Path:
    store = FolderStore(home / "store")
    return served.promote(store, served.fake_bundle(store), home)


@pytest.fixture(scope="module")
def live(folder: Path, home: Path) -> Iterator[Served]:
    with served.serving(folder, home, "--version=3", "--set=serve.max_calls_per_request=50") as running:
        yield running.ready()


def post(service: Served, body: object, **kwargs: Any) -> httpx.Response:
    return httpx.post(service.url + CLASSIFY, json=body, timeout=60, **kwargs)


def slow(home: Path, **behaviour: float) -> Path:
    store = FolderStore(home / f"store-{len(list(home.iterdir()))}")
    return served.promote(store, served.fake_bundle(store, **behaviour), home)


def engine_of(service: Served) -> psutil.Process:
    children = psutil.Process(service.process.pid).children()
    return next(c for c in children if "resource_tracker" not in " ".join(c.cmdline()))


def test_the_web_process_imports_no_training_library_and_starts_in_two_seconds(live: Served) -> None:
    heavy = "torch transformers peft prefect mlflow datasets great_expectations sklearn polars pandas"
    code = f"import sys, deploy.service.server; print([m for m in {heavy.split()} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-P", "-c", code], env=served.environment(), capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "[]"
    assert live.started_s < 2 or psutil.getloadavg()[0] > 2  # a loaded machine proves nothing
    assert psutil.Process(live.process.pid).memory_info().rss < 400 * 2**20


def test_one_call_is_answered_with_the_promised_fields(live: Served) -> None:
    answer = post(live, CALL).json()

    assert set(answer["category"]) == {"key", "code", "name_zh"}
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert answer["confidence"] == pytest.approx(max(answer["probabilities"].values()))
    assert answer["decision"] in ("auto", "review")
    assert answer["model_version"].startswith("3+")
    assert answer["verdict_id"] and answer["synthetic"] is True and answer["evaluation"] is False
    assert "logprobs" not in answer and "label_mass" not in answer


def test_a_batch_keeps_its_order_and_turns_mean_the_same_as_flat_text(live: Served) -> None:
    turns = {"turns": [{"speaker": "customer", "text": "宽带断了"}, {"speaker": "agent", "text": "马上核实"}]}
    flat = {"text": "客户：宽带断了\n客服：马上核实"}
    calls = [{"text": f"客户：第{i}次来电", "conversation_id": f"c{i}"} for i in range(40)]

    batch = post(live, {"calls": [turns, flat, *calls]}).json()["results"]

    assert batch[0]["probabilities"] == batch[1]["probabilities"]
    assert [a["conversation_id"] for a in batch[2:]] == [f"c{i}" for i in range(40)]
    assert batch[5]["probabilities"] == pytest.approx(post(live, calls[3]).json()["probabilities"])


def test_an_empty_call_goes_to_a_person_and_does_not_fail_its_batch(live: Served) -> None:
    empty, other = post(live, {"calls": [{"text": "  "}, CALL]}).json()["results"]

    assert empty["decision"] == "review"
    assert {"code", "en", "zh"} == set(empty["reasons"][-1])
    assert empty["reasons"][-1]["code"] == "empty_call"
    assert all(r["code"] != "empty_call" for r in other["reasons"])


def test_a_very_long_call_of_many_turns_is_cut_and_says_so(live: Served) -> None:
    turns = [{"speaker": "customer", "text": f"第{i}句话我说宽带断了很久很久"} for i in range(5000)]

    answer = post(live, {"turns": turns}).json()

    assert answer["truncated"] > 1000
    assert answer["tokens"] < 500


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{nope", 422, "invalid_request"),
        (b"[]", 422, "invalid_request"),
        (b"null", 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
        (b'{"text": "a", "turns": []}', 422, "invalid_request"),
        (b'{"text": "\\ud800"}', 422, "invalid_request"),
        (b'{"text": "a", "surprise": 1}', 422, "invalid_request"),
        (b'{"calls": []}', 422, "invalid_request"),
        (b'{"turns": [{"speaker": "robot", "text": "a"}]}', 422, "invalid_request"),
        (b'{"text": "\xff"}', 400, "invalid_request"),
        (json.dumps({"calls": [CALL] * 51}).encode(), 413, "too_many_calls"),
        (b'{"text": "' + b"a" * 10**7 + b'"}', 413, "body_too_large"),
    ],
)
def test_a_wrong_request_gets_a_problem_in_both_languages(live: Served, body: bytes, status: int, code: str) -> None:
    answer = httpx.post(live.url + CLASSIFY, content=body, headers={"content-type": "application/json"}, timeout=30)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["detail"] and problem["detail_zh"] and problem["request_id"] == answer.headers["x-request-id"]


def test_a_chunked_body_cannot_pass_the_limit_by_not_saying_its_size(live: Served) -> None:
    chunks = (b"a" * 2**20 for _ in range(12))

    answer = httpx.post(live.url + CLASSIFY, content=chunks, headers={"content-type": "application/json"}, timeout=30)

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_connection_that_is_kept_is_answered_as_fast_as_a_new_one(live: Served) -> None:
    """Held back for the client's acknowledgement, every answer but the first would take 40 ms more."""
    with httpx.Client(base_url=live.url) as client:
        seconds = sorted(client.get("/ready").elapsed.total_seconds() for _ in range(41))

    assert seconds[20] < 0.03


def test_unknown_paths_and_methods_are_problems_too(live: Served) -> None:
    assert httpx.get(live.url + "/nowhere").json()["code"] == "not_found"
    assert httpx.get(live.url + CLASSIFY).json()["code"] == "method_not_allowed"


def test_state_endpoints_have_the_promised_names(live: Served) -> None:
    post(live, CALL)
    health, stats = httpx.get(live.url + "/health").json(), httpx.get(live.url + "/stats").json()
    info, metrics = httpx.get(live.url + "/model_info").json(), httpx.get(live.url + "/metrics").text

    assert set(health) == {"status", "model_loaded", "uptime_seconds", "memory_usage"}
    assert health["status"] == "healthy" and set(health["memory_usage"]) == {"percent", "gpu_used_gb"}
    assert set(stats) == {
        "total_requests",
        "successful_requests",
        "failed_requests",
        "average_response_time",
        "uptime_hours",
        "model_memory_usage",
    }
    assert stats["total_requests"] == stats["successful_requests"] + stats["failed_requests"] > 0
    assert info["verdict"]["decision"] == "PROMOTE" and info["evaluation"] is False
    for name in (
        'qwen3_inference_requests_total{endpoint="/api/v1/classify",side="champion",status="200"}',
        "qwen3_inference_duration_seconds_bucket",
        "qwen3_model_memory_usage_bytes",
        "qwen3_active_connections",
        "tingsu_ready 1.0",
    ):
        assert name in metrics


def test_no_text_of_a_call_reaches_the_log(live: Served) -> None:
    post(live, {"text": SECRET})
    post(live, {"text": SECRET, "turns": [{"speaker": SECRET, "text": SECRET}]})
    post(live, {"calls": [{"text": SECRET, "customer_id": SECRET}]}, headers={"x-request-id": "find-me"})
    until = time.monotonic() + 5
    while "find-me" not in live.log.read_text() and time.monotonic() < until:
        time.sleep(0.05)

    log = live.log.read_text()
    assert "find-me" in log
    assert SECRET not in log and json.dumps(SECRET)[1:-1] not in log


def test_an_engine_that_fails_unexpectedly_says_where_and_quotes_nothing(folder: Path, home: Path) -> None:
    with served.serving(folder, home, loader="load_quoting") as running:
        running.ready()
        answer = httpx.post(running.url + CLASSIFY, json={"text": "客户：你好"}, timeout=60)
        said = running.log.read_text()

    lines = [json.loads(line) for line in said.splitlines()]
    failed = [line for line in lines if line["event"] == "engine failed"]
    assert answer.status_code == 503
    assert [line["error"] for line in failed] == ["KeyError"] * 2 and "failing" in failed[0]["where"][-1]
    assert served.QUOTED not in said


def test_a_dead_engine_means_503_to_who_comes_and_an_answer_by_the_next_to_who_was_there(home: Path) -> None:
    """One call of the four is with the engine when it dies, three wait."""
    with served.serving(slow(home, delay_s=0.5, load_s=0.5), home, "--set=serve.batch_tokens=256") as running:
        running.ready()
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(post, running, CALL) for _ in range(4)]
            time.sleep(0.3)
            engine_of(running).kill()
            while httpx.get(running.url + "/ready").status_code == 200:
                time.sleep(0.005)
            while_away = httpx.get(running.url + "/ready"), post(running, CALL)
            alive = httpx.get(running.url + "/health")
            answers = [a.result() for a in asked]

        assert [a.status_code for a in answers] == [200] * 4
        assert [a.status_code for a in while_away] == [503, 503]
        assert all(int(a.headers["retry-after"]) >= 1 and a.json()["code"] == "not_ready" for a in while_away)
        assert alive.status_code == 200 and alive.json()["status"] == "engine restarting"
        assert post(running, CALL).status_code == 200
        assert httpx.get(running.url + "/model_info").json()["engine_restarts"] == 1


def test_who_waits_for_a_dead_engine_in_vain_is_told_at_once_and_when_to_come_back(home: Path) -> None:
    few = ("--set=serve.batch_tokens=256", "--set=serve.deadline_s=3.5")
    with served.serving(slow(home, delay_s=1.0, load_s=3.0), home, *few) as running:
        running.ready()
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(post, running, CALL) for _ in range(3)]
            time.sleep(0.5)
            engine_of(running).kill()
            answers = [a.result() for a in asked]

        assert {(a.status_code, a.json()["code"]) for a in answers} == {(503, "engine_unavailable")}
        assert all(3 <= int(a.headers["retry-after"]) <= 8 for a in answers)
        assert max(a.elapsed.total_seconds() for a in answers) < 1.5


def test_overload_is_refused_at_once_with_a_time_to_come_back(home: Path) -> None:
    small = ("--set=serve.queue_calls=4", "--set=serve.batch_tokens=300")
    with served.serving(slow(home, delay_s=0.4), home, *small) as running, httpx.Client(timeout=60) as client:
        running.ready()
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: client.post(running.url + CLASSIFY, json=CALL), range(24)))

    refused = [a for a in answers if a.status_code == 503]
    assert 0 < len(refused) < 24
    assert {a.status_code for a in answers} == {200, 503}
    assert all(a.json()["code"] == "overloaded" and int(a.headers["retry-after"]) >= 1 for a in refused)
    assert sorted(a.elapsed.total_seconds() for a in refused)[len(refused) // 2] < 0.3


def test_sigterm_finishes_what_is_in_flight_and_exits_0(home: Path) -> None:
    with served.serving(slow(home, delay_s=0.8), home) as running:
        running.ready()
        child = engine_of(running)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(post, running, CALL)
            time.sleep(0.4)
            running.process.send_signal(signal.SIGTERM)
            answer = asked.result()

        assert answer.status_code == 200
        assert running.process.wait(10) == 0
        assert not child.is_running()


def test_sigterm_does_not_wait_for_an_engine_that_hangs(home: Path) -> None:
    with served.serving(slow(home), home, "--set=serve.deadline_s=1.5") as running:
        running.ready()
        engine_of(running).suspend()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(post, running, CALL)
            time.sleep(0.3)
            running.process.send_signal(signal.SIGTERM)
            answer = asked.result()

        assert (answer.status_code, answer.json()["code"]) == (503, "deadline_exceeded")
        assert running.process.wait(10) == 0


def test_sigterm_while_the_engine_loads_ends_at_once(home: Path) -> None:
    with served.serving(slow(home, load_s=30.0), home) as running:
        assert httpx.get(running.url + "/health").json()["status"] == "engine loading"
        assert post(running, CALL).json()["code"] == "not_ready"
        running.process.send_signal(signal.SIGTERM)

        assert running.process.wait(8) == 0


def test_a_killed_service_leaves_no_engine_behind(folder: Path, home: Path) -> None:
    with served.serving(folder, home) as running:
        running.ready()
        child = engine_of(running)
        running.process.kill()
        running.process.wait()

        assert not psutil.wait_procs([child], timeout=5)[1]


def test_only_a_promoted_whole_bundle_starts(home: Path, folder: Path) -> None:
    store = FolderStore(home / "unverified")
    bare = bundle.place(store, served.fake_bundle(store))
    held = served.promote(FolderStore(home / "held"), served.fake_bundle(FolderStore(home / "held")), home, "HOLD")
    corrupt = slow(home, delay_s=0.25)
    (corrupt / "model/model.safetensors").write_bytes(b"v" * 1000)
    expected = [
        (bare, (), 3, "has no verdict"),
        (held, (), 3, "HOLD"),
        (corrupt, (), 1, "model/model.safetensors"),
        (bare, ("--evaluation", "--host=0.0.0.0"), 2, "loopback"),
        (home / "nowhere", (), 2, "is not a folder"),
    ]

    for where, more, exit_code, said in expected:
        found = served.refused(where, home, *more)
        assert (found.returncode, said in found.stderr) == (exit_code, True), found.stderr
        assert "Traceback" not in found.stderr


def test_a_held_port_is_refused_by_name(live: Served, folder: Path, home: Path) -> None:
    found = served.refused(folder, home, "--port=" + live.url.rsplit(":", 1)[1])

    assert found.returncode == 4
    assert live.url.removeprefix("http://") in found.stderr


def test_a_port_that_is_none_is_refused_by_name(folder: Path, home: Path) -> None:
    found = subprocess.run(
        served.argv(folder, home, 70_000), env=served.environment(), capture_output=True, text=True, timeout=60
    )

    assert found.returncode == 2 and "70000" in found.stderr and "Traceback" not in found.stderr


def test_the_command_passes_every_resolved_setting_on(home: Path, folder: Path) -> None:
    settings = ServeSettings(deadline_s=7.5, threads=1)

    argv = service.command(folder, 1234, home, settings, evaluation=True, version=4)

    given = [a.removeprefix("--set=") for a in argv if a.startswith("--set=")]
    assert load(sets=given, env={"MODEL_PATH": "/elsewhere", "TINGSU_SERVE__THREADS": "9"}).serve == settings
    assert "--evaluation" in argv and "--version=4" in argv


def test_evaluation_marks_every_answer_and_gives_the_raw_numbers(home: Path) -> None:
    store = FolderStore(home / "evaluation")
    with served.serving(bundle.place(store, served.fake_bundle(store)), home, "--evaluation") as running:
        running.ready()
        one, many = post(running, CALL).json(), post(running, {"calls": [CALL]}).json()

        assert one["evaluation"] is True and many["evaluation"] is True and many["results"] == [one]
        assert one["verdict_id"] is None
        assert len(one["logprobs"]) == len(served.TAXONOMY.keys)
        assert 0 < one["label_mass"] <= 1


def test_an_engine_that_answers_otherwise_than_measured_never_becomes_ready(home: Path) -> None:
    store = FolderStore(home / "parity")
    model = served.fake_model(store)
    right = served.golden(store.root / model.key, served.FakeEngine())
    wrong = right[0].model_copy(update={"probabilities": dict.fromkeys(served.TAXONOMY.keys, 0.5)})
    folder = bundle.place(store, bundle.assemble(served.parts(model, (right[1], wrong)), store))

    found = served.refused(folder, home, "--evaluation")

    assert found.returncode == 1
    assert "parity probe" in found.stderr and "golden call 2 of 2" in found.stderr


def test_a_random_qwen3_is_bundled_promoted_served_and_answers_as_the_engine_does(home: Path) -> None:
    from data_contracts.schema import Call
    from deploy import calibration
    from deploy.engines.transformers import TransformersEngine
    from deploy.tokenizer import Tokens

    store = FolderStore(home / "real")
    folder = served.promote(store, served.real_bundle(store), home)
    engine = TransformersEngine.load(folder / "model", precision="fp32", threads=1)
    text = "客户：嗯，那个，宽带又断了，我要投诉。"
    tokens = Tokens.load(folder / "model")
    ids = served.PROMPT.encode(prepare(Call(text=text), served.PROMPT), tokens).ids
    scores = engine.score([ids], served.TAXONOMY.code_ids(tokens), len(served.PROMPT.frame(tokens)[0]))
    expected = calibration.apply(served.CALIBRATION, scores.logprobs)[0]

    with served.serving(folder, home, "--set=serve.threads=1", "--set=serve.precision=fp32", fake=False) as running:
        running.ready(120)
        answer = post(running, {"text": text}).json()

    assert list(answer["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-4)
    assert running.process.returncode == 0
