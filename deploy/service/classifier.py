"""What answers classifications: a bundle, its tokenizer, its engine and its queue; calls in, answers out."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from configs.serving import ServeSettings
from data_contracts.errors import BundleCorrupt, ConfigurationError
from data_contracts.prompt import Encoded
from data_contracts.schema import Call
from deploy import calibration, cores
from deploy.bundle import Bundle, Golden
from deploy.service import answers, logs
from deploy.service.answers import Answer, Rules, Served
from deploy.service.batcher import Batcher, Limits
from deploy.service.child import Loader, plan_of
from deploy.service.crew import Crew
from deploy.service.metrics import Metrics, Side
from deploy.service.reading import Reading
from deploy.service.refusals import NotReady, before
from deploy.service.text import chars, prepare
from deploy.service.worker import ParityFailed, Worker
from deploy.tokenizer import Tokens

log = logging.getLogger(__name__)
LOGGED_CHARS = 500


class _Read(NamedTuple):
    """A call as the model gets it, and how its text begins."""

    encoded: Encoded
    begins: str


class Classifier:
    """One bundle being served. `is_closing`: it finishes what it has begun and takes nothing more."""

    def __init__(
        self, served: Served, settings: ServeSettings, loader: Loader, metrics: Metrics, reading: Reading
    ) -> None:
        bundle = served.bundle
        self.served = served
        self.metrics = metrics
        self._reading = reading
        self.is_closing = False
        self._busy = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._tokens = Tokens.load(bundle.model)
        if bundle.taxonomy.code_ids(self._tokens) != bundle.code_ids:
            raise BundleCorrupt(
                f"bundle {bundle.digest[:12]}: the tokenizer gives its category codes other ids than codes.json; "
                "assemble it again"
            )
        plan = plan_of(bundle, _shared(settings), self._tokens)
        silence_s = 2 * settings.deadline_s
        workers = [Worker(plan, loader, settings.start_timeout_s, silence_s) for _ in range(settings.engines)]
        self.worker = Crew(workers)
        self.batcher = Batcher(workers[0], _limits(settings), metrics, others=tuple(workers[1:]))
        for worker in workers:
            worker.on_scarce, worker.on_restart = self.batcher.shrink, metrics.restarts.inc
        self.rules = Rules(bundle.calibration)
        self.tune(settings)

    def tune(self, settings: ServeSettings) -> None:
        """Have these limits from now on. Never less review than the gate approved, whatever is set."""
        approved, wanted = self.served.bundle.calibration, settings.review_below or 0.0
        if settings.review_below is not None and wanted < approved.threshold:
            log.warning("serve.review_below has no effect", extra={"set": wanted, "approved": approved.threshold})
        calibrated = approved.model_copy(update={"threshold": max(wanted, approved.threshold)})
        if unknown := self._unknown(settings):
            log.warning("serve.review_categories has no effect", extra={"unknown": unknown})
        self.rules = Rules(calibrated, frozenset(settings.review_categories))
        self.batcher.limits = _limits(settings)
        self.worker.tune(settings.start_timeout_s, 2 * settings.deadline_s)

    def _unknown(self, settings: ServeSettings) -> list[str]:
        return sorted(set(settings.review_categories) - set(self.served.bundle.taxonomy.keys))

    def require_rules(self, settings: ServeSettings) -> None:
        """Return if the settings send no fewer calls to a person than the gate approved, and name only categories that there are.

        Raises:
            ConfigurationError: says both numbers, or the categories.
        """
        if unknown := self._unknown(settings):
            raise ConfigurationError(
                f"serve.review_categories names {', '.join(unknown)}, and the categories of version {self.served.model_version} "
                f"are {', '.join(self.served.bundle.taxonomy.keys)}; use their keys"
            )
        wanted, approved = settings.review_below, self.served.bundle.calibration.threshold
        if wanted is not None and wanted < approved:
            raise ConfigurationError(
                f"serve.review_below {wanted:g} is lower than the {approved:g} that version {self.served.model_version} was "
                "approved with: fewer calls would go to a person. Set it higher, or train and gate a version with a lower one"
            )

    @property
    def is_ready(self) -> bool:
        return self.worker.is_ready and not self.is_closing

    async def run(self) -> None:
        """Keep engine and queue going until cancelled; may be called again after that.

        Raises:
            TingsuError: the engine cannot serve this bundle.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.worker.keep(self._probe))
                group.create_task(self.batcher.run())
        except BaseExceptionGroup as group_error:
            raise _first(group_error) from group_error

    async def finished(self, more_s: float) -> None:
        """Return when no request is being answered, or should be any more: its deadline passed `more_s` ago."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.batcher.limits.deadline_s + more_s):
                await self._is_idle.wait()

    async def classify(self, calls: tuple[Call, ...], arrived_s: float, side: Side | None) -> list[Answer]:
        """Answers in the order of the calls.

        Args:
            arrived_s: when the request was here, by the loop's clock; its deadline runs from then.
            side: what the answers are counted as; None: not at all.

        Raises:
            EngineUnavailable: not ready, overloaded, too late, or the engine died.
            ResourceInsufficient: one of the calls does not fit into the engine's memory.
        """
        if not self.is_ready:
            raise NotReady(f"the engine is {self.worker.state}", self.worker.retry_after_s)
        self._busy += 1
        self._is_idle.clear()
        try:
            return await self._answer(calls, arrived_s + self.batcher.limits.deadline_s, side)
        finally:
            self._busy -= 1
            if not self._busy:
                self._is_idle.set()

    async def _answer(self, calls: tuple[Call, ...], until: float, side: Side | None) -> list[Answer]:
        async with before(until, len(calls)):
            with self.batcher.admitted(len(calls), until):
                read = await self._reading.each(self._read, calls, self._chars)
            scores = await self.batcher.submit([one.encoded.ids for one in read], until)
        found = answers.compose(calls, [one.encoded for one in read], scores, self.served, self.rules)
        if side is not None:
            self._count(found, scores.label_mass, side)
            for one, answer in zip(read, found, strict=True):
                if logs.takes_text():
                    _log_text(one.begins, answer)
        return found

    def _count(self, found: Sequence[Answer], label_mass: Iterable[float], side: Side) -> None:
        self.metrics.together.labels(side).observe(len(found))
        for answer, mass in zip(found, label_mass, strict=True):
            self.metrics.answers.labels(answer.category.key, answer.decision, side).inc()
            self.metrics.mass.labels(side).observe(float(mass))
            self.metrics.confidence.labels(side).observe(answer.confidence)

    def _chars(self, call: Call) -> int:
        return chars(call, self.served.bundle.prompt)

    def _read(self, call: Call) -> _Read:
        text = prepare(call, self.served.bundle.prompt)
        return _Read(self.served.bundle.prompt.encode(text, self._tokens), text[:LOGGED_CHARS])

    async def _probe(self, worker: Worker) -> None:
        """Ask the golden calls and compare; ask them again to warm up and to learn how fast this is.

        Raises:
            ParityFailed: says which one is how far off.
        """
        bundle = self.served.bundle
        prompts = [bundle.prompt.encode(golden.text, self._tokens).ids for golden in bundle.golden]
        scores = await worker.score(prompts)
        rows = calibration.apply(bundle.calibration, scores.logprobs)
        for number, (golden, row) in enumerate(zip(bundle.golden, rows, strict=True), start=1):
            _compare(bundle, number, golden, dict(zip(bundle.taxonomy.keys, row.tolist(), strict=True)))
        started = time.monotonic()
        await worker.score(prompts)
        self.batcher.learn(sum(map(len, prompts)), time.monotonic() - started)


def _shared(settings: ServeSettings) -> ServeSettings:
    """What one of the engines is started with: its part of the cores, where nobody says how many threads it has."""
    if settings.threads or settings.engines == 1:
        return settings
    return settings.model_copy(update={"threads": max(1, cores.usable() // settings.engines)})


def _limits(settings: ServeSettings) -> Limits:
    return Limits(settings.batch_tokens, settings.max_wait_ms / 1000, settings.queue_calls, settings.deadline_s)


def _log_text(begins: str, answer: Answer) -> None:
    told = {"category": answer.category.key, "confidence": round(answer.confidence, 4), "decision": answer.decision}
    log.info("call", extra={"text": begins, **told})


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _compare(bundle: Bundle, number: int, golden: Golden, found: Mapping[str, float]) -> None:
    for key, expected in golden.probabilities.items():
        if not abs(found[key] - expected) <= golden.tolerance:
            raise ParityFailed(
                f"parity probe of bundle {bundle.digest[:12]}: golden call {number} of {len(bundle.golden)} "
                f"gives {key!r} {found[key]:.4f}, the bundle says {expected:.4f} ± {golden.tolerance:g}; this machine "
                "or engine version does not compute what was measured. Run retrain or the gate again here"
            )
