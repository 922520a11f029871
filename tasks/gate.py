"""The gate: PROMOTE, HOLD or REJECT, from evidence.

Every number is computed again from the stored predictions; a report that does not agree with them is refused.
"""

import difflib
import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

from configs.promotion import GateSettings
from data_contracts.artifacts import (
    SIDES,
    BoundResult,
    BundleRef,
    Decision,
    Form,
    Hop,
    Report,
    Side,
    Speed,
    Splits,
    Verdict,
)
from data_contracts.errors import BundleCorrupt, ConfigurationError, GateRefused
from data_contracts.messages import say, told
from data_contracts.schema import Frozen
from data_contracts.taxonomy import Taxonomy
from deploy.store import Store, sha256_file
from tasks import bounds, cited, enough, metrics, near, resample
from tasks.answered import Answers, answer
from tasks.bounds import QUANTIZATION_LOSS, SPEED_METRICS, Against, Measurements
from tasks.metrics import Metric
from tasks.stages import now

AGREES = 1e-6  # relative, between a report and its predictions
AGAINST: tuple[Against, ...] = ("champion", "baseline")


class Evidence(Frozen):
    """What the gate judges. `reports`: hop → report on gold, "served" among them. `champion`: the champion re-scored on
    the same gold calls. `adapter`: digest of what was trained. `trained_on`: side → SHA-256 of the file that the training
    read. `gold_looks`: how many candidates have answered this gold set, this one included (tasks/looks.py)."""

    taxonomy: Taxonomy
    splits: Splits
    settings: GateSettings
    profile: str
    bundle: BundleRef
    prompt_digest: str
    engine: str
    quantization: Form
    reports: dict[Hop, Report]
    speed: Speed
    adapter: str
    trained_on: dict[Side, str]
    champion: Report | None = None
    champion_bundle: str | None = None
    gold_looks: int = 1


def reread(evidence: bytes) -> Evidence:
    """Evidence as it was kept.

    Raises:
        GateRefused: another version of Tingsu kept it, in another form.
    """
    try:
        return Evidence.model_validate_json(evidence)
    except ValueError as error:
        raise GateRefused(told("evidence_old")) from error


def judge(evidence: Evidence, store: Store) -> Verdict:
    """Judge the served form of a candidate; unsigned (`deploy/bundle.py` signs).

    Raises:
        ConfigurationError: a bound on a metric that nobody measures, or nothing that binds.
        GateRefused: the champion is not comparable, gold was trained on, or a report and its predictions disagree.
        BundleCorrupt: predictions of different calls.
    """
    check(evidence.settings, evidence.taxonomy)
    _refuse_other_gold(evidence)
    _refuse_leaks(evidence, store)
    results = weigh(_answered(evidence, store), evidence.settings, evidence.taxonomy, evidence.profile, evidence.speed)
    return _verdict(evidence, results)


def weigh(
    hops: Mapping[str, Answers], settings: GateSettings, taxonomy: Taxonomy, profile: str, speed: Speed
) -> tuple[BoundResult, ...]:
    """Every bound, judged on answers to the same calls in the same order; `hops`: "served", and what it is compared with
    ("merged", "baseline", "champion").

    Raises:
        ConfigurationError: nothing binds, or a bound needs a hop that is missing.
    """
    if "merged" not in hops and any(b.metric == QUANTIZATION_LOSS for b in settings.bounds):
        raise ConfigurationError(f"gate.bounds: {QUANTIZATION_LOSS} needs the report of hop 'merged', which is missing")
    table = _asked(settings, metrics.table(taxonomy))
    questions = bounds.ask(settings, table, profile, [name for name in AGAINST if name in hops])
    if not any(q.is_binding for q in questions):
        raise ConfigurationError(
            "gate.bounds has no bound that binds without a champion; add an absolute one, e.g. macro_f1 at_least"
        )
    drawn = resample.resample(list(hops.values()), table, settings.resamples, settings.seed)
    places = {name: i for i, name in enumerate(hops)}
    measured = Measurements(drawn, places, speed, len(hops["served"].ids), profile)
    return bounds.answer(questions, measured, settings.confidence)


def check(settings: GateSettings, taxonomy: Taxonomy) -> None:
    """Return if every bound is on a metric that is measured; cheap, so that a pipeline can ask before it trains.

    Raises:
        ConfigurationError: names the metric and the nearest that exists.
    """
    quality = tuple(metrics.table(taxonomy))
    for bound in settings.bounds:
        is_relative = bound.margin is not None or bound.over_baseline is not None
        _known(bound.metric, quality if is_relative else (*quality, QUANTIZATION_LOSS, *SPEED_METRICS), "gate.bounds")
    if settings.improve is not None:
        _known(settings.improve, quality, "gate.improve")


def thresholds_digest(settings: GateSettings) -> str:
    """What a verdict says of the thresholds it was judged by; who may release it is none of them."""
    return hashlib.sha256(settings.model_dump_json(exclude={"approval"}).encode()).hexdigest()


def combine(results: Iterable[BoundResult]) -> Decision:
    """REJECT if one binding bound is certainly missed, PROMOTE if all hold, else HOLD."""
    decisions = {r.decision for r in results if r.binding}
    if "REJECT" in decisions:
        return "REJECT"
    return "PROMOTE" if decisions == {"PROMOTE"} else "HOLD"


def _verdict(evidence: Evidence, results: tuple[BoundResult, ...]) -> Verdict:
    decision = combine(results)
    calls = enough.of_verdict(results) if decision == "HOLD" else None
    en, zh = _summary(decision, results, calls, evidence.reports["served"].predictions.rows)
    if evidence.gold_looks > evidence.settings.max_gold_looks:
        looks = say("gate_looks", looks=evidence.gold_looks, limit=evidence.settings.max_gold_looks)
        en, zh = f"{en} {looks[0]}", zh + looks[1]
    return Verdict(
        decision=decision,
        bundle_digest=evidence.bundle.digest,
        dataset_id=evidence.splits.dataset_id,
        gold_digest=evidence.splits.gold_digest,
        taxonomy_digest=evidence.taxonomy.digest,
        prompt_digest=evidence.prompt_digest,
        report_digest=cited.digest(evidence.model_dump_json().encode()),
        thresholds_digest=thresholds_digest(evidence.settings),
        champion_bundle=evidence.champion_bundle,
        engine=evidence.engine,
        quantization=evidence.quantization,
        profile=evidence.profile,
        synthetic=evidence.reports["served"].synthetic,
        gold_looks=evidence.gold_looks,
        bounds=results,
        created_at=now(),
        calls_to_decide=calls,
        sentence_en=en,
        sentence_zh=zh,
    )


def _known(metric: str, names: tuple[str, ...], setting: str) -> None:
    if metric not in names:
        close = difflib.get_close_matches(metric, names, n=1, cutoff=0.3)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError(
            f"{setting}: metric {metric!r} is measured by nothing{hint}. Allowed here: {', '.join(names)}"
        )


def _asked(settings: GateSettings, table: Mapping[str, Metric]) -> dict[str, Metric]:
    """The metrics that some bound is about; the others need no resampling."""
    names = {b.metric for b in settings.bounds} | {settings.improve, "macro_f1"}
    return {name: metric for name, metric in table.items() if name in names}


def _answered(evidence: Evidence, store: Store) -> dict[str, Answers]:
    """The answers of every hop that a bound may be about, all of the same calls."""
    reports: dict[str, Report] = {
        hop: evidence.reports[hop] for hop in ("served", "merged", "baseline") if hop in evidence.reports
    }
    if evidence.champion is not None:
        reports["champion"] = evidence.champion
    answers = {name: _answers(report, evidence.taxonomy, store) for name, report in reports.items()}
    served = answers["served"]
    for name, one in answers.items():
        if one.ids != served.ids or not np.array_equal(one.truth, served.truth):
            raise BundleCorrupt(
                f"hop {name!r} was scored on other calls than 'served'; score it again on the gold side"
            )
    return answers


def _answers(report: Report, taxonomy: Taxonomy, store: Store) -> Answers:
    """The answers behind a report, which has to agree with them."""
    answers = answer(report.predictions, report.calibration, taxonomy, store)
    for name, value in metrics.values(answers, metrics.table(taxonomy)).items():
        said = report.metrics.get(name, value)
        if abs(said - value) > AGREES * max(1.0, abs(value)):
            numbers = {"said": f"{said:.6g}", "value": f"{value:.6g}"}
            raise GateRefused(told("evidence_report", hop=report.hop, name=name, **numbers))
    return answers


def _refuse_other_gold(evidence: Evidence) -> None:
    served, champion = evidence.reports["served"], evidence.champion
    if champion is None:
        return
    for what in ("rows_digest", "taxonomy_digest"):
        ours, theirs = getattr(served, what), getattr(champion, what)
        if ours != theirs:
            raise GateRefused(told("evidence_other_gold", what=what, theirs=theirs[:12], ours=ours[:12]))


def _refuse_leaks(evidence: Evidence, store: Store) -> None:
    """Gold calls, others of their customers, or their words lightly edited must not be on a fitted side."""
    import polars as pl

    _refuse_other_training(evidence, store)
    splits, columns = evidence.splits, ["conversation_id", "group", "input_text"]
    gold = pl.read_parquet(store.local(splits.file("gold")), columns=columns)
    words = near.sketch(gold["input_text"])
    for side in (s for s in SIDES if s != "gold"):
        other = pl.read_parquet(store.local(splits.file(side)), columns=columns)
        shared = {("values of " + c, f" {c} 值"): len(set(gold[c]) & set(other[c])) for c in columns[:2]}
        texts = near.any_near(near.sketch(other["input_text"]), words, evidence.settings.leak_jaccard)
        shared |= {("calls with the words of a gold call", "与黄金集用语相同的通话"): int(texts.sum())}
        for (en, zh), count in shared.items():
            if count:
                raise GateRefused(told("evidence_leak", count=count, what_en=en, what_zh=zh, side=side))


def _refuse_other_training(evidence: Evidence, store: Store) -> None:
    """What the training says it read has to be what the split holds, or looking there for gold proves nothing."""
    for side in ("train", "validation"):
        there, read = sha256_file(store.local(evidence.splits.file(side))), evidence.trained_on.get(side, "none")
        if there != read:
            raise GateRefused(told("evidence_other_calls", side=side, read=read[:12], there=there[:12]))


def _summary(decision: Decision, results: tuple[BoundResult, ...], calls: int | None, rows: int) -> tuple[str, str]:
    binding = [r for r in results if r.binding]
    held = sum(r.decision == "PROMOTE" for r in binding)
    if decision == "HOLD":
        undecided = ", ".join(dict.fromkeys(r.metric for r in binding if r.decision == "HOLD"))
        return enough.said("gate_hold", calls, rows, held=held, of=len(binding), undecided=undecided)
    missed = ", ".join(dict.fromkeys(r.metric for r in binding if r.decision == "REJECT"))
    return say(f"gate_{decision.lower()}", of=len(binding), missed=missed)
