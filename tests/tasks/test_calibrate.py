from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from configs.training import CalibrateSettings
from data_contracts.errors import BundleCorrupt, ConfigurationError
from deploy.calibration import identity
from tasks import calibrate
from tasks.answered import Answers, answer, costs
from tests.tasks.scored import TAXONOMY, Scored

COST = CalibrateSettings(threshold_from="cost")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return Scored(tmp_path_factory.mktemp("store"), rows=500)


def test_an_overconfident_model_is_cooled_down(scored: Scored) -> None:
    fitted = calibrate.fit(scored.predict(0.7, side="calibration", sure=12), TAXONOMY, COST, scored.store)

    assert fitted.temperature > 1.5
    assert fitted.loss_after < fitted.loss_before
    assert fitted.rows == 500


@settings(max_examples=10, deadline=None)
@given(st.floats(0.3, 0.98), st.floats(0.5, 10), st.integers(0, 1000))
def test_calibration_never_raises_the_loss_it_was_fitted_on(
    scored: Scored, right: float, sure: float, seed: int
) -> None:
    fitted = calibrate.fit(
        scored.predict(right, side="calibration", sure=sure, seed=seed), TAXONOMY, COST, scored.store
    )

    assert fitted.loss_after <= fitted.loss_before + 1e-9
    assert sum(fitted.bias) == pytest.approx(0, abs=1e-9)
    assert 0 <= fitted.threshold <= 1


def test_the_bias_undoes_a_category_favoured_by_the_model(scored: Scored) -> None:
    base = scored.predict(0.9, side="calibration")
    scores = np.log(answer(base, identity(4), TAXONOMY, scored.store).probabilities) + np.array([2.0, 0, 0, 0])
    shifted = scored.keep("predictions/shifted", "served", "calibration", scores)

    bias = calibrate.fit(shifted, TAXONOMY, COST, scored.store).bias

    assert bias[0] == min(bias)
    assert bias[0] < -0.8


def test_a_side_without_calls_is_refused(tmp_path: Path) -> None:
    empty = Scored(tmp_path, rows=0)

    with pytest.raises(ConfigurationError, match=r"split\.calibration_share"):
        calibrate.fit(empty.keep("p", "served", "calibration", np.zeros((0, 4))), TAXONOMY, COST, empty.store)


def test_predictions_of_another_taxonomy_are_refused(scored: Scored) -> None:
    other = scored.predict(0.9, side="calibration").model_copy(update={"taxonomy_digest": "0" * 64})

    with pytest.raises(BundleCorrupt, match="score the calls again"):
        calibrate.fit(other, TAXONOMY, COST, scored.store)


def _answers(scored: Scored, right: float) -> Answers:
    return answer(scored.predict(right, side="calibration"), identity(4), TAXONOMY, scored.store)


def _cost_at(answers: Answers, threshold: float) -> float:
    """Expected cost a call, written out category by category."""
    total = 0.0
    for p in answers.probabilities:
        j = int(p.argmax())
        wrong = sum(
            p[t] * (TAXONOMY.categories[t].cost_of_missing + TAXONOMY.categories[j].cost_of_false_alarm)
            for t in range(4)
            if t != j
        )
        total += wrong if p[j] >= threshold else TAXONOMY.review_cost
    return total / len(answers.probabilities)


@pytest.mark.parametrize("right", [0.5, 0.8, 0.95])
def test_no_other_threshold_is_expected_to_cost_less(scored: Scored, right: float) -> None:
    answers = _answers(scored, right)

    chosen = calibrate.choose_threshold(answers, TAXONOMY, COST)

    best = _cost_at(answers, chosen)
    assert all(best <= _cost_at(answers, t) + 1e-9 for t in np.linspace(0, 1, 41))


def test_free_review_sends_everything_to_people_and_dear_review_nothing(scored: Scored) -> None:
    answers = _answers(scored, 0.8)

    free = calibrate.choose_threshold(answers, TAXONOMY.model_copy(update={"review_cost": 0.0}), COST)
    dear = calibrate.choose_threshold(answers, TAXONOMY.model_copy(update={"review_cost": 1e6}), COST)

    assert (answers.confidence < free).mean() > 0.99
    assert dear == 0.0


def test_the_accuracy_threshold_is_the_lowest_that_reaches_the_target(scored: Scored) -> None:
    answers = _answers(scored, 0.8)
    asked = CalibrateSettings(threshold_from="accuracy", target_accuracy=0.9)

    chosen = calibrate.choose_threshold(answers, TAXONOMY, asked)

    right = answers.predicted == answers.truth
    assert right[answers.confidence >= chosen].mean() >= 0.9
    lower = [t for t in answers.confidence if t < chosen - 1e-9]
    assert all(right[answers.confidence >= t].mean() < 0.9 for t in lower)


def test_an_unreachable_accuracy_sends_everything_to_people(scored: Scored) -> None:
    answers = _answers(scored, 0.8)
    wrong = replace(answers, truth=(answers.predicted + 1) % 4)

    assert calibrate.choose_threshold(wrong, TAXONOMY, CalibrateSettings(threshold_from="accuracy")) == 1.0


def test_costs_are_of_the_true_category_missed_and_the_predicted_one_alarmed() -> None:
    truth: NDArray[np.intp] = np.array([2, 2, 0, 3])
    predicted: NDArray[np.intp] = np.array([2, 3, 2, 0])

    automatic = costs(truth, predicted, np.ones(4, bool), TAXONOMY)
    reviewed = costs(truth, predicted, np.zeros(4, bool), TAXONOMY)

    assert automatic.tolist() == [0, 200 + 0, 20 + 10, 2 + 4]
    assert reviewed.tolist() == [3, 3, 3, 3]
