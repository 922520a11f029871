import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.artifacts import BoundResult, Interval
from tasks import bounds, enough
from tasks.answered import Answers
from tasks.bounds import Question
from tasks.metrics import table
from tasks.resample import Draws, holm, resample
from tests.tasks.scored import TAXONOMY
from tests.tasks.verdicts import bound

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
def test_the_calls_said_to_decide_are_near_those_that_then_do(right: float, limit: float) -> None:
    question = Question("accuracy_share", "at_least", limit, "", True)
    only = {"accuracy_share": table(TAXONOMY)["accuracy_share"]}

    def draws(calls: int) -> list[Draws]:
        return [resample([_world(2 * (calls // 2), right, 3)], only, 1000, 1).one("accuracy_share")]

    def decided(calls: int) -> str:
        return bounds.judge([question], draws(calls), 0.95)[0].decision

    assert decided(400) == "HOLD"
    calls = bounds.calls_to_decide([question], draws(400), 0, 0.95, 400)

    assert calls is not None
    assert decided(int(0.7 * calls)) == "HOLD"
    assert decided(int(1.3 * calls)) != "HOLD"


def test_smoothing_shrinks_faster_than_sampling() -> None:
    rng = np.random.default_rng(1)
    sampling, smoothing = rng.normal(0, 0.03, 4000), rng.normal(0, 0.04, 4000)
    here = Draws(0.1, 0.1 + sampling + smoothing, smoothing=smoothing)

    four_times = here.on(4).draws

    assert here.draws.std() == pytest.approx(0.05, rel=0.05)
    assert four_times.std() == pytest.approx((0.015**2 + 0.01**2) ** 0.5, rel=0.05)
    assert four_times.mean() == pytest.approx(0.1, abs=0.002)


def test_a_bound_that_waits_for_another_needs_the_calls_of_that_other() -> None:
    noise = np.random.default_rng(1).normal(0, 0.01, 2000)
    asked = [Question(m, "at_least", 0.0, "champion", True) for m in ("sure", "unsure")]
    drawn = [Draws(0.0215, 0.0215 + noise), Draws(0.012, 0.012 + noise)]

    first, last = (bounds.calls_to_decide(asked, drawn, i, 0.95, 1000) for i in (0, 1))

    assert [j.decision for j in bounds.judge(asked, drawn, 0.95)] == ["HOLD", "HOLD"]
    assert first is not None and 1000 < first <= 1200
    assert last is not None and 2500 < last < 2900


def test_a_value_on_the_bound_has_no_number_of_calls() -> None:
    question = Question("m", "at_least", 0.8, "", True)

    assert bounds.calls_to_decide([question], [Draws(0.8, np.linspace(0.7, 0.9, 100))], 0, 0.95, 100) is None


def test_a_rounded_number_of_calls_has_two_digits() -> None:
    assert enough.search(lambda times: times >= 12.25, 500) == 6200


def test_the_calls_said_are_more_than_there_are() -> None:
    assert enough.search(lambda times: times > 1, 7) == 8


def _held(value: float, calls: int | None) -> BoundResult:
    return bound(decision="HOLD", value=value, calls_to_decide=calls)


@pytest.mark.parametrize(
    ("held", "calls"),
    [
        ([_held(0.8, 300), _held(0.8, 900)], 900),
        ([_held(0.8, 900), _held(0.7, 400), _held(0.7, 600)], 400),
        ([_held(0.8, 300), _held(0.8, None)], None),
        ([_held(0.75, None), _held(0.7, 400)], 400),
    ],
)
def test_a_verdict_is_decided_by_the_last_to_hold_or_the_first_to_miss(
    held: list[BoundResult], calls: int | None
) -> None:
    assert enough.of_verdict([bound(), *held]) == calls


def test_the_calls_that_would_decide_are_said_in_all_and_beside_those_there_are() -> None:
    en, zh = enough.said("gate_undecided", 2600, 2000)

    assert "about 2,600 gold calls in all (there are 2,000)" in en
    assert "2,600 通" in zh
    assert "2,000 通" in zh
