"""How often the gate is wrong: models of known quality, judged by the real gate and by comparing two numbers.

Each row is many pairs (a champion and a candidate) on gold sets of 2,000 calls of tests/tasks/world.py. The second table: what
a HOLD's "N gold calls in all would decide" is worth, and what is promised of it (tests/bench/_patience.py). Exit code 1 if a promise is
broken.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from configs.promotion import GateSettings
from data_contracts.artifacts import BoundResult
from tasks import gate
from tasks.answered import Answers
from tests.bench import _patience as patience
from tests.bench._patience import IMPROVE, MARGIN, NO_WORSE
from tests.tasks import world
from tests.tasks.scored import SPEED

CALLS = 2000
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
    held = [patience.measure(case, max(asked.pairs // 5, 10), asked.seed) for case in patience.CASES]
    print(f"\n{patience.told(held)}", flush=True)
    if asked.out:
        numbers = {"rates": [asdict(r) for r in rates], "hold": [asdict(h) for h in held]}
        asked.out.write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    return 0 if all(r.holds for r in rates) and patience.holds(held) else 1


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
