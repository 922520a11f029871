"""How often the judge of canaries is wrong: healthy and faulty candidates under traffic whose truth is known.

Each row is many whole canaries with the shipped settings, or one step of a single weight. Healthy ones may be undone at most `alpha`
of the time, over all signals, steps and looks; faults must be found while the candidate has answered 2,000 requests at most.
Exit code 1 if a promise is broken.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from configs.rollout import CanarySettings, CanaryStep
from tests.deploy.canary_world import SETTINGS, Service, Traffic, canary, moved

HEALTHY = Service()
STILL, WAVES = Traffic(requests=100), Traffic(requests=100, drifts=True)
HALF = SETTINGS.model_copy(update={"steps": (CanaryStep(weight=0.5, calls=2000),)})
LIMIT = 2000
POWER = 0.9
SLOW = replace(HEALTHY, latency=(HEALTHY.latency[0] + math.log(2), HEALTHY.latency[1]))
BIGGER = replace(HEALTHY, latency=(HEALTHY.latency[0] + math.log(1.25), HEALTHY.latency[1]))
FAILING = replace(HEALTHY, errors=0.02)


@dataclass(frozen=True)
class Scenario:
    """A truth. `signal`: the one that must be in breach; none: the candidate is healthy. `is_promised`: its power is at least 0.9."""

    name: str
    candidate: Service
    traffic: Traffic = STILL
    signal: str | None = None
    settings: CanarySettings = SETTINGS
    is_promised: bool = True


def _shift(source: str, target: str, points: float = 0.05) -> Service:
    return replace(HEALTHY, mix=moved(source, target, points))


SCENARIOS = (
    Scenario("healthy", HEALTHY),
    Scenario("healthy, traffic in waves", HEALTHY, WAVES),
    Scenario("healthy, 32 calls a request", HEALTHY, replace(WAVES, calls_together=32)),
    Scenario("healthy, half of the traffic at once", HEALTHY, WAVES, settings=HALF),
    Scenario("1 point of category shift", _shift("billing_dispute", "network_quality", 0.01), WAVES, is_promised=False),
    Scenario(
        "2 points of category shift", _shift("billing_dispute", "network_quality", 0.02), WAVES, is_promised=False
    ),
    Scenario("5 points, 12 % → 10 % category", _shift("network_quality", "broadband_fault"), STILL, "category_mix"),
    Scenario("5 points, 16 % → 12 % category", _shift("billing_dispute", "network_quality"), STILL, "category_mix"),
    Scenario("5 points, 25 % → 16 % category", _shift("not_complaint", "billing_dispute"), STILL, "category_mix"),
    Scenario(
        "5 points, 6 % → 8 % category, waves", _shift("refund_delay", "unauthorised_charge"), WAVES, "category_mix"
    ),
    Scenario("5 points, 16 % → 12 %, waves", _shift("billing_dispute", "network_quality"), WAVES, "category_mix"),
    Scenario("twice the latency", SLOW, STILL, "latency"),
    Scenario("twice the latency, waves", SLOW, WAVES, "latency"),
    Scenario("2 % errors", FAILING, STILL, "errors"),
    Scenario("2 % errors, up to 10 % in waves", FAILING, WAVES, "errors"),
    Scenario(
        "5 points, 16 % → 12 %, 50 % at once", _shift("billing_dispute", "network_quality"), STILL, "category_mix", HALF
    ),
    Scenario(
        "5 points, 25 % → 16 %, 50 % at once",
        _shift("not_complaint", "billing_dispute"),
        STILL,
        "category_mix",
        HALF,
        False,
    ),
    Scenario("twice the latency, 50 % at once", SLOW, STILL, "latency", HALF),
    Scenario("2 % errors, 50 % at once", FAILING, STILL, "errors", HALF),
    Scenario("1.25 times the latency", BIGGER, WAVES, is_promised=False),
)


@dataclass(frozen=True)
class Rate:
    """What came of a scenario. `breached`: share of canaries (of a fault: in time and by name); `p50`, `p90`: candidate's requests then."""

    name: str
    canaries: int
    breached: float
    p50: float
    p90: float
    promise: str
    holds: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a promise is broken."""
    options = argparse.ArgumentParser(prog="tingsu bench canary", description=__doc__)
    options.add_argument(
        "--canaries", type=int, default=1000, help="healthy canaries a row; a fifth of it with a fault"
    )
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--out", type=Path, help="write the numbers here as JSON")
    asked = options.parse_args(argv)
    print("| truth | canaries | promise | breach | its requests by then: p50 | p90 |\n|---|" + "---:|" * 5, flush=True)
    rates = []
    for scenario in SCENARIOS:
        is_counted = scenario.signal is None and scenario.is_promised
        rates.append(rate(scenario, asked.canaries if is_counted else max(asked.canaries // 5, 10), asked.seed))
        print(row(rates[-1]), flush=True)
    if asked.out:
        asked.out.write_text(json.dumps([asdict(one) for one in rates], indent=1), encoding="utf-8")
    return 0 if all(one.holds for one in rates) else 1


def rate(scenario: Scenario, canaries: int, seed: int) -> Rate:
    """Run that many canaries."""
    found = []
    for i in range(canaries):
        rng = np.random.default_rng([seed, SCENARIOS.index(scenario), i])
        end, requests = canary((HEALTHY, scenario.candidate), scenario.traffic, rng, scenario.settings)
        is_fault = scenario.signal is not None
        if end.decision == "breach" and (not is_fault or (scenario.signal in end.signals and requests <= LIMIT)):
            found.append(requests)
    share, alpha = len(found) / canaries, scenario.settings.alpha
    limit = f"≤ {alpha:.0%}" if scenario.signal is None else f"≥ {POWER:.0%}"
    holds = share <= alpha if scenario.signal is None else share >= POWER
    p50, p90 = np.percentile(found or [math.nan], [50, 90])
    promised = limit if scenario.is_promised else "–"
    return Rate(scenario.name, canaries, share, p50, p90, promised, holds or not scenario.is_promised)


def row(one: Rate) -> str:
    """Markdown."""
    calls = " | ".join("–" if math.isnan(x) else f"{x:.0f}" for x in (one.p50, one.p90))
    return f"| {one.name} | {one.canaries} | {one.promise} | {one.breached:.1%} | {calls} |"


if __name__ == "__main__":
    sys.exit(main())
