"""A canary without labels: faults of every kind are found, a healthy candidate is left alone, whatever the traffic does."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from configs import sources
from configs.rollout import CanarySettings, CanaryStep, Tolerance
from data_contracts.errors import ConfigurationError
from deploy.canary import bets, judge
from deploy.canary.bets import Bets
from deploy.canary.judge import State
from deploy.canary.window import Histogram, Side, Window
from tests.deploy import canary_world as world
from tests.deploy.canary_world import CATEGORIES, MIX, SETTINGS, Service, Traffic, canary, moved

HEALTHY = Service()
SLOW = replace(HEALTHY, latency=(HEALTHY.latency[0] + math.log(2), HEALTHY.latency[1]))
FAULTS = {
    "errors": replace(HEALTHY, errors=0.02),
    "latency": SLOW,
    "category_mix": replace(HEALTHY, mix=moved("billing_dispute", "network_quality", 0.05)),
    "confidence": replace(HEALTHY, sure=(7.0, 2.2), review_below=0.52),
    "abstention": replace(HEALTHY, review_below=0.7),
    "label_mass": replace(HEALTHY, mass=(30.0, 1.5)),
}
STILL = Traffic(requests=100)
AT = "2026-11-22T00:00:00+00:00"


def seeds(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng([7, i]) for i in range(count)]


@pytest.mark.parametrize("signal", FAULTS)
def test_a_fault_is_found_within_2000_calls_of_the_candidate_and_called_by_its_name(signal: str) -> None:
    ends = [canary((HEALTHY, FAULTS[signal]), STILL, rng) for rng in seeds(20)]

    found = [end for end, calls in ends if end.decision == "breach" and calls <= 2000 and signal in end.signals]
    assert len(found) >= 18


def test_a_candidate_that_refuses_what_the_champion_answers_is_found() -> None:
    """With 4xx, as by other limits or keys: what it does answer is as ever."""
    callers = replace(HEALTHY, refusals=0.02)  # callers' own mistakes, on both sides
    found = [
        canary((callers, replace(callers, refusals=share)), STILL, rng) for share in (0.06, 1.0) for rng in seeds(5)
    ]
    left_alone = [canary((callers, callers), STILL, rng)[0].decision for rng in seeds(5)]

    assert {(end.signals, calls <= 2000) for end, calls in found} == {(("errors",), True)}
    assert {one.about for end, _ in found for one in end.evidence if one.signal == "errors"} == {
        "error or refusal share"
    }
    assert left_alone == ["pass"] * 5


def test_disagreement_on_mirrored_calls_is_found() -> None:
    end, _ = canary((HEALTHY, HEALTHY), replace(STILL, disagree=0.2), np.random.default_rng(3))

    assert end.signals == ("disagreement",)
    assert next(e for e in end.evidence if e.signal == "disagreement").candidate == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("traffic", [STILL, replace(STILL, drifts=True), replace(STILL, calls_together=32)])
def test_a_healthy_candidate_passes_every_step(traffic: Traffic) -> None:
    ends = [canary((HEALTHY, HEALTHY), traffic, rng)[0] for rng in seeds(20)]

    assert [end.decision for end in ends].count("pass") >= 19
    assert {(end.step, end.steps) for end in ends if end.decision == "pass"} == {(3, 3)}


def test_calls_of_one_request_taken_for_independent_ones_would_be_false_alarms() -> None:
    traffic, state, decisions = Traffic(calls_together=32), judge.begin(SETTINGS, CATEGORIES), set()
    ticks = world.windows((HEALTHY, HEALTHY), traffic, 0.25, np.random.default_rng(1))
    for window, _ in zip(ticks, range(15), strict=False):
        state = judge.feed(state, window.model_copy(update={"together": 1.0}))
        decisions.add(judge.decide(state, AT).decision)

    assert "breach" in decisions


def test_traffic_that_changes_while_the_weight_changes_is_no_fault_though_the_totals_differ_by_five_points() -> None:
    night, day = MIX, moved("not_complaint", "billing_dispute", 0.15)
    state, rng = judge.begin(SETTINGS, CATEGORIES), np.random.default_rng(5)
    for mix, weight in ((night, 0.05), (day, 0.5)):
        service = replace(HEALTHY, mix=mix)
        for window, _ in zip(world.windows((service, service), Traffic(), weight, rng), range(25), strict=False):
            state = judge.feed(state, window)

    found = judge.decide(state, AT)
    shares = [side.categories["billing_dispute"] / side.calls for side in (found.champion, found.candidate)]
    assert shares[1] - shares[0] > 0.05
    assert found.decision != "breach"


def test_a_fault_that_comes_with_the_last_step_is_found_after_two_healthy_ones() -> None:
    state, rng = judge.begin(SETTINGS, CATEGORIES), np.random.default_rng(6)
    for step in SETTINGS.steps:
        candidate = SLOW if step.weight == 0.5 else HEALTHY
        for window, _ in zip(world.windows((HEALTHY, candidate), Traffic(), step.weight, rng), range(40), strict=False):
            state = judge.feed(state, window)
        found = judge.decide(state, AT)
        state = judge.advance(state)

    assert found.signals == ("latency",)


def test_a_judge_that_is_written_down_and_read_back_at_every_tick_says_the_same() -> None:
    kept = judge.begin(SETTINGS, CATEGORIES)
    state = kept
    pair = (HEALTHY, FAULTS["category_mix"])
    for window, _ in zip(world.windows(pair, STILL, 0.25, np.random.default_rng(2)), range(25), strict=False):
        state = judge.feed(state, window)
        kept = judge.feed(State.model_validate_json(kept.model_dump_json()), window)

    assert kept == state
    assert judge.decide(kept, AT) == judge.decide(state, AT)


def test_a_step_is_passed_only_after_its_calls_and_its_seconds() -> None:
    one = Side(requests=60, categories={CATEGORIES[0]: 60})
    settings = CanarySettings(steps=(CanaryStep(weight=0.5, calls=100, seconds=60),))
    state = judge.begin(settings, CATEGORIES)
    decisions = []
    for _ in range(3):
        state = judge.feed(state, Window(champion=one, candidate=one, seconds=25))
        decisions.append(judge.decide(state, AT).decision)

    assert decisions == ["continue", "continue", "pass"]


def test_a_side_without_requests_is_never_judged_and_never_passed() -> None:
    busy = Side(requests=5000, categories={CATEGORIES[0]: 5000})
    state = judge.feed(judge.begin(SETTINGS, CATEGORIES), Window(champion=busy, seconds=10_000))

    assert judge.decide(state, AT).decision == "continue"
    assert len(judge.decide(state, AT).not_measured) == 7


@given(
    st.lists(st.floats(0.01, 1), min_size=3, max_size=3),
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.floats(0, 0.2),
    st.lists(st.integers(0, 50), min_size=3, max_size=3),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_no_bet_is_expected_to_win_against_a_candidate_within_its_tolerance(
    champion: list[float], step: list[float], tolerated: float, past: list[int], n: int, m: int
) -> None:
    """Every block there is of three outcomes, weighed by its probability: exactly what false alarms are promised by."""
    first = np.array(champion) / sum(champion)
    toward = np.abs(step) / max(np.abs(step).sum(), 1e-9) if any(step) else first
    far = np.abs(first - toward).sum() / 2
    second = first + (toward - first) * min(
        1.0, tolerated / far if far else 1.0
    )  # total variation: `tolerated` at most
    one = np.eye(3)
    scores = np.vstack([one, -one, one[1] - one[0], one[0] - one[2]])
    limits = tolerated * np.array([1, 1, 1, 1, 1, 1, 2, 2.0])
    laid = Bets(("bet",) * 8, scores, limits, limits + 0.3, np.ones(8))

    won = sum(
        np.prod(first[list(a)]) * np.prod(second[list(b)]) * np.exp(gains(laid, a, b, past))
        for a in product(range(3), repeat=n)
        for b in product(range(3), repeat=m)
    )
    assert (won <= 1 + 1e-9).all()


def gains(laid: Bets, champion: tuple[int, ...], candidate: tuple[int, ...], past: list[int]) -> NDArray[np.float64]:
    counts = [np.bincount(side, minlength=3).astype(float) for side in (champion, candidate)]
    return bets.gains(laid, counts[0], counts[1], np.array(past, dtype=float))


def test_histograms_of_other_buckets_do_not_add_up() -> None:
    with pytest.raises(ConfigurationError, match="same service"):
        Histogram(le=(1.0,), counts=(1, 2)) + Histogram(le=(2.0,), counts=(1, 2))


def test_sides_that_count_in_other_buckets_are_refused_in_words() -> None:
    sides = [
        Side(requests=30, confidence=Histogram(le=edges, counts=(30,) * len(edges) + (0,)))
        for edges in ((0.5,), (0.4, 0.8))
    ]
    state = judge.begin(SETTINGS, CATEGORIES)

    with pytest.raises(ConfigurationError, match="run the same service on both"):
        judge.feed(state, Window(champion=sides[0], candidate=sides[1], seconds=1))


def test_a_tolerance_at_or_above_what_is_to_be_found_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"detected 0\.05 is not above tolerated 0\.05"):
        Tolerance(tolerated=0.05, detected=0.05)


def test_the_canary_that_is_proved_here_is_the_one_that_is_shipped() -> None:
    assert sources.load("qwen3-0.6b", env={"TINGSU_HOME": "/nowhere"}).rollout.canary == SETTINGS
