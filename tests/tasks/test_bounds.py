import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.artifacts import Interval
from tasks import bounds
from tasks.answered import Answers
from tasks.bounds import Question
from tasks.metrics import table
from tasks.resample import Draws, holm, resample
from tests.tasks.scored import TAXONOMY

ORDER = {"REJECT": 0, "HOLD": 1, "PROMOTE": 2}


@settings(max_examples=100)
@given(st.floats(0, 1), st.floats(0, 0.3), st.floats(0, 0.3), st.floats(0, 1), st.floats(0, 0.3))
def test_a_stricter_bound_never_decides_more_kindly(
    value: float, down: float, up: float, limit: float, more: float
) -> None:
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
