"""The benchmark: honest latencies under scheduled load, and the served hop through a real service and engine."""

import http.server
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from configs.places import PortSettings
from configs.promotion import BenchmarkSettings
from configs.serving import ServeSettings
from data_contracts.artifacts import PREDICTION_COLUMNS, BundleRef, Model, Speed, Splits
from data_contracts.errors import EngineUnavailable
from deploy import bundle, keys
from deploy.bundle import Golden
from deploy.operate import load, ports, processes
from deploy.operate.load import Plan, Sent
from deploy.store import FolderStore
from tasks import benchmark, speed
from tasks.speed import Usage
from tasks.stages import Work
from tests import tiny
from tests.deploy import served

STALL_S = 0.6


class Stalling(http.server.BaseHTTPRequestHandler):
    """Answers one request at a time; the first takes STALL_S, `/bad` is refused."""

    busy = threading.Lock()
    answered = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.busy:
            if Stalling.answered == 0:
                time.sleep(STALL_S)
            Stalling.answered += 1
        self.send_response(500 if self.path == "/bad" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stalling() -> Iterator[str]:
    Stalling.answered = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalling) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def drive(plan: Plan, folder: Path) -> list[Sent]:
    (folder / "plan.json").write_text(json.dumps(plan._asdict()))
    argv = processes.python("deploy.operate.load", str(folder / "plan.json"), str(folder / "out.json"))
    subprocess.run(argv, env=processes.inherited(folder, {}), check=True, capture_output=True, timeout=60)
    return [Sent(**item) for item in json.loads((folder / "out.json").read_text())]


def test_a_schedule_has_the_promised_number_of_calls_and_repeats_by_seed() -> None:
    poisson = load.schedule(5, 20, seed=1)

    assert len(poisson) == 100
    assert poisson == sorted(poisson) == load.schedule(5, 20, seed=1) != load.schedule(5, 20, seed=2)
    assert load.schedule(2, 2, seed=1, arrivals="constant") == [0.0, 0.5, 1.0, 1.5]


def test_a_stall_shows_in_every_call_that_was_due_in_it(stalling: str, tmp_path: Path) -> None:
    sends = load.schedule(20, 1, seed=1, arrivals="constant")

    sent = drive(Plan(stalling, "/", sends, ["{}"], 5), tmp_path)

    due = [item for item in sent if item.scheduled_s < STALL_S]
    assert len(sent) == 20
    assert all(item.latency_s >= STALL_S - item.scheduled_s - 0.05 for item in due)
    assert max(item.late_s for item in sent) < 0.3


def test_refusals_and_timeouts_are_failures_with_a_reason(stalling: str, tmp_path: Path) -> None:
    assert [s.error for s in drive(Plan(stalling, "/bad", [0.0], ["{}"], 5), tmp_path)] == ["HTTP 500"]
    Stalling.answered = 0
    assert drive(Plan(stalling, "/", [0.0], ["{}"], 0.2), tmp_path)[0].error
    assert drive(Plan("http://127.0.0.1:9", "/", [0.0], ["{}"], 1), tmp_path)[0].error == "ConnectionRefusedError"


def summarise(*sent: Sent) -> Speed:
    return speed.summarise(sent, BenchmarkSettings(warmup_s=1, duration_s=1), Usage(2.0, 100.0, "fake"))


def test_failures_count_as_errors_and_not_as_fast_answers() -> None:
    found = summarise(
        Sent(1.0, 0.1, 0, ""), Sent(1.5, 0.3, 0, ""), Sent(2.0, 0.001, 0, "HTTP 503"), Sent(2.5, 0.5, 0, "")
    )

    assert (found.requests, found.failures, found.error_share) == (4, 1, 0.25)
    assert found.p50_ms == pytest.approx(300)
    assert found.qps == pytest.approx(3 / 2.0)
    assert sum(count for _, count in found.histogram) == 3


def test_a_load_that_nobody_answered_is_an_error_not_a_number() -> None:
    with pytest.raises(EngineUnavailable, match=r"none of 1 requests was answered \(HTTP 503\)"):
        summarise(Sent(1.0, 0.1, 0, "HTTP 503"))


def test_histogram_buckets_hold_their_upper_edge() -> None:
    assert speed.histogram([100.0, 100.1, 120.0]) == ((100.0, 1), (125.893, 2))


def real_bundle(store: FolderStore) -> BundleRef:
    """A bundle a real engine can load; its weights are random, so its golden tolerance is everything."""
    folder = tiny.write_base(store.root / "stages/merge/x/model")
    golden = Golden(text="客户：你好。", probabilities=dict.fromkeys(served.TAXONOMY.keys, 0.0), tolerance=1.0)
    model = Model(key=folder.relative_to(store.root).as_posix(), form="merged", digest="0" * 64, size_mb=0.1)
    return bundle.assemble(served.parts(model, (golden,)), store)


def gold(store: FolderStore, rows: int) -> Splits:
    frame = pl.DataFrame(
        {
            "conversation_id": [f"c{i}" for i in range(rows)],
            "group": [f"g{i // 2}" for i in range(rows)],
            "input_text": [f"客户：第{i}次投诉，话费多扣了{'三' * (i % 40)}元。" for i in range(rows)],
            "complaint_category": [served.TAXONOMY.keys[i % 3] for i in range(rows)],
        }
    )
    folder = store.scratch("split")
    frame.write_parquet(folder / "gold.parquet")
    store.commit(folder, "stages/split/s")
    counts = {"train": 0, "validation": 0, "calibration": 0, "gold": rows}
    return Splits.model_validate(
        {"key": "stages/split/s", "dataset_id": "d", "family": "f", "counts": counts, "gold_digest": "g" * 64}
    )


def test_the_real_service_asking_for_keys_is_scored_and_loaded_and_nothing_is_left(tmp_path: Path) -> None:
    home, store = tmp_path, FolderStore(tmp_path / "store")
    keys.add(home, "crm", ["classify"])
    (tmp_path / "out").mkdir()
    (tmp_path / "keep").mkdir()
    work = Work(store=store, key="stages/benchmark/b", out=tmp_path / "out", scratch=tmp_path / "keep")
    settings = BenchmarkSettings(rate_qps=10, duration_s=2, warmup_s=0.5)
    serve = ServeSettings(threads=1)
    engines = PortSettings(engines_from=ports.spare(18700, ()))

    done = benchmark.benchmark(real_bundle(store), gold(store, 70), settings, serve, engines, home, work)

    frame = pl.read_parquet(work.out / done.served.key.removeprefix(f"{work.key}/"))
    assert tuple(frame.columns) == PREDICTION_COLUMNS
    assert frame["conversation_id"].to_list() == [f"c{i}" for i in range(70)]
    assert frame["logprobs"].list.len().unique().to_list() == [len(served.TAXONOMY.keys)]
    assert (done.served.hop, done.served.taxonomy_digest) == ("served", served.TAXONOMY.digest)
    assert (done.speed.requests, done.speed.failures, done.speed.engine) == (20, 0, "transformers")
    assert done.speed.p50_ms > 0 and done.speed.load_time_s > 0.5 and done.speed.memory_mb > 100
    assert processes.recorded(home) == [] and list(work.scratch.iterdir()) == []
