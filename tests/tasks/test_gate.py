from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.settings import PROFILES, Bound, GateSettings, load
from data_contracts.artifacts import BoundResult, BundleRef, Interval, Verdict
from data_contracts.errors import BundleCorrupt, ConfigurationError, GateRefused
from data_contracts.taxonomy import load as load_taxonomy
from deploy.calibration import identity
from tasks import bounds, gate
from tasks.answered import Answers
from tasks.bounds import Question
from tasks.evaluate import evaluate
from tasks.metrics import table
from tasks.resample import Draws, holm, resample
from tests.tasks.scored import SPEED, TAXONOMY, Scored

ABSOLUTE = (
    Bound(metric="macro_f1", at_least=0.75),
    Bound(metric="top_severity_recall_share", at_least=0.5),
    Bound(metric="calibration_error_share", at_most=0.2),
    Bound(metric="quantization_loss_f1", at_most=0.05),
    Bound(metric="p95_ms", at_most=1000),
    Bound(metric="error_share", at_most=0.0),
)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return Scored(tmp_path_factory.mktemp("store"), rows=600)


def _evidence(scored: Scored, right: float, **changes: Any) -> gate.Evidence:
    reports = {"served": scored.report(right), "merged": scored.report(right, "merged"), "baseline": scored.report(0.8, "baseline")}
    plain: dict[str, Any] = {
        "taxonomy": TAXONOMY,
        "splits": scored.splits,
        "settings": _gate(*ABSOLUTE),
        "profile": "qwen3-0.6b",
        "bundle": BundleRef(digest="b" * 64, key="bundles/b", synthetic=True),
        "prompt_digest": "p" * 64,
        "engine": "transformers",
        "quantization": "int8",
        "reports": reports,
        "speed": SPEED,
    }
    return gate.Evidence(**{**plain, **changes})


def _gate(*asked: Bound, improve: str | None = None) -> GateSettings:
    return GateSettings(bounds=asked, improve=improve, resamples=500)


def _judge(scored: Scored, right: float, **changes: Any) -> Verdict:
    return gate.judge(_evidence(scored, right, **changes), scored.store)


def _by_metric(verdict: Verdict, metric: str) -> BoundResult:
    return next(b for b in verdict.bounds if b.metric == metric)


def test_a_good_candidate_is_promoted_and_the_verdict_is_bound_to_everything(scored: Scored) -> None:
    verdict = _judge(scored, 0.97)

    assert verdict.decision == "PROMOTE", verdict.sentence_en
    assert all(b.decision == "PROMOTE" for b in verdict.bounds)
    assert verdict.gold_digest == "g" * 64
    assert verdict.dataset_id == "d" * 64
    assert len(verdict.report_digest) == len(verdict.thresholds_digest) == 64
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_a_perfect_candidate_is_promoted(scored: Scored) -> None:
    assert _judge(scored, 1.0).decision == "PROMOTE"


def test_a_bad_candidate_is_rejected(scored: Scored) -> None:
    verdict = _judge(scored, 0.6)

    assert verdict.decision == "REJECT"
    assert "macro_f1" in verdict.sentence_en
    assert "拒绝" in verdict.sentence_zh


def test_a_candidate_near_the_bound_is_held_with_the_calls_that_would_decide(scored: Scored) -> None:
    near = round(scored.report(0.85).metrics["macro_f1"] - 0.01, 3)

    verdict = _judge(scored, 0.85, settings=_gate(Bound(metric="macro_f1", at_least=near)))

    held = _by_metric(verdict, "macro_f1")
    assert verdict.decision == "HOLD"
    assert held.needed_rows is not None and held.needed_rows > 600
    assert verdict.needed_rows == held.needed_rows
    assert f"{held.needed_rows:,}" in verdict.sentence_en
    assert f"{held.needed_rows:,}" in verdict.sentence_zh


def test_one_failed_request_in_speed_rejects(scored: Scored) -> None:
    verdict = _judge(scored, 0.97, speed=SPEED.model_copy(update={"error_share": 0.01}))

    assert verdict.decision == "REJECT"
    assert _by_metric(verdict, "error_share").low == 0.01


def test_a_metric_nobody_produces_names_the_nearest(scored: Scored) -> None:
    asked = _gate(Bound(metric="regulatory_recall", at_least=0.7))

    with pytest.raises(ConfigurationError, match="did you mean 'regulator_recall'"):
        _judge(scored, 0.9, settings=asked)


@pytest.mark.parametrize("bound", [Bound(metric="p95_ms", margin=5), Bound(metric="quantization_loss_f1", over_baseline=0)])
def test_speed_and_quantization_cannot_be_relative(bound: Bound) -> None:
    with pytest.raises(ConfigurationError, match="measured by nothing"):
        gate.check(_gate(bound), TAXONOMY)


def test_improve_on_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"gate\.improve.*'macro_f1'"):
        gate.check(_gate(improve="macro_f"), TAXONOMY)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_checked_in_bounds_are_on_metrics_that_exist(profile: str) -> None:
    settings_ = load(profile, env={}).gate

    gate.check(settings_, load_taxonomy())

    assert "top_severity_recall_share" in {b.metric for b in settings_.bounds}


def test_without_a_champion_relative_bounds_do_not_apply(scored: Scored) -> None:
    verdict = _judge(scored, 0.97, settings=_gate(*ABSOLUTE, Bound(metric="macro_f1", margin=0.0), improve="macro_f1"))

    assert verdict.decision == "PROMOTE"
    assert not any(b.relative for b in verdict.bounds)


def test_a_first_candidate_is_not_promoted_on_relative_bounds_alone(scored: Scored) -> None:
    with pytest.raises(ConfigurationError, match="absolute"):
        _judge(scored, 0.97, settings=_gate(Bound(metric="macro_f1", margin=0.01)))


def test_the_same_model_again_is_within_the_margin_and_no_improvement(scored: Scored) -> None:
    champion = scored.report(0.9)

    same = _judge(scored, 0.9, champion=champion, settings=_gate(Bound(metric="macro_f1", margin=0.02)))
    asked_more = _judge(scored, 0.9, champion=champion, settings=_gate(Bound(metric="accuracy_share", at_least=0.5), improve="macro_f1"))

    assert same.decision == "PROMOTE"
    assert same.bounds[0].value == 0
    assert asked_more.decision == "HOLD"


def test_a_much_better_candidate_improves_and_a_much_worse_one_is_rejected(scored: Scored) -> None:
    asked = _gate(Bound(metric="cost_per_1000", margin=100), Bound(metric="macro_f1", margin=0.01), improve="macro_f1")

    better = _judge(scored, 0.95, champion=scored.report(0.8), settings=asked)
    worse = _judge(scored, 0.8, champion=scored.report(0.95), settings=asked)

    assert better.decision == "PROMOTE", better.sentence_en
    assert _by_metric(better, "cost_per_1000").kind == "at_most"
    assert _by_metric(better, "cost_per_1000").value < 0
    assert worse.decision == "REJECT"


def test_relative_bounds_share_the_error_by_holm(scored: Scored) -> None:
    asked = _gate(Bound(metric="macro_f1", margin=0.01), Bound(metric="accuracy_share", margin=0.01))

    verdict = _judge(scored, 0.95, champion=scored.report(0.8), settings=asked)

    assert sorted(b.level for b in verdict.bounds) == pytest.approx([0.95, 0.975])


@pytest.mark.parametrize("what", ["rows_digest", "taxonomy_digest"])
def test_a_champion_on_other_gold_or_taxonomy_is_not_comparable(scored: Scored, what: str) -> None:
    champion = scored.report(0.9).model_copy(update={what: "0" * 64})

    with pytest.raises(GateRefused, match="not comparable"):
        _judge(scored, 0.9, champion=champion)


@pytest.mark.parametrize(("profile", "decision", "binding"), [("tiny", "PROMOTE", False), ("qwen3-0.6b", "REJECT", True)])
def test_the_baseline_binds_except_in_tiny(scored: Scored, profile: str, decision: str, binding: bool) -> None:
    evidence = _evidence(scored, 0.9, profile=profile)
    reports = {**evidence.reports, "baseline": scored.report(1.0, "baseline")}
    asked = _gate(Bound(metric="accuracy_share", at_least=0.5), Bound(metric="macro_f1", over_baseline=0.0))

    verdict = gate.judge(evidence.model_copy(update={"reports": reports, "settings": asked}), scored.store)

    shown = _by_metric(verdict, "macro_f1")
    assert verdict.decision == decision
    assert (shown.decision, shown.binding, shown.champion) == ("REJECT", binding, 1.0)
    assert ("Shown only" in shown.sentence_en) is not binding


def test_quantization_that_loses_too_much_is_rejected(scored: Scored) -> None:
    evidence = _evidence(scored, 0.8)
    reports = {**evidence.reports, "merged": scored.report(0.97, "merged")}

    verdict = gate.judge(evidence.model_copy(update={"reports": reports}), scored.store)

    assert _by_metric(verdict, "quantization_loss_f1").decision == "REJECT"


def test_quantization_loss_needs_the_merged_hop(scored: Scored) -> None:
    evidence = _evidence(scored, 0.9)

    with pytest.raises(ConfigurationError, match="merged"):
        gate.judge(evidence.model_copy(update={"reports": {"served": evidence.reports["served"]}}), scored.store)


def test_a_category_without_gold_calls_holds_instead_of_passing(tmp_path: Path) -> None:
    scored = Scored(tmp_path)
    scored.truth["gold"] = np.where(scored.truth["gold"] == 2, 0, scored.truth["gold"])
    scored.write_side("gold")

    verdict = _judge(scored, 1.0)

    unmeasured = _by_metric(verdict, "top_severity_recall_share")
    assert verdict.decision == "HOLD"
    assert unmeasured.needed_rows is verdict.needed_rows is None
    assert "cannot be measured" in unmeasured.sentence_en


def test_gold_calls_in_training_are_detected(tmp_path: Path) -> None:
    scored = Scored(tmp_path)
    groups = scored.groups("train")
    scored.write_side("train", group=[*groups[:-1], "gold-g3"])

    with pytest.raises(GateRefused, match=r"1 values of group .* train"):
        _judge(scored, 0.97)


def test_an_edited_report_is_refused(scored: Scored) -> None:
    evidence = _evidence(scored, 0.6)
    served = evidence.reports["served"]
    edited = served.model_copy(update={"metrics": {**served.metrics, "macro_f1": 0.99}})

    with pytest.raises(GateRefused, match=r"says macro_f1 0\.99"):
        gate.judge(evidence.model_copy(update={"reports": {**evidence.reports, "served": edited}}), scored.store)


def test_hops_scored_on_other_calls_are_refused(scored: Scored, tmp_path: Path) -> None:
    other = Scored(tmp_path, rows=600, seed=9)
    scores = np.zeros((600, 4))
    other.store = scored.store
    stray = evaluate(other.keep("predictions/stray", "merged", "gold", scores), identity(4), scored.splits, TAXONOMY, 200, 1, scored.store, True)
    evidence = _evidence(scored, 0.9)

    with pytest.raises(BundleCorrupt, match="other calls"):
        gate.judge(evidence.model_copy(update={"reports": {**evidence.reports, "merged": stray}}), scored.store)


def test_loosened_thresholds_change_the_digest(scored: Scored) -> None:
    strict, loose = (_judge(scored, 0.9, settings=_gate(Bound(metric="macro_f1", at_least=x))) for x in (0.7, 0.6))

    assert strict.thresholds_digest != loose.thresholds_digest


ORDER = {"REJECT": 0, "HOLD": 1, "PROMOTE": 2}


@settings(max_examples=100)
@given(st.floats(0, 1), st.floats(0, 0.3), st.floats(0, 0.3), st.floats(0, 1), st.floats(0, 0.3))
def test_a_stricter_bound_never_decides_more_kindly(value: float, down: float, up: float, limit: float, more: float) -> None:
    interval = Interval(value=value, low=value - down, high=value + up)

    def decided(at: float) -> int:
        return ORDER[bounds._decide(Question("m", "at_least", at, "", True), interval, True)]

    assert decided(limit + more) <= decided(limit)


@settings(max_examples=100)
@given(st.floats(-1, 1), st.floats(0.01, 0.3), st.floats(0.01, 0.3), st.floats(-1, 1))
def test_at_most_mirrors_at_least(value: float, down: float, up: float, limit: float) -> None:
    up_side = Interval(value=value, low=value - down, high=value + up)
    mirrored = Interval(value=-value, low=-value - up, high=-value + down)

    least = bounds._decide(Question("m", "at_least", limit, "", True), up_side, True)
    most = bounds._decide(Question("m", "at_most", -limit, "", True), mirrored, True)

    assert least == most


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-0.05, 0.05), min_size=1, max_size=6), st.integers(0, 1000))
def test_holm_passes_no_more_than_each_alone_and_no_less_than_bonferroni(shifts: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    asked = [(Draws(s, s + rng.normal(0, 0.02, 2000)), 0.0, True) for s in shifts]

    answers = holm(asked, 0.95)

    for (draws, limit, _), (level, may_pass) in zip(asked, answers, strict=True):
        passes = may_pass and draws.interval(level).low >= limit
        assert not passes or draws.interval(0.95).low >= limit
        assert passes or draws.interval(1 - 0.05 / len(asked)).low < limit


def _world(calls: int, right: float, seed: int) -> Answers:
    """Customers of two calls that are right or wrong together more often than chance."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, calls)
    luck = 0.5 * np.repeat(rng.random(calls // 2), 2) + 0.5 * rng.random(calls)
    predicted = np.where(luck < np.quantile(luck, right), truth, (truth + 1) % 4)
    flat, none = np.full((calls, 4), 0.25), np.zeros(calls)
    groups = (np.arange(calls) // 2).astype(str)
    on = np.ones(calls, bool)
    return Answers(tuple(map(str, range(calls))), groups, truth, predicted, flat, none, on, none, none + 1, ~on)


@pytest.mark.parametrize(("right", "limit"), [(0.85, 0.84), (0.85, 0.835), (0.85, 0.86), (0.85, 0.87)])
def test_about_n_more_calls_is_what_then_decides(right: float, limit: float) -> None:
    question = Question("accuracy_share", "at_least", limit, "", True)
    only = {"accuracy_share": table(TAXONOMY)["accuracy_share"]}

    def interval(calls: int) -> Interval:
        return resample([_world(calls, right, 3)], only, 1000, 1).one("accuracy_share").interval(0.95)

    assert bounds._decide(question, interval(400), True) == "HOLD"
    needed = bounds._more_calls(question, interval(400), 400)

    assert needed is not None
    assert bounds._decide(question, interval(2 * ((400 + int(0.7 * needed)) // 2)), True) == "HOLD"
    assert bounds._decide(question, interval(2 * ((400 + int(1.3 * needed)) // 2)), True) != "HOLD"


def test_a_value_on_the_bound_has_no_number_of_calls() -> None:
    question = Question("m", "at_least", 0.8, "", True)

    assert bounds._more_calls(question, Interval(value=0.8, low=0.7, high=0.9), 100) is None


def test_a_rounded_number_of_calls_has_two_digits() -> None:
    question = Question("m", "at_least", 0.8, "", True)

    assert bounds._more_calls(question, Interval(value=0.81, low=0.775, high=0.84), 500) == 5700


