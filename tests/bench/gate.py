"""How often the gate is wrong: models of known quality, judged by the real gate and by comparing two numbers.

Each row is many pairs (a champion and a candidate) on gold sets of 2,000 calls of tests/tasks/world.py.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from configs.settings import Bound, GateSettings
from data_contracts.artifacts import BoundResult
from tasks import gate
from tasks.answered import Answers
from tests.tasks import world
from tests.tasks.scored import SPEED

CALLS, MARGIN = 2000, 0.01
LOW_BAR = Bound(metric="macro_f1", at_least=0.3)  # a gate needs an absolute bound; this one never decides
IMPROVE = GateSettings(bounds=(LOW_BAR,), improve="macro_f1")
NO_WORSE = GateSettings(bounds=(LOW_BAR, Bound(metric="macro_f1", margin=MARGIN)))
MOST_MORE = 20_000  # calls; who is told more than that does not label them
HEAVY = (1.1, 60)  # tail and most calls of a customer: 12 calls each on average, some sixty


@dataclass(frozen=True)
class Scenario:
    """Pairs whose macro-F1 truly differs by `by`; PROMOTE may (or has to) be at most (at least) `limit`."""

    name: str
    by: float
    asks: GateSettings
    limit: float
    is_right: bool = False
    customers: tuple[float, int] = (2.2, 20)


SCENARIOS = (
    Scenario("equal, improvement asked", 0.0, IMPROVE, 0.025),
    Scenario("equal, improvement asked, heavy callers", 0.0, IMPROVE, 0.025, customers=HEAVY),
    Scenario("worse by exactly the margin", -MARGIN, NO_WORSE, 0.025),
    Scenario("worse by twice the margin", -2 * MARGIN, NO_WORSE, 0.025),
    Scenario("better by 3 points, improvement asked", 0.03, IMPROVE, 0.8, is_right=True),
    Scenario("better by 3 points, heavy callers", 0.03, IMPROVE, 0.0, is_right=True, customers=HEAVY),
)


@dataclass(frozen=True)
class Rate:
    """What came out of a scenario; shares of the pairs."""

    name: str
    pairs: int
    promoted: float
    held: float
    rejected: float
    naive: float
    limit: float
    holds: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; 1 if a promise is broken."""
    options = argparse.ArgumentParser(prog="tingsu bench gate", description=__doc__)
    options.add_argument("--pairs", type=int, default=1000, help="pairs of models a row")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--out", type=Path, help="write the numbers here as JSON")
    asked = options.parse_args(argv)
    rates = [rate(scenario, asked.pairs, asked.seed) for scenario in SCENARIOS]
    print(table(rates), flush=True)
    more = patience(max(asked.pairs // 5, 20), asked.seed)
    print(f"\n{told(more)}", flush=True)
    if asked.out:
        numbers = {"rates": [asdict(r) for r in rates], "hold": asdict(more)}
        asked.out.write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    return 0 if all(r.holds for r in rates) and more.near_if_true >= 0.9 else 1


def rate(scenario: Scenario, pairs: int, seed: int) -> Rate:
    """Judge that many pairs."""
    decisions, naive = [], 0
    for i in range(pairs):
        results = weigh(draw(scenario, np.random.default_rng([seed, SCENARIOS.index(scenario), i])), scenario.asks)
        decisions.append(gate.combine(results))
        naive += passes_by_eye(results)
    promoted = decisions.count("PROMOTE") / pairs
    return Rate(
        name=scenario.name,
        pairs=pairs,
        promoted=promoted,
        held=decisions.count("HOLD") / pairs,
        rejected=decisions.count("REJECT") / pairs,
        naive=naive / pairs,
        limit=scenario.limit,
        holds=promoted >= scenario.limit if scenario.is_right else promoted <= scenario.limit,
    )


@dataclass(frozen=True)
class Patience:
    """What "about N more gold calls would decide" is worth. `if_true`: the measured difference is the true one, as the
    sentence says; `really`: the true one is what it is. Ratios are (calls that decide) / N."""

    held: int
    median_if_true: float
    near_if_true: float
    decided_if_true: float
    median_really: float
    near_really: float
    decided_really: float


def patience(pairs: int, seed: int) -> Patience:
    """Candidates from just worse than the margin to 3 points better; those on HOLD get as many more calls as asked for."""
    found = []
    for i in range(pairs):
        rng = np.random.default_rng([seed, 99, i])
        best = world.champion(rng)
        truth = float(rng.uniform(-MARGIN, 0.03))
        rival = world.rival(best, truth, rng)
        first = world.pair(CALLS, (rival, best), rng)
        results = weigh(first, NO_WORSE)
        more = next((r.needed_rows for r in results if r.decision == "HOLD"), None)
        if gate.combine(results) != "HOLD" or more is None or more > MOST_MORE:
            continue
        as_measured = world.rival(best, results[1].value, rng)
        found.append(
            [
                *then(first, world.pair(more, (as_measured, best), rng), results[1].value),
                *then(first, world.pair(more, (rival, best), rng), truth),
            ]
        )
    ratio, decided, really, then_decided = np.array(found).T
    near = [float(np.mean(np.abs(x - 1) <= 0.3)) for x in (ratio, really)]
    return Patience(
        held=len(found),
        median_if_true=float(np.median(ratio)),
        near_if_true=near[0],
        decided_if_true=float(decided.mean()),
        median_really=float(np.median(really)),
        near_really=near[1],
        decided_really=float(then_decided.mean()),
    )


def then(first: tuple[Answers, Answers], more: tuple[Answers, Answers], truth: float) -> tuple[float, float]:
    """(calls that decide on average) / (calls added), and whether those added did decide.

    On average a difference of `truth` is decided once the interval's end is no farther from it than the bound is.
    """
    both = [world.joined(a, b) for a, b in zip(first, more, strict=True)]
    result = weigh((both[0], both[1]), NO_WORSE)[1]
    gap = truth - result.bound
    half = result.value - result.low if gap > 0 else result.high - result.value
    calls = len(both[0].ids) * (half / gap) ** 2
    return (calls - CALLS) / len(more[0].ids), float(result.decision != "HOLD")


def told(p: Patience) -> str:
    """Markdown."""
    head = f'| "about N more gold calls", {p.held} HOLDs | median of needed / N | within ±30 % | N more did decide |'
    rows = [
        ("the measured difference is the true one", p.median_if_true, p.near_if_true, p.decided_if_true),
        ("the true difference is what it is", p.median_really, p.near_really, p.decided_really),
    ]
    return "\n".join([head, "|---|---:|---:|---:|", *(f"| {w} | {m:.2f} | {n:.0%} | {d:.0%} |" for w, m, n, d in rows)])


def draw(scenario: Scenario, rng: np.random.Generator) -> tuple[Answers, Answers]:
    """Candidate and champion on one gold set."""
    best = world.champion(rng)
    return world.pair(CALLS, (world.rival(best, scenario.by, rng), best), rng, *scenario.customers)


def weigh(pair: tuple[Answers, Answers], asks: GateSettings) -> tuple[BoundResult, ...]:
    """The real gate on a candidate and a champion."""
    return gate.weigh({"served": pair[0], "champion": pair[1]}, asks, world.TAXONOMY, "qwen3-0.6b", SPEED)


def passes_by_eye(results: Sequence[BoundResult]) -> bool:
    """The naive rule: the point estimates pass."""
    return all(r.value > r.bound if r.kind == "at_least" else r.value < r.bound for r in results)


def table(rates: Sequence[Rate]) -> str:
    """Markdown."""
    lines = [
        "| truth | pairs | promise | PROMOTE | HOLD | REJECT | promoted by point estimate |",
        "|---|" + "---:|" * 6,
    ]
    for r in rates:
        sign = "≥" if r.limit > 0.5 else "≤"
        promise = f"{sign} {r.limit:.1%}" if r.limit else "–"
        shares = " | ".join(f"{x:.1%}" for x in (r.promoted, r.held, r.rejected, r.naive))
        lines.append(f"| {r.name} | {r.pairs} | {promise} | {shares} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
