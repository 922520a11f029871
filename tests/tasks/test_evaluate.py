import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.artifacts import Calibration, Report
from data_contracts.errors import BundleCorrupt
from deploy.calibration import identity
from tasks import metrics
from tasks.answered import Answers, answer, select
from tasks.evaluate import evaluate
from tasks.resample import resample
from tests.tasks.scored import TAXONOMY, Scored, random_answers

TABLE = metrics.table(TAXONOMY)
PROMISED = {
    "accuracy_share",
    "macro_f1",
    "weighted_f1",
    "calibration_error_share",
    "brier",
    "nll",
    "cost_per_1000",
    "coverage_at_95_share",
    "review_share",
    "auto_accuracy_share",
    "label_mass_share",
    "truncated_share",
    "top_severity_recall_share",
    "billing_recall",
    "regulator_recall",
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return Scored(tmp_path_factory.mktemp("store"))


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 300), st.integers(0, 10_000), st.floats(0, 1))
def test_scores_equal_those_of_scikit_learn(rows: int, seed: int, right: float) -> None:
    from sklearn.metrics import accuracy_score, f1_score, recall_score

    a = random_answers(rows, seed, right)
    present = sorted(set(a.truth.tolist()))

    ours = metrics.values(a, TABLE)

    def theirs(average: str) -> float:
        return float(f1_score(a.truth, a.predicted, labels=present, average=average, zero_division=0))

    assert ours["accuracy_share"] == pytest.approx(accuracy_score(a.truth, a.predicted))
    assert ours["macro_f1"] == pytest.approx(theirs("macro"))
    assert ours["weighted_f1"] == pytest.approx(theirs("weighted"))
    recalls = recall_score(a.truth, a.predicted, labels=range(4), average=None, zero_division=0)
    for key, i in TAXONOMY.index.items():
        assert ours.get(f"{key}_recall", 0.0) == pytest.approx(recalls[i])


@settings(max_examples=20, deadline=None)
@given(st.integers(10, 200), st.integers(0, 10_000))
def test_the_order_of_calls_changes_nothing(rows: int, seed: int) -> None:
    a = random_answers(rows, seed)
    order = np.random.default_rng(seed).permutation(rows)
    shuffled = _reorder(a, order)

    assert metrics.values(shuffled, TABLE) == pytest.approx(metrics.values(a, TABLE))
    one, two = (resample([x], TABLE, 50, 3).one("macro_f1").interval(0.95) for x in (a, shuffled))
    assert one.model_dump() == pytest.approx(two.model_dump())


def _reorder(a: Answers, order: np.ndarray) -> Answers:
    moved = {k: v[order] for k, v in vars(a).items() if isinstance(v, np.ndarray)}
    return Answers(ids=tuple(a.ids[i] for i in order), **moved)


def test_perfect_answers_are_perfect(scored: Scored) -> None:
    report = scored.report(1.0)

    assert (
        report.metrics["accuracy_share"]
        == report.metrics["macro_f1"]
        == report.metrics["top_severity_recall_share"]
        == 1
    )
    assert report.metrics["cost_per_1000"] == 0
    assert report.metrics["coverage_at_95_share"] == 1


def test_a_report_says_everything_promised_and_survives_json(scored: Scored) -> None:
    report = scored.report(0.85)

    assert set(report.metrics) >= PROMISED
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert "NaN" not in json.dumps(report.model_dump(mode="json"))
    assert sum(map(sum, report.confusion)) == report.rows == 400
    assert report.groups == 200
    assert all(i.low <= i.value <= i.high for i in report.intervals.values())
    assert all(report.metrics[k] == pytest.approx(i.value) for k, i in report.intervals.items())


def test_slices_cover_every_call_once(scored: Scored) -> None:
    report = scored.report(0.85)

    assert set(report.slices) == {"channel", "region", "length"}
    assert set(report.slices["channel"]) == {"phone", "unknown"}
    assert set(report.slices["length"]) == {"q1", "q2", "q3", "q4"}
    assert all(sum(s["rows"] for s in by.values()) == 400 for by in report.slices.values())


def test_a_category_without_gold_calls_has_no_recall_and_costs_no_f1(tmp_path: Path) -> None:
    scored = Scored(tmp_path)
    scored.truth["gold"] = np.where(scored.truth["gold"] == 2, 0, scored.truth["gold"])
    scored.write_side("gold")

    report = scored.report(1.0)

    assert report.metrics["macro_f1"] == 1
    assert "top_severity_recall_share" not in report.metrics
    assert report.per_category["regulator"]["support"] == 0


def test_predictions_of_other_calls_are_refused(tmp_path: Path) -> None:
    scored = Scored(tmp_path)
    scored.write_side("gold", conversation_id=[f"x{i}" for i in range(400)])

    with pytest.raises(BundleCorrupt, match="score that side again"):
        scored.report(0.9)


def test_reviewed_calls_cost_the_review_and_leave_the_automatic_accuracy(scored: Scored) -> None:
    everything = Calibration(bias=(0.0,) * 4, threshold=1.0)

    report = scored.report(0.85, calibration=everything)

    assert report.metrics["review_share"] > 0.99
    assert report.metrics["cost_per_1000"] == pytest.approx(3000, rel=0.01)


def test_coverage_is_the_share_that_can_be_answered_at_95_percent() -> None:
    a = random_answers(1000, 1)
    confidence = np.linspace(1, 0.3, 1000)
    predicted = np.where(np.arange(1000) < 600, a.truth, (a.truth + 1) % 4)
    a = Answers(**{**vars(a), "confidence": confidence, "predicted": predicted})

    assert metrics.values(a, TABLE)["coverage_at_95_share"] == pytest.approx(0.63, abs=0.011)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    a = random_answers(1000, 1)
    predicted = np.where(np.arange(1000) % 2 == 0, a.truth, (a.truth + 1) % 4)
    a = Answers(**{**vars(a), "confidence": np.full(1000, 0.85), "predicted": predicted})

    assert metrics.values(a, TABLE)["calibration_error_share"] == pytest.approx(0.35)


def test_selecting_no_call_and_every_call(scored: Scored) -> None:
    a = answer(scored.predict(0.8), identity(4), TAXONOMY, scored.store)

    assert metrics.values(select(a, np.ones(400, bool)), TABLE) == pytest.approx(metrics.values(a, TABLE))
    assert select(a, np.zeros(400, bool)).ids == ()


def test_the_same_seed_gives_the_same_report(scored: Scored) -> None:
    predictions = scored.predict(0.8)

    one, two = (
        evaluate(predictions, identity(4), scored.splits, TAXONOMY, 200, 5, scored.store, True) for _ in range(2)
    )

    assert one == two
