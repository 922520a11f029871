"""From what a load test sent to the numbers the gate and the report use."""

import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from configs.promotion import BenchmarkSettings
from data_contracts.artifacts import Speed
from data_contracts.errors import EngineUnavailable
from deploy.operate.load import Sent

EDGES_PER_DECADE = 10


class Usage(NamedTuple):
    """What the service took to run: seconds from process start to ready, and memory with its engine's process."""

    load_time_s: float
    peak_mb: float
    engine: str


def summarise(sent: Sequence[Sent], settings: BenchmarkSettings, usage: Usage) -> Speed:
    """Rates, latencies of the answered requests from their scheduled times, and what the service took to run.

    Raises:
        EngineUnavailable: nothing was answered.
    """
    import numpy as np

    answered = np.array([item.latency_s for item in sent if not item.error]) * 1000
    failures = sum(1 for item in sent if item.error)
    if not len(answered):
        raise EngineUnavailable(
            f"none of {len(sent)} requests was answered ({sent[0].error}); "
            "lower benchmark.rate_qps, or raise serve.deadline_s"
        )
    ended_s = max(item.scheduled_s + item.latency_s for item in sent) - settings.warmup_s
    p50, p95, p99 = np.percentile(answered, [50, 95, 99])
    return Speed(
        requests=len(sent),
        failures=failures,
        rate_requested_qps=settings.rate_qps,
        qps=len(answered) / max(ended_s, settings.duration_s),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        mean_ms=answered.mean(),
        error_share=failures / len(sent),
        load_time_s=usage.load_time_s,
        memory_mb=usage.peak_mb,
        histogram=histogram(answered.tolist()),
        engine=usage.engine,
        machine=machine(),
    )


def histogram(latencies_ms: Sequence[float]) -> tuple[tuple[float, int], ...]:
    """(upper edge in ms, count), ten logarithmic buckets a decade, from the first to the last that holds one."""
    buckets = [math.ceil(math.log10(max(ms, 0.1)) * EDGES_PER_DECADE - 1e-9) for ms in latencies_ms]
    return tuple(
        (round(10 ** (b / EDGES_PER_DECADE), 3), buckets.count(b)) for b in range(min(buckets), max(buckets) + 1)
    )


def machine() -> dict[str, str]:
    """What the numbers were measured on."""
    import psutil

    cpu = Path("/proc/cpuinfo")
    models = (
        [line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")]
        if cpu.is_file()
        else []
    )
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": str(psutil.cpu_count() or 0),
        "memory_gb": f"{psutil.virtual_memory().total / 1e9:.0f}",
        "system": platform.platform(),
        "python": platform.python_version(),
    }
