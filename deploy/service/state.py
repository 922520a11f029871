"""What the service says about itself: health, readiness, model, statistics (requirement S1; field names promised)."""

import time
from typing import Literal

from data_contracts.schema import Frozen
from deploy.bundle import verdict_id
from deploy.service.answers import CategoryName
from deploy.service.classifier import Classifier
from deploy.service.metrics import Metrics
from deploy.service.slot import Slot


class MemoryUsage(Frozen):
    """`percent` of the machine's memory in use; `gpu_used_gb` is 0 without a GPU."""

    percent: float
    gpu_used_gb: float


class Health(Frozen):
    """`status` is `healthy` or what is wrong."""

    status: str
    model_loaded: bool
    uptime_seconds: float
    memory_usage: MemoryUsage


class Readiness(Frozen):
    """Only ever true: not ready is a 503 problem."""

    ready: Literal[True] = True


class Stats(Frozen):
    """Since the start. `average_response_time` in seconds, `model_memory_usage` in MB."""

    total_requests: int
    successful_requests: int
    failed_requests: int
    average_response_time: float
    uptime_hours: float
    model_memory_usage: float


class VerdictInfo(Frozen):
    """The verdict that lets the bundle serve."""

    id: str
    decision: str
    created_at: str
    profile: str


class ModelInfo(Frozen):
    """What is served. `verdict` is null under evaluation only; `reloading`: another bundle is being loaded to replace it;
    `batch_tokens`: the most of one prefill, fewer than set once memory did not suffice."""

    slot: Literal["classify"] = "classify"
    model_version: str
    bundle_digest: str
    engine: str
    quantization: str
    synthetic: bool
    evaluation: bool
    taxonomy: str
    taxonomy_digest: str
    prompt_digest: str
    max_call_tokens: int
    categories: tuple[CategoryName, ...]
    threshold: float
    verdict: VerdictInfo | None
    golden_calls: int
    load_time_s: float
    memory_mb: float
    engine_restarts: int
    batch_tokens: int
    reloading: bool


def health(classifier: Classifier, started: float) -> Health:
    """`started` is the monotonic time of the start."""
    import psutil

    worker = classifier.worker
    return Health(
        status="healthy" if classifier.is_ready else f"engine {worker.state}",
        model_loaded=worker.is_ready,
        uptime_seconds=round(time.monotonic() - started, 3),
        memory_usage=MemoryUsage(percent=psutil.virtual_memory().percent, gpu_used_gb=round(worker.usage.gpu_gb, 3)),
    )


def stats(metrics: Metrics, classifier: Classifier, started: float) -> Stats:
    """Inference requests only; a request failed if its status is 400 or more."""
    return Stats(
        total_requests=metrics.total,
        successful_requests=metrics.succeeded,
        failed_requests=metrics.total - metrics.succeeded,
        average_response_time=metrics.seconds / metrics.total if metrics.total else 0.0,
        uptime_hours=(time.monotonic() - started) / 3600,
        model_memory_usage=round(classifier.worker.usage.memory_mb, 1),
    )


def model_info(slot: Slot) -> ModelInfo:
    """Names and numbers of the bundle and of its engine."""
    classifier = slot.current
    bundle, verdict, worker = classifier.served.bundle, classifier.served.verdict, classifier.worker
    return ModelInfo(
        model_version=classifier.served.model_version,
        bundle_digest=bundle.digest,
        engine=bundle.facts.engine,
        quantization=bundle.facts.quantization,
        synthetic=bundle.facts.synthetic,
        evaluation=classifier.served.is_evaluation,
        taxonomy=f"{bundle.taxonomy.name} v{bundle.taxonomy.version}",
        taxonomy_digest=bundle.taxonomy.digest,
        prompt_digest=bundle.prompt.digest,
        max_call_tokens=bundle.prompt.max_call_tokens,
        categories=tuple(CategoryName(key=c.key, code=c.code, name_zh=c.name_zh) for c in bundle.taxonomy.categories),
        threshold=bundle.calibration.threshold,
        verdict=None
        if verdict is None
        else VerdictInfo(
            id=verdict_id(verdict), decision=verdict.decision, created_at=verdict.created_at, profile=verdict.profile
        ),
        golden_calls=len(bundle.golden),
        load_time_s=round(worker.load_s, 3),
        memory_mb=round(worker.usage.memory_mb, 1),
        engine_restarts=worker.restarts,
        batch_tokens=classifier.batcher.batch_tokens,
        reloading=slot.is_reloading,
    )


def scrape(metrics: Metrics, classifier: Classifier) -> bytes:
    """Prometheus' view, the gauges set to this moment."""
    worker = classifier.worker
    metrics.memory.set(worker.usage.memory_mb * 2**20)
    metrics.ready.set(classifier.is_ready)
    metrics.restarts.set(worker.restarts)
    metrics.queued.set(classifier.batcher.waiting_calls)
    return metrics.text()
