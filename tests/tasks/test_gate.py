from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.promotion import Bound
from configs.sources import PROFILES, load
from data_contracts.artifacts import BoundResult, Verdict
from data_contracts.errors import ConfigurationError
from data_contracts.taxonomy import load as load_taxonomy
from tasks import gate
from tests.tasks.scored import ABSOLUTE, SPEED, TAXONOMY, Scored, asking, evidence_of


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return Scored(tmp_path_factory.mktemp("store"), rows=600)


def _judge(scored: Scored, right: float, **changes: Any) -> Verdict:
    return gate.judge(evidence_of(scored, right, **changes), scored.store)


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

    verdict = _judge(scored, 0.85, settings=asking(Bound(metric="macro_f1", at_least=near)))

    held = _by_metric(verdict, "macro_f1")
    assert verdict.decision == "HOLD"
    assert held.calls_to_decide is not None and held.calls_to_decide > 1200
    assert verdict.calls_to_decide == held.calls_to_decide
    for sentence in (verdict.sentence_en, verdict.sentence_zh):
        assert f"{held.calls_to_decide:,}" in sentence


def test_one_failed_request_in_speed_rejects(scored: Scored) -> None:
    verdict = _judge(scored, 0.97, speed=SPEED.model_copy(update={"error_share": 0.01}))

    assert verdict.decision == "REJECT"
    assert _by_metric(verdict, "error_share").low == 0.01


def test_a_metric_nobody_produces_names_the_nearest(scored: Scored) -> None:
    asked = asking(Bound(metric="regulatory_recall", at_least=0.7))

    with pytest.raises(ConfigurationError, match="did you mean 'regulator_recall'"):
        _judge(scored, 0.9, settings=asked)


@pytest.mark.parametrize(
    "bound", [Bound(metric="p95_ms", margin=5), Bound(metric="quantization_loss_f1", over_baseline=0)]
)
def test_speed_and_quantization_cannot_be_relative(bound: Bound) -> None:
    with pytest.raises(ConfigurationError, match="measured by nothing"):
        gate.check(asking(bound), TAXONOMY)


def test_improve_on_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"gate\.improve.*'macro_f1'"):
        gate.check(asking(improve="macro_f"), TAXONOMY)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_checked_in_bounds_are_on_metrics_that_exist(profile: str) -> None:
    settings_ = load(profile, env={}).gate

    gate.check(settings_, load_taxonomy())

    assert "top_severity_recall_share" in {b.metric for b in settings_.bounds}


def test_without_a_champion_relative_bounds_do_not_apply(scored: Scored) -> None:
    verdict = _judge(scored, 0.97, settings=asking(*ABSOLUTE, Bound(metric="macro_f1", margin=0.0), improve="macro_f1"))

    assert verdict.decision == "PROMOTE"
    assert not any(b.relative for b in verdict.bounds)


def test_a_first_candidate_is_not_promoted_on_relative_bounds_alone(scored: Scored) -> None:
    with pytest.raises(ConfigurationError, match="absolute"):
        _judge(scored, 0.97, settings=asking(Bound(metric="macro_f1", margin=0.01)))


def test_the_same_model_again_is_within_the_margin_and_no_improvement(scored: Scored) -> None:
    champion = scored.report(0.9)

    same = _judge(scored, 0.9, champion=champion, settings=asking(Bound(metric="macro_f1", margin=0.02)))
    more = asking(Bound(metric="accuracy_share", at_least=0.5), improve="macro_f1")
    asked_more = _judge(scored, 0.9, champion=champion, settings=more)

    assert same.decision == "PROMOTE"
    assert same.bounds[0].value == 0
    assert asked_more.decision == "HOLD"


def test_a_much_better_candidate_improves_and_a_much_worse_one_is_rejected(scored: Scored) -> None:
    asked = asking(Bound(metric="cost_per_1000", margin=100), Bound(metric="macro_f1", margin=0.01), improve="macro_f1")

    better = _judge(scored, 0.95, champion=scored.report(0.8), settings=asked)
    worse = _judge(scored, 0.8, champion=scored.report(0.95), settings=asked)

    assert better.decision == "PROMOTE", better.sentence_en
    assert _by_metric(better, "cost_per_1000").kind == "at_most"
    assert _by_metric(better, "cost_per_1000").value < 0
    assert worse.decision == "REJECT"


def test_relative_bounds_share_the_error_by_holm(scored: Scored) -> None:
    asked = asking(Bound(metric="macro_f1", margin=0.01), Bound(metric="accuracy_share", margin=0.01))

    verdict = _judge(scored, 0.95, champion=scored.report(0.8), settings=asked)

    assert sorted(b.level for b in verdict.bounds) == pytest.approx([0.95, 0.975])


@pytest.mark.parametrize(
    ("profile", "decision", "binding"), [("tiny", "PROMOTE", False), ("qwen3-0.6b", "REJECT", True)]
)
def test_the_baseline_binds_except_in_tiny(scored: Scored, profile: str, decision: str, binding: bool) -> None:
    evidence = evidence_of(scored, 0.9, profile=profile)
    reports = {**evidence.reports, "baseline": scored.report(1.0, "baseline")}
    asked = asking(Bound(metric="accuracy_share", at_least=0.5), Bound(metric="macro_f1", over_baseline=0.0))

    verdict = gate.judge(evidence.model_copy(update={"reports": reports, "settings": asked}), scored.store)

    shown = _by_metric(verdict, "macro_f1")
    assert verdict.decision == decision
    assert (shown.decision, shown.binding, shown.champion) == ("REJECT", binding, 1.0)
    assert ("Shown only" in shown.sentence_en) is not binding


def test_quantization_that_loses_too_much_is_rejected(scored: Scored) -> None:
    evidence = evidence_of(scored, 0.8)
    reports = {**evidence.reports, "merged": scored.report(0.97, "merged")}

    verdict = gate.judge(evidence.model_copy(update={"reports": reports}), scored.store)

    assert _by_metric(verdict, "quantization_loss_f1").decision == "REJECT"


def test_quantization_loss_needs_the_merged_hop(scored: Scored) -> None:
    evidence = evidence_of(scored, 0.9)

    with pytest.raises(ConfigurationError, match="merged"):
        gate.judge(evidence.model_copy(update={"reports": {"served": evidence.reports["served"]}}), scored.store)


def test_a_category_without_gold_calls_holds_instead_of_passing(tmp_path: Path) -> None:
    scored = Scored(tmp_path)
    scored.truth["gold"] = np.where(scored.truth["gold"] == 2, 0, scored.truth["gold"])
    scored.write_side("gold")

    verdict = _judge(scored, 1.0)

    unmeasured = _by_metric(verdict, "top_severity_recall_share")
    assert verdict.decision == "HOLD"
    assert unmeasured.calls_to_decide is verdict.calls_to_decide is None
    assert "cannot be measured" in unmeasured.sentence_en


def test_loosened_thresholds_change_the_digest(scored: Scored) -> None:
    strict, loose = (_judge(scored, 0.9, settings=asking(Bound(metric="macro_f1", at_least=x))) for x in (0.7, 0.6))

    assert strict.thresholds_digest != loose.thresholds_digest
