import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from data_contracts.artifacts import Calibration
from deploy.calibration import LOW_LABEL_MASS, apply, decide, identity

logprobs = arrays(np.float64, st.tuples(st.integers(1, 20), st.just(4)), elements=st.floats(-1e4, 0))
calibrations = st.builds(
    Calibration,
    temperature=st.floats(0.05, 20),
    bias=st.tuples(*[st.floats(-10, 10)] * 4),
    threshold=st.floats(0, 1),
)


@given(calibrations, logprobs)
def test_probabilities_are_a_distribution(calibration: Calibration, x: NDArray[np.float64]) -> None:
    p = apply(calibration, x)

    assert np.allclose(p.sum(axis=1), 1)
    assert (p >= 0).all()


@given(logprobs)
def test_identity_only_normalises(x: NDArray[np.float64]) -> None:
    p = apply(identity(4), x)

    e = np.exp(x - x.max(axis=1, keepdims=True))
    assert np.allclose(p, e / e.sum(axis=1, keepdims=True))


@given(calibrations, logprobs, st.floats(-50, 50))
def test_a_constant_added_to_a_row_changes_nothing(c: Calibration, x: NDArray[np.float64], shift: float) -> None:
    assert np.allclose(apply(c, x), apply(c, x + shift), atol=1e-6)


@given(calibrations, logprobs)
def test_a_higher_threshold_never_answers_more_calls(calibration: Calibration, x: NDArray[np.float64]) -> None:
    p, mass = apply(calibration, x), np.ones(len(x))
    stricter = calibration.model_copy(update={"threshold": min(1.0, calibration.threshold + 0.1)})

    loose, strict = decide(calibration, p, mass).is_auto, decide(stricter, p, mass).is_auto

    assert not (strict & ~loose).any()


def test_impossible_categories_stay_impossible_and_all_impossible_means_unknown() -> None:
    p = apply(identity(2), np.array([[0.0, -np.inf], [-np.inf, -np.inf]]))

    assert p.tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_reasons_name_what_a_person_should_look_at() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.9, 0.1], [0.6, 0.4]])
    calibration = Calibration(bias=(0.0, 0.0), threshold=0.7)

    decided = decide(calibration, p, np.array([1, 1, LOW_LABEL_MASS - 0.01, 0]))

    assert decided.reasons == ((), ("low_confidence",), ("low_label_mass",), ("low_confidence", "low_label_mass"))
    assert decided.is_auto.tolist() == [True, False, False, False]


def test_confidence_at_the_threshold_is_enough() -> None:
    decided = decide(Calibration(bias=(0.0, 0.0), threshold=0.75), np.array([[0.75, 0.25]]), np.ones(1))

    assert decided.is_auto.all()
    assert decided.confidence == pytest.approx([0.75])
