"""What "about N gold calls in all would decide" is worth: candidates on HOLD get N calls, and more is known then.

The sentence says "if the measured value is the true one", so the calls to come are of models moved to exactly the measured value.
What then decides: the calls at which an interval as wide as the one on N calls ends at the bound (its width is carried from N to
there by 1 / √calls). The promise: N is within ±30 % of it, for at least 90 % of the HOLDs.

Shown and not promised: whether N calls did decide: with the measured value true, about every second time, for luck moves the value
either way; with the value truly what it is, less often, for what was measured is known no better than its distance to the bound.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.promotion import Bound, GateSettings
from data_contracts.artifacts import BoundResult
from tasks import gate
from tasks.answered import Answers
from tests.tasks import world
from tests.tasks.scored import SPEED

NEAR, PROMISED = 0.3, 0.9
MARGIN = 0.01
LOW_BAR = Bound(metric="macro_f1", at_least=0.3)  # a gate needs an absolute bound; this one never decides
NO_WORSE = GateSettings(bounds=(LOW_BAR, Bound(metric="macro_f1", margin=MARGIN)))
IMPROVE = GateSettings(bounds=(LOW_BAR,), improve="macro_f1")
MOST_TIMES = 10  # as many calls more as there are; who is told more than that does not label them


@dataclass(frozen=True)
class Case:
    """Gold sets of `calls`; candidates up to `below` worse and `above` better than the champion, or than `at_least`."""

    name: str
    calls: int
    asks: GateSettings | None
    below: float
    above: float

    def settings(self, candidate: world.Model, by: float) -> GateSettings:
        """What is asked; of a candidate without a champion, that it reaches what it truly is less `by`."""
        at_least = round(candidate.macro_f1 - by, 4)
        return self.asks or GateSettings(bounds=(Bound(metric="macro_f1", at_least=at_least),))


CASES = tuple(
    Case(f"{name}, {calls:,} calls", calls, asks, below * wide, above * wide)
    for calls, wide in ((2000, 1.0), (500, 2.0))
    for name, asks, below, above in (
        ("no worse than 0.01", NO_WORSE, MARGIN, 0.03),
        ("an improvement", IMPROVE, 0.02, 0.04),
        ("at least", None, 0.03, 0.04),
    )
)


@dataclass(frozen=True)
class Held:
    """One HOLD. `calls` there were, `said` N; `deciding`: the calls that then decide."""

    calls: int
    said: int
    deciding: float
    decided: bool
    really_decided: bool

    @property
    def is_near(self) -> bool:
        return abs(self.deciding / self.said - 1) <= NEAR


@dataclass(frozen=True)
class Patience:
    """The HOLDs of a case."""

    name: str
    held: tuple[Held, ...]


def measure(case: Case, pairs: int, seed: int) -> Patience:
    """Judge that many pairs; those on HOLD get as many calls as asked for."""
    rngs = [np.random.default_rng([seed, 99, CASES.index(case), i]) for i in range(pairs)]
    return Patience(case.name, tuple(h for rng in rngs if (h := _hold(case, rng)) is not None))


def _hold(case: Case, rng: np.random.Generator) -> Held | None:
    best = world.champion(rng)
    by = float(rng.uniform(-case.below, case.above))
    rival = world.rival(best, by, rng)
    settings = case.settings(rival, by)
    first = world.pair(case.calls, (rival, best), rng)

    def weighed(pair: tuple[Answers, Answers]) -> BoundResult:
        hops = {"served": pair[0], "champion": pair[1]} if case.asks else {"served": pair[0]}
        return gate.weigh(hops, settings, world.TAXONOMY, "qwen3-0.6b", SPEED)[-1]

    result = weighed(first)
    said = result.calls_to_decide
    if result.decision != "HOLD" or said is None or said > (1 + MOST_TIMES) * case.calls:
        return None
    as_measured = world.moved(rival, result.value + (best.macro_f1 if result.relative else 0.0))
    then, really = (
        weighed(_joined(first, world.pair(said - case.calls, (m, best), rng))) for m in (as_measured, rival)
    )
    gap = result.value - result.bound
    half = then.value - then.low if gap > 0 else then.high - then.value
    deciding = said * (half / gap) ** 2
    return Held(case.calls, said, deciding, then.decision != "HOLD", really.decision != "HOLD")


def _joined(first: tuple[Answers, Answers], more: tuple[Answers, Answers]) -> tuple[Answers, Answers]:
    return world.joined(first[0], more[0]), world.joined(first[1], more[1])


def holds(found: Sequence[Patience]) -> bool:
    """Whether the promise holds over all cases together."""
    return _share([h for p in found for h in p.held], lambda h: h.is_near) >= PROMISED


def told(found: Sequence[Patience]) -> str:
    """Markdown."""
    everything = Patience("all", tuple(h for p in found for h in p.held))
    lines = [
        "| HOLD: N gold calls in all would decide | HOLDs | N within ±30 % | median deciding / N "
        "| N calls did decide | the same, value truly what it is |",
        "|---|" + "---:|" * 5,
    ]
    return "\n".join(lines + [_row(p) for p in (*found, everything)])


def _row(p: Patience) -> str:
    shares = [h.deciding / h.said for h in p.held]
    cells = [
        f"{len(p.held)}",
        f"{_share(p.held, lambda h: h.is_near):.0%}",
        f"{np.median(shares) if shares else np.nan:.2f}",
        f"{_share(p.held, lambda h: h.decided):.0%}",
        f"{_share(p.held, lambda h: h.really_decided):.0%}",
    ]
    return f"| {p.name} | " + " | ".join(cells) + " |"


def _share(held: Sequence[Held], true: Callable[[Held], bool]) -> float:
    found: NDArray[np.bool_] = np.array([true(h) for h in held])
    return float(found.mean()) if len(found) else float("nan")
