"""What the service counts about itself: Prometheus metrics (requirement O3) and the numbers of /stats."""

from collections.abc import Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# No edge is more than 1.7 times the one before, so that an answer twice as slow is always counted elsewhere.
SECONDS = (
    *(0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3),
    *(0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30),
)
Side = Literal["champion", "candidate"]
"""Who answered: what serves, or what is tried beside it. The texts of slot `generate` are the champion's."""
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SHARES = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1)


class Metrics:
    """One service's counters; its own registry, so that two services in one test do not share them."""

    def __init__(self) -> None:
        r = self.registry = CollectorRegistry()
        self.requests = Counter(
            "qwen3_inference_requests_total",
            "Inference requests by HTTP status",
            ["endpoint", "status", "side"],
            registry=r,
        )
        self.duration = Histogram(
            "qwen3_inference_duration_seconds",
            "Time from request to answer",
            ["endpoint", "side"],
            buckets=SECONDS,
            registry=r,
        )
        self.memory = Gauge("qwen3_model_memory_usage_bytes", "Resident memory of the engine", registry=r)
        self.active = Gauge("qwen3_active_connections", "Requests being answered", registry=r)
        self.ready = Gauge("tingsu_ready", "1 while the service answers classifications", registry=r)
        self.restarts = Counter(
            "tingsu_engine_restarts_total", "Engine processes started in place of one that died or hung", registry=r
        )
        self.queued = Gauge("tingsu_queue_calls", "Calls waiting for a prefill", registry=r)
        self.batches = Histogram("tingsu_batch_calls", "Calls in one prefill batch", buckets=COUNTS, registry=r)
        self.tokens = Counter("tingsu_prefill_tokens_total", "Tokens scored", registry=r)
        self.waited = Histogram(
            "tingsu_queue_wait_seconds", "Time a call waited for its prefill", buckets=SECONDS, registry=r
        )
        self.texts_waiting = Gauge("tingsu_queue_texts", "Texts waiting for a slot", registry=r)
        self.generated = Counter(
            "tingsu_generated_tokens_total", "Tokens generated, also of texts cut off or left", registry=r
        )
        self.first_token = Histogram(
            "tingsu_first_token_seconds", "Time from a free slot to the first token", buckets=SECONDS, registry=r
        )
        self._count_answers(r)
        self.total, self.succeeded, self.seconds = 0, 0, 0.0

    def _count_answers(self, r: CollectorRegistry) -> None:
        """What a canary is judged by, and what is mirrored for it."""
        self.mass = Histogram(
            "tingsu_label_mass_share",
            "Probability the model gave to categories at all",
            ["side"],
            buckets=SHARES,
            registry=r,
        )
        self.confidence = Histogram(
            "tingsu_confidence_share",
            "Calibrated probability of the category answered",
            ["side"],
            buckets=SHARES,
            registry=r,
        )
        self.together = Histogram(
            "tingsu_request_calls", "Calls in one request that was classified", ["side"], buckets=COUNTS, registry=r
        )
        self.answers = Counter("tingsu_answers_total", "Answered calls", ["category", "decision", "side"], registry=r)
        self.share = Gauge("tingsu_candidate_share", "Share of the requests that go to the candidate", registry=r)
        self.mirrored = Counter(
            "tingsu_mirrored_calls_total", "Answered calls that the candidate was asked too", registry=r
        )
        self.disagreed = Counter(
            "tingsu_mirror_disagreed_calls_total", "Of those, calls it answered with another category", registry=r
        )
        self.mirror_dropped = Counter(
            "tingsu_mirror_dropped_calls_total", "Calls not mirrored, for somebody waited for an engine", registry=r
        )

    def request(self, endpoint: str, status: int, seconds: float, side: Side = "champion") -> None:
        """One inference request was answered; below 400 it succeeded."""
        self.requests.labels(endpoint, str(status), side).inc()
        self.duration.labels(endpoint, side).observe(seconds)
        self.total += 1
        self.succeeded += status < 400
        self.seconds += seconds

    def fell(self, endpoint: str, side: Side) -> None:
        """A request that this side failed over, and that another answers."""
        self.requests.labels(endpoint, "503", side).inc()

    def batch(self, calls: int, tokens: int, waited_s: Sequence[float]) -> None:
        """One prefill was done, over calls that had waited this long each."""
        self.batches.observe(calls)
        self.tokens.inc(tokens)
        for seconds in waited_s:
            self.waited.observe(seconds)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
