"""One bound of the gate: what it asks, what was measured, and what follows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from configs.promotion import Bound, GateSettings
from data_contracts.artifacts import BoundResult, Decision, Interval, Speed
from data_contracts.errors import ConfigurationError
from data_contracts.messages import say
from tasks import enough
from tasks.metrics import Metric
from tasks.resample import Draws, Resamples, holm

Against = Literal["", "champion", "baseline"]
QUANTIZATION_LOSS = "quantization_loss_f1"
SPEED_METRICS = tuple(name for name, field in Speed.model_fields.items() if field.annotation in (float, int))


@dataclass(frozen=True)
class Question:
    """`metric` (minus that of `against`) has to be at least, or at most, `limit`; beyond it when `is_strict`."""

    metric: str
    kind: Literal["at_least", "at_most"]
    limit: float
    against: Against
    is_binding: bool
    is_strict: bool = False


@dataclass(frozen=True)
class Measurements:
    """Everything a question may ask about: metrics on resamples, a hop's place among them, speed; `rows` gold calls."""

    resamples: Resamples
    hops: Mapping[str, int]
    speed: Speed
    rows: int
    profile: str

    def of(self, question: Question) -> Draws:
        if question.metric in SPEED_METRICS:
            return _point(float(getattr(self.speed, question.metric)))
        if question.metric == QUANTIZATION_LOSS:
            return self.resamples.difference("macro_f1", self.hops["merged"], self.hops["served"])
        if question.against:
            return self.resamples.difference(question.metric, self.hops["served"], self.hops[question.against])
        return self.resamples.one(question.metric, self.hops["served"])

    def reference(self, question: Question) -> float | None:
        """The metric of the hop a relative question compares with."""
        if not question.against:
            return None
        value = float(self.resamples.values[self.hops[question.against]][self.resamples.names.index(question.metric)])
        return value if math.isfinite(value) else None


def ask(
    settings: GateSettings, table: Mapping[str, Metric], profile: str, against: Sequence[Against]
) -> list[Question]:
    """The questions the settings put, those against a champion or baseline that is not there left out."""
    questions = [_question(b, table, profile) for b in settings.bounds]
    if settings.improve:
        questions.append(
            Question(settings.improve, *_toward(table[settings.improve], 0.0), "champion", True, is_strict=True)
        )
    return [q for q in questions if not q.against or q.against in against]


def answer(questions: Sequence[Question], measured: Measurements, confidence: float) -> tuple[BoundResult, ...]:
    """Judge every question; the binding relative ones together by Holm's method."""
    draws = [measured.of(q) for q in questions]
    judged = judge(questions, draws, confidence)
    results = []
    for i, (question, one) in enumerate(zip(questions, judged, strict=True)):
        is_open = one.decision == "HOLD" and draws[i].is_defined
        calls = calls_to_decide(questions, draws, i, confidence, measured.rows) if is_open else None
        results.append(_result(question, one, draws[i].is_defined, calls, measured))
    return tuple(results)


@dataclass(frozen=True)
class Judged:
    """The interval at `level` and what follows from it."""

    level: float
    interval: Interval
    decision: Decision


def judge(questions: Sequence[Question], draws: Sequence[Draws], confidence: float) -> list[Judged]:
    """Decide every question; what is undefined is on HOLD."""
    together = [i for i, q in enumerate(questions) if q.against and q.is_binding and draws[i].is_defined]
    corrected = holm([(draws[i], questions[i].limit, questions[i].kind == "at_least") for i in together], confidence)
    levels = dict(zip(together, corrected, strict=True))
    judged = []
    for i, (question, drawn) in enumerate(zip(questions, draws, strict=True)):
        level, may_pass = levels.get(i, (confidence, True))
        if drawn.is_defined:
            interval = drawn.interval(level)
            judged.append(Judged(level, interval, _decide(question, interval, may_pass)))
        else:
            judged.append(Judged(level, Interval(value=0.0, low=-1.0 if question.against else 0.0, high=1.0), "HOLD"))
    return judged


def calls_to_decide(
    questions: Sequence[Question], draws: Sequence[Draws], which: int, confidence: float, rows: int
) -> int | None:
    """About how many gold calls in all would take this question off HOLD if what was measured is the truth.

    None: the value is the limit, or so near that no number is practical.
    """
    if draws[which].value == questions[which].limit:
        return None

    def is_decided(times: float) -> bool:
        then = [d.on(times) if d.is_defined else d for d in draws]
        return judge(questions, then, confidence)[which].decision != "HOLD"

    return enough.search(is_decided, rows)


def _question(bound: Bound, table: Mapping[str, Metric], profile: str) -> Question:
    if bound.margin is not None:
        return Question(bound.metric, *_toward(table[bound.metric], -bound.margin), "champion", bound.binding)
    if bound.over_baseline is not None:
        is_binding = bound.binding and profile != "tiny"
        return Question(bound.metric, *_toward(table[bound.metric], bound.over_baseline), "baseline", is_binding)
    if bound.at_least is not None:
        return Question(bound.metric, "at_least", bound.at_least, "", bound.binding)
    if bound.at_most is not None:
        return Question(bound.metric, "at_most", bound.at_most, "", bound.binding)
    raise ConfigurationError(
        f"gate bound on {bound.metric!r} has no limit; give at_least, at_most, margin or over_baseline"
    )


def _toward(metric: Metric, gain: float) -> tuple[Literal["at_least", "at_most"], float]:
    """A gain in the metric's good direction as a bound on the difference."""
    return ("at_least", gain + 0.0) if metric.higher_is_better else ("at_most", 0.0 - gain)


def _result(
    question: Question, judged: Judged, is_defined: bool, calls: int | None, measured: Measurements
) -> BoundResult:
    interval, reference = judged.interval, measured.reference(question)
    en, zh = _sentence(question, judged, calls, reference, is_defined, measured.rows)
    if not question.is_binding:
        note = say("gate_not_binding", profile=measured.profile)
        en, zh = f"{en} {note[0]}", zh + note[1]
    return BoundResult(
        metric=question.metric,
        kind=question.kind,
        bound=question.limit,
        relative=bool(question.against),
        binding=question.is_binding,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        champion=reference,
        decision=judged.decision,
        calls_to_decide=calls,
        sentence_en=en,
        sentence_zh=zh,
        against=question.against,
        level=judged.level,
    )


def _decide(question: Question, interval: Interval, may_pass: bool) -> Decision:
    """PROMOTE if the bad end is on the good side of the limit, REJECT if even the good end is not."""
    sign = 1 if question.kind == "at_least" else -1
    ends = sorted((sign * interval.low, sign * interval.high))
    limit = sign * question.limit
    if ends[1] < limit:
        return "REJECT"
    holds = ends[0] > limit if question.is_strict else ends[0] >= limit
    return "PROMOTE" if holds and may_pass else "HOLD"


def _sentence(
    question: Question, judged: Judged, calls: int | None, reference: float | None, is_defined: bool, rows: int
) -> tuple[str, str]:
    interval = judged.interval
    sign = (">" if question.is_strict else "≥") if question.kind == "at_least" else ("<" if question.is_strict else "≤")
    numbers = {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "bound": question.limit,
        "reference": reference,
    }
    shown = {name: "–" if x is None else f"{x:.4g}" for name, x in numbers.items()}
    what = (
        "unmeasured"
        if not is_defined
        else question.against or ("point" if interval.low == interval.high else "absolute")
    )
    first = say(f"gate_{what}", metric=question.metric, sign=sign, **shown)
    if not is_defined:
        return first
    ending = {"PROMOTE": "gate_holds", "REJECT": "gate_missed"}.get(judged.decision)
    second = say(ending) if ending else enough.said("gate_undecided", calls, rows)
    return f"{first[0]} {second[0]}", first[1] + second[1]


def _point(value: float) -> Draws:
    return Draws(value, np.array([value, value]))
