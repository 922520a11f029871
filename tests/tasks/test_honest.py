"""The gate's promises on models of known quality, in short; `./tingsu bench gate` has the thousands."""

import numpy as np

from tests.bench import _patience
from tests.bench.gate import SCENARIOS, Scenario, rate
from tests.tasks import world


def scenario(name: str) -> Scenario:
    (found,) = (s for s in SCENARIOS if s.name == name)
    return found


def test_equals_do_not_pass_as_improvements_where_comparing_numbers_would_let_half_of_them() -> None:
    found = rate(scenario("equal, improvement asked"), 40, 1)

    assert found.promoted <= 0.06
    assert found.naive > 0.3


def test_three_points_better_on_2000_calls_is_seen() -> None:
    assert rate(scenario("better by 3 points, improvement asked"), 25, 1).promoted >= 0.7


def test_the_worlds_rates_are_exact() -> None:
    rng = np.random.default_rng(3)
    best = world.champion(rng)
    better = world.rival(best, 0.03, rng)
    ours, _ = world.pair(200_000, (better, best), rng)
    confusion = np.bincount(ours.truth * world.C + ours.predicted, minlength=world.C**2).reshape(world.C, world.C)
    f1 = 2 * np.diag(confusion) / (confusion.sum(axis=0) + confusion.sum(axis=1))

    assert abs(better.macro_f1 - best.macro_f1 - 0.03) < 1e-6
    assert abs(f1.mean() - better.macro_f1) < 0.005


def test_the_calls_a_hold_asks_for_are_about_those_that_decide() -> None:
    held = _patience.measure(_patience.CASES[1], 15, 1).held

    assert len(held) >= 5
    assert np.mean([h.is_near for h in held]) >= 0.8
