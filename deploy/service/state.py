"""What the service says about itself: health, readiness, model, statistics (requirement S1; field names promised)."""

import time
from typing import Literal

from data_contracts.artifacts import Emergency
from data_contracts.schema import Frozen
from deploy.bundle import verdict_id
from deploy.emergency import EXPIRED
from deploy.service import route
from deploy.service.answers import CategoryName, Served
from deploy.service.generator import Generator
from deploy.service.live import SettingsInfo
from deploy.service.slot import Slot
from deploy.service.slots import Slots
from deploy.signing import AnyVerdict


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
    """The verdict that lets the bundle serve; decision EMERGENCY is an operator's own, and then has no profile."""

    id: str
    decision: str
    created_at: str
    profile: str | None


class EmergencyInfo(Frozen):
    """Who let the bundle serve against the gate's answer, why, and until when it may be started. `emergency_expired`: that is over;
    what runs serves on, and nothing starts, reloads or rolls out this bundle again."""

    operator: str
    reason: str
    expires_at: str
    emergency_expired: bool


class GenerationInfo(Frozen):
    """What generates. `verdict` and `name` are null under evaluation only; `can_think`: whether /thinking answers; `settings` stand
    beside the classifier's, where there is one."""

    slot: Literal["generate"] = "generate"
    model_version: str
    name: str | None
    bundle_digest: str
    engine: str
    quantization: str
    can_think: bool
    context_tokens: int
    evaluation: bool
    verdict: VerdictInfo | None
    load_time_s: float
    memory_mb: float
    engine_restarts: int
    settings: SettingsInfo | None = None


class CandidateInfo(Frozen):
    """What is tried beside: its share of the requests; `lapsed`: it has none any more, since nobody looked."""

    model_version: str
    bundle_digest: str
    share: float
    lapsed: bool
    ready: bool
    memory_mb: float
    engine_restarts: int


class MirrorInfo(Frozen):
    """`share` of the answered requests are asked of the candidate too; `url`: where it is, empty for the one in this service."""

    share: float
    url: str


class ModelInfo(Frozen):
    """What is served. `verdict` is null under evaluation only; `reloading`: another bundle is being loaded;
    `candidate`: what is tried beside; `previous`: the version before, still loaded;
    `batch_tokens`: the most of one prefill, fewer than set once memory did not suffice; `threshold`: confidence below it is
    reviewed, the bundle's own or more; `review_categories`: reviewed whatever the confidence."""

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
    review_categories: tuple[str, ...]
    verdict: VerdictInfo | None
    emergency: EmergencyInfo | None
    golden_calls: int
    load_time_s: float
    memory_mb: float
    engine_restarts: int
    batch_tokens: int
    reloading: bool
    candidate: CandidateInfo | None
    previous: str | None
    mirror: MirrorInfo | None
    settings: SettingsInfo
    generate: GenerationInfo | None


def health(slots: Slots, started: float) -> Health:
    """`started` is the monotonic time of the start."""
    import psutil

    wrong = [worker.state for worker in slots.workers if not worker.is_ready]
    gpus = [worker.usage.gpu.memory for worker in slots.workers if worker.usage.gpu is not None]
    gpu_gb = max(((gpu.limit_mb - gpu.free_mb) / 1024 for gpu in gpus), default=0.0)
    return Health(
        status=_said(slots) if slots.is_ready else f"engine {wrong[0] if wrong else 'closing'}",
        model_loaded=not wrong,
        uptime_seconds=round(time.monotonic() - started, 3),
        memory_usage=MemoryUsage(percent=psutil.virtual_memory().percent, gpu_used_gb=round(gpu_gb, 3)),
    )


def _said(slots: Slots) -> str:
    """Of a service that answers."""
    return EXPIRED if slots.overdue is not None else "healthy"


def stats(slots: Slots, started: float) -> Stats:
    """Inference requests only; a request failed if its status is 400 or more."""
    metrics = slots.metrics
    return Stats(
        total_requests=metrics.total,
        successful_requests=metrics.succeeded,
        failed_requests=metrics.total - metrics.succeeded,
        average_response_time=metrics.seconds / metrics.total if metrics.total else 0.0,
        uptime_hours=(time.monotonic() - started) / 3600,
        model_memory_usage=round(_memory_mb(slots), 1),
    )


def model_info(slots: Slots, settings: SettingsInfo, side: route.Named | None) -> ModelInfo | GenerationInfo:
    """Names and numbers of the bundles and of their engines.

    Raises:
        Refused: the side has none.
    """
    generate = None if slots.generate is None else _generation(slots.generate)
    if slots.classify is None:
        return _generation(slots.generator).model_copy(update={"settings": settings})
    slot, classifier = slots.classify, route.of(slots.classify, side)
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
        threshold=classifier.rules.calibration.threshold,
        review_categories=tuple(sorted(classifier.rules.categories)),
        verdict=None if verdict is None else _verdict(verdict),
        emergency=_emergency(classifier.served),
        golden_calls=len(bundle.golden),
        load_time_s=round(worker.load_s, 3),
        memory_mb=round(worker.usage.memory_mb, 1),
        engine_restarts=worker.restarts,
        batch_tokens=classifier.batcher.batch_tokens,
        reloading=slot.is_reloading,
        candidate=candidate(slot),
        previous=None if slot.previous is None else slot.previous.served.model_version,
        mirror=MirrorInfo(share=slot.mirror.share, url=slot.mirror.url) if slot.mirror.share else None,
        settings=settings,
        generate=generate,
    )


def candidate(slot: Slot) -> CandidateInfo | None:
    """What is tried beside the one that serves, if anything is."""
    tried = slot.candidate
    if tried is None:
        return None
    return CandidateInfo(
        model_version=tried.served.model_version,
        bundle_digest=tried.served.bundle.digest,
        share=slot.share.now,
        lapsed=slot.share.has_lapsed,
        ready=tried.is_ready,
        memory_mb=round(tried.worker.usage.memory_mb, 1),
        engine_restarts=tried.worker.restarts,
    )


def _generation(generator: Generator) -> GenerationInfo:
    bundle, verdict, worker = generator.served.bundle, generator.served.verdict, generator.worker
    return GenerationInfo(
        model_version=generator.served.model_version,
        name=None if verdict is None else verdict.name,
        bundle_digest=bundle.digest,
        engine=bundle.facts.engine,
        quantization=bundle.facts.quantization,
        can_think=generator.dialogue.can_think,
        context_tokens=generator.context_tokens,
        evaluation=verdict is None,
        verdict=None if verdict is None else _verdict(verdict),
        load_time_s=round(worker.load_s, 3),
        memory_mb=round(worker.usage.memory_mb, 1),
        engine_restarts=worker.restarts,
    )


def _verdict(verdict: AnyVerdict) -> VerdictInfo:
    profile = None if isinstance(verdict, Emergency) else verdict.profile
    return VerdictInfo(
        id=verdict_id(verdict), decision=verdict.decision, created_at=verdict.created_at, profile=profile
    )


def _emergency(served: Served) -> EmergencyInfo | None:
    said = served.emergency
    if said is None:
        return None
    return EmergencyInfo(
        operator=said.operator, reason=said.reason, expires_at=said.expires_at, emergency_expired=served.is_overdue
    )


def _memory_mb(slots: Slots) -> float:
    return sum(worker.usage.memory_mb for worker in slots.loaded)


def scrape(slots: Slots) -> bytes:
    """Prometheus' view, the gauges set to this moment."""
    metrics = slots.metrics
    metrics.memory.set(_memory_mb(slots) * 2**20)
    metrics.ready.set(slots.is_ready)
    if slots.classify is not None:
        metrics.queued.set(slots.classify.current.batcher.waiting_calls)
        metrics.share.set(slots.classify.share.now)
    if slots.generate is not None:
        metrics.texts_waiting.set(slots.generate.waiting)
    return metrics.text()
