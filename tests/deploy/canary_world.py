"""Two services under random traffic, as their counters would show it: for canaries whose truth is known."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from configs.rollout import CanarySettings, CanaryStep
from data_contracts import taxonomy
from deploy.canary import judge
from deploy.canary.judge import Judgement
from deploy.canary.window import Histogram, Side, Window
from deploy.service.metrics import SECONDS, SHARES

CATEGORIES = tuple(taxonomy.load().keys)
SETTINGS = CanarySettings(
    steps=(
        CanaryStep(weight=0.05, calls=500, seconds=300),
        CanaryStep(weight=0.25, calls=1000, seconds=600),
        CanaryStep(weight=0.5, calls=500, seconds=300),
    )
)
# Shares of the categories in the order of the taxonomy: a few are common, most are rare, a quarter is no complaint.
MIX = np.array([0.16, 0.08, 0.06, 0.12, 0.10, 0.05, 0.06, 0.05, 0.04, 0.02, 0.01, 0.25])
TICK_S = 15.0


@dataclass(frozen=True)
class Service:
    """How a service answers. `latency`: (mean of the logarithm of seconds, its spread)."""

    mix: NDArray[np.float64] = field(default_factory=lambda: MIX)
    latency: tuple[float, float] = (-2.5, 0.5)
    errors: float = 0.001
    refusals: float = 0.0
    sure: tuple[float, float] = (9.0, 1.5)
    mass: tuple[float, float] = (400.0, 1.0)
    review_below: float = 0.6


@dataclass(frozen=True)
class Traffic:
    """`requests` come in a tick on average, in waves if `drifts`: load, mix, latency and errors of both sides change with the hour."""

    requests: float = 200.0
    drifts: bool = False
    calls_together: int = 1
    mirrored_share: float = 0.1
    disagree: float = 0.04


def moved(source: str, target: str, points: float) -> NDArray[np.float64]:
    """MIX with so many points of calls moved from one category to another."""
    mix = MIX.copy()
    mix[CATEGORIES.index(source)] -= points
    mix[CATEGORIES.index(target)] += points
    return mix


def windows(
    pair: tuple[Service, Service], traffic: Traffic, weight: float, rng: np.random.Generator
) -> Iterator[Window]:
    """One tick after another; each call goes to a side by chance."""
    phase, tick = rng.uniform(0, 2 * np.pi), 0
    while True:
        wave = np.sin(phase + tick / 12) if traffic.drifts else 0.0
        requests = rng.poisson(traffic.requests * (1 + 0.6 * wave))
        sent = rng.binomial(requests, weight)
        champion, candidate = (
            side(one, n, wave, traffic.calls_together, rng)
            for one, n in zip(pair, (requests - sent, sent), strict=True)
        )
        mirrored = rng.binomial(requests - sent, traffic.mirrored_share)
        yield Window(
            champion=champion,
            candidate=candidate,
            seconds=TICK_S,
            mirrored=mirrored,
            disagreed=rng.binomial(mirrored, traffic.disagree),
            together=traffic.calls_together,
        )
        tick += 1


def side(service: Service, requests: int, wave: float, together: int, rng: np.random.Generator) -> Side:
    """What one service counts of so many requests, the hour being what it is; calls of one request are all alike."""
    errors = rng.binomial(requests, min(service.errors * (1 + 4 * max(wave, 0)), 1))
    refusals = rng.binomial(requests - errors, service.refusals)
    answered = requests - errors - refusals
    mix = service.mix * np.exp(0.5 * wave * np.linspace(-1, 1, len(MIX)))
    confidence = rng.beta(service.sure[0] * np.exp(0.3 * wave), service.sure[1], answered)
    calls = rng.multinomial(answered, mix / mix.sum()) * together
    return Side(
        requests=requests,
        errors=int(errors),
        refusals=int(refusals),
        latency_s=histogram(rng.lognormal(service.latency[0] + 0.4 * wave, service.latency[1], requests), SECONDS),
        categories=dict(zip(CATEGORIES, calls.tolist(), strict=True)),
        reviews=int((confidence < service.review_below).sum()) * together,
        confidence=histogram(confidence, SHARES, together),
        label_mass=histogram(rng.beta(*service.mass, answered), SHARES, together),
    )


def histogram(values: NDArray[np.float64], le: tuple[float, ...], times: int = 1) -> Histogram:
    counts = np.bincount(np.searchsorted(le, values), minlength=len(le) + 1) * times
    return Histogram(le=le, counts=tuple(counts.tolist()))


def canary(
    pair: tuple[Service, Service], traffic: Traffic, rng: np.random.Generator, settings: CanarySettings = SETTINGS
) -> tuple[Judgement, int]:
    """A whole canary, all steps; the last judgement and how many requests the candidate had answered by then."""
    state = judge.begin(settings, CATEGORIES)
    for step in settings.steps:
        for window in windows(pair, traffic, step.weight, rng):
            state = judge.feed(state, window)
            if state.pending.seconds:
                continue  # nothing new was judged
            found = judge.decide(state, "2026-11-22T00:00:00+00:00")
            if found.decision != "continue":
                break
        if found.decision == "breach":
            break
        state = judge.advance(state)
    return found, state.judged.candidate.requests
