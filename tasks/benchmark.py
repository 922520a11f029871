"""Measure the real service on a bundle: what it answers (the served hop), and how fast under scheduled load."""

import hashlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.places import PortSettings
from configs.promotion import BenchmarkSettings
from configs.serving import ServeSettings
from data_contracts.artifacts import BundleRef, Predictions, Speed, Splits
from data_contracts.errors import EngineUnavailable
from data_contracts.schema import Call, Frozen
from deploy import bundle as bundles
from deploy import keys, service
from deploy.client import Client
from deploy.operate import load, ports, processes
from deploy.operate.load import Sent
from deploy.operate.processes import Command, Process
from tasks import speed
from tasks.speed import Usage
from tasks.stages import Work

if TYPE_CHECKING:
    import deploy.service.__main__  # noqa: F401  # run as a process: its code belongs to this stage's key

CLASSIFY = "/api/v1/classify"
CALLS_A_REQUEST = 32
IN_FLIGHT = 2
SCORING_DEADLINE_S = 900.0  # a slow machine may take minutes for a whole batch; load is held to `serve.deadline_s`
SAMPLE_S = 0.2
SEED = 17  # the same arrivals for every bundle, so that two benchmarks differ in the bundle alone


class Benchmarked(Frozen):
    """`served` are the gold predictions as the service gave them, in the order of the gold file."""

    speed: Speed
    served: Predictions


@dataclass
class Running:
    """A service being measured; `peak_mb` grows while it is watched."""

    process: Process
    url: str
    load_time_s: float = 0.0
    peak_mb: float = 0.0


def benchmark(
    bundle: BundleRef,
    splits: Splits,
    settings: BenchmarkSettings,
    serve: ServeSettings,
    ports: PortSettings,
    home: Path,
    work: Work,
) -> Benchmarked:
    """Start the service on the bundle under evaluation, score every gold call through it, then load it; stop it.

    Raises:
        EngineUnavailable: the service does not start, stops answering, or answers none of the load.
    """
    import polars

    gold = polars.read_parquet(work.store.local(splits.key) / "gold.parquet")
    with running(bundles.place(work.store, bundle), serve, ports, home, f"benchmark-{_short(work.key)}") as it:
        key = keys.machine(home)
        with Client(it.url, key=key) as client:
            info = client.model_info()
        served = score(it.url, gold, splits, str(info["taxonomy_digest"]), work, key)
        sent = press(it.url, gold["input_text"].to_list(), settings, serve, home, work)
    measured = [item for item in sent if item.scheduled_s >= settings.warmup_s]
    usage = Usage(it.load_time_s, it.peak_mb, str(info["engine"]))
    return Benchmarked(speed=speed.summarise(measured, settings, usage), served=served)


@contextmanager
def running(folder: Path, serve: ServeSettings, chosen: PortSettings, home: Path, name: str) -> Iterator[Running]:
    """The service, ready, on a spare port; its memory watched from the start. One left by a crash goes first."""
    processes.stop(home, name)
    port = ports.spare(chosen.engines_from, [process.port for process in processes.running(home)])
    mine = serve.model_copy(update={"host": ports.LOOPBACK, "deadline_s": SCORING_DEADLINE_S})
    argv = service.command(folder, port, home, mine, evaluation=True)
    url = f"http://{ports.LOOPBACK}:{port}"
    command = Command(
        name=name,
        argv=tuple(argv),
        port=port,
        url=f"{url}/ready",
        setting="ports.engines_from",
    )
    began = time.monotonic()
    it = Running(processes.start(home, command), url)
    try:
        with _watched(it):
            processes.wait(it.process, serve.start_timeout_s)
            it.load_time_s = time.monotonic() - began
            yield it
    finally:
        processes.stop(home, name)


@contextmanager
def _watched(it: Running) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_S):
            it.peak_mb = max(it.peak_mb, processes.memory_mb(it.process))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def score(url: str, gold: Any, splits: Splits, taxonomy_digest: str, work: Work, key: str | None = None) -> Predictions:
    """Every gold call through HTTP, in batches, showing the API key; raw log-probabilities kept.

    Raises:
        EngineUnavailable: the service stops answering.
    """
    import polars

    calls = [Call(conversation_id=i, text=t) for i, t in gold.select("conversation_id", "input_text").iter_rows()]
    batches = [calls[at : at + CALLS_A_REQUEST] for at in range(0, len(calls), CALLS_A_REQUEST)]
    began = time.monotonic()
    with Client(url, timeout_s=SCORING_DEADLINE_S, key=key) as client, ThreadPoolExecutor(IN_FLIGHT) as pool:
        answers = [answer for batch in pool.map(client.classify, batches) for answer in batch]
    seconds = time.monotonic() - began
    name = "served-gold.parquet"
    polars.DataFrame(_columns(gold, answers)).write_parquet(work.out / name)
    return Predictions(
        key=f"{work.key}/{name}",
        hop="served",
        side="gold",
        rows=len(answers),
        rows_digest=splits.gold_digest,
        taxonomy_digest=taxonomy_digest,
        seconds=seconds,
        tokens=sum(int(answer["tokens"]) for answer in answers),
    )


def _columns(gold: Any, answers: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {
        "conversation_id": gold["conversation_id"].to_list(),
        "group": gold["group"].to_list(),
        "category": gold["complaint_category"].to_list(),
        "logprobs": [list(answer["logprobs"]) for answer in answers],
        "label_mass": [answer["label_mass"] for answer in answers],
        "tokens": [answer["tokens"] for answer in answers],
        "truncated": [answer["truncated"] for answer in answers],
    }


def press(
    url: str, texts: Sequence[str], settings: BenchmarkSettings, serve: ServeSettings, home: Path, work: Work
) -> list[Sent]:
    """Send scheduled single calls with Locust in its own process; every request comes back, warm-up too.

    The API key goes to that process by its environment alone, which nobody writes down.

    Raises:
        EngineUnavailable: Locust did not finish.
    """
    warmup = load.schedule(settings.rate_qps, settings.warmup_s, SEED) if settings.warmup_s else []
    sends = warmup + [settings.warmup_s + at for at in load.schedule(settings.rate_qps, settings.duration_s, SEED + 1)]
    chosen = [texts[i * len(texts) // len(sends)] for i in range(len(sends))]
    bodies = [json.dumps({"text": text}, ensure_ascii=False) for text in chosen]
    plan = load.Plan(url, CLASSIFY, sends, bodies, serve.deadline_s)
    plan_file, out = work.scratch / "load-plan.json", work.out / "load.json"
    plan_file.write_text(json.dumps(plan._asdict(), ensure_ascii=False), encoding="utf-8")
    try:
        done = subprocess.run(
            processes.python("deploy.operate.load", str(plan_file), str(out)),
            env=processes.inherited(home, {keys.VARIABLE: keys.machine(home) or ""}),
            capture_output=True,
            text=True,
            timeout=sends[-1] + 2 * serve.deadline_s + 120,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineUnavailable(f"the load test did not end within {error.timeout:.0f} s; run it again") from error
    finally:
        plan_file.unlink()
    if done.returncode:
        raise EngineUnavailable(f"the load test failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return [Sent(**item) for item in json.loads(out.read_text(encoding="utf-8"))]


def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:12]
