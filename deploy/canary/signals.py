"""The signals a canary is judged by without labels: which outcomes each counts, and which bets are laid on them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations

import numpy as np

from configs.rollout import CanarySettings, Tolerance
from deploy.canary.bets import Array, Bets
from deploy.canary.window import Histogram, Side, Window

QUANTILES = {"p50": 0.5, "p95": 0.95}
OFTEN = 0.9  # of the blocks a candidate is slower in that is slower for good; half of them are luck


@dataclass(frozen=True)
class Signal:
    """alpha_share: of the false alarms. `count`: outcomes of (champion, candidate) in a window; None: not measured."""

    name: str
    alpha_share: float
    count: Callable[[Window, CanarySettings, tuple[str, ...]], tuple[Array, Array] | None]
    bets: Callable[[CanarySettings, tuple[str, ...], Window], Bets]


def _array(*values: float) -> Array:
    return np.array(values, dtype=np.float64)


def _split(part: int, whole: int) -> Array:
    return _array(whole - part, part)


def _each(window: Window, of: Callable[[Side], Array]) -> tuple[Array, Array] | None:
    """Of a window in which both sides have something."""
    found = of(window.champion), of(window.candidate)
    return found if found[0].sum() and found[1].sum() else None


def _thinned(window: Window, of: Callable[[Side], Array]) -> tuple[Array, Array] | None:
    """Calls that went to one side together are one observation: each counts 1/`together`."""
    found = _each(window, of)
    return None if found is None else (found[0] / window.together, found[1] / window.together)


def _errors(window: Window, settings: CanarySettings, categories: tuple[str, ...]) -> tuple[Array, Array] | None:
    return _each(window, lambda s: _array(s.requests - s.refusals - s.errors, s.refusals, s.errors))


def _latency(window: Window, settings: CanarySettings, categories: tuple[str, ...]) -> tuple[Array, Array] | None:
    """One observation a block: requests of one moment share its luck. Outcomes: neither, p50, p95, both slower."""
    first, second = window.champion.latency_s, window.candidate.latency_s
    if not sum(first.counts) or not sum(second.counts):
        return None
    slower = [second.quantile(q) > settings.latency_ratio * first.quantile(q) for q in QUANTILES.values()]
    return np.zeros(4), np.eye(4)[slower[0] + 2 * slower[1]]


def _categories(window: Window, settings: CanarySettings, categories: tuple[str, ...]) -> tuple[Array, Array] | None:
    return _thinned(window, lambda side: _array(*(side.categories.get(name, 0) for name in categories)))


def _confidence(window: Window, settings: CanarySettings, categories: tuple[str, ...]) -> tuple[Array, Array] | None:
    return _thinned(window, lambda side: _array(*side.confidence.counts))


def _mass(window: Window, settings: CanarySettings, categories: tuple[str, ...]) -> tuple[Array, Array] | None:
    return _thinned(window, lambda side: _array(*side.label_mass.counts))


def _reviews(window: Window, settings: CanarySettings, categories: tuple[str, ...]) -> tuple[Array, Array] | None:
    return _thinned(window, lambda side: _split(side.reviews, side.calls))


def _mirrored(window: Window, settings: CanarySettings, categories: tuple[str, ...]) -> tuple[Array, Array] | None:
    return (np.zeros(2), _split(window.disagreed, window.mirrored)) if window.mirrored else None


def _bets(names: tuple[str, ...], scores: Array, by: Tolerance, one_sample: bool = False) -> Bets:
    ones = np.ones(len(names))
    return Bets(names, scores, by.tolerated * ones, by.detected * ones, ones, one_sample)


def _rise(name: str, by: Tolerance, one_sample: bool = False) -> Bets:
    return _bets((name,), np.array([[0.0, 1.0]]), by, one_sample)


def _both_ways(name: str, scores: Array, by: Tolerance) -> Bets:
    return _bets((f"more {name}", f"less {name}"), np.array([scores, -scores]), by)


@lru_cache(maxsize=16)
def _moves(by: Tolerance, categories: tuple[str, ...]) -> Bets:
    """A category grows, shrinks, or gets the calls of another one: that moves two shares, so it is tolerated and detected twice."""
    one, size = np.eye(len(categories)), len(categories)
    pairs = list(permutations(range(size), 2))
    names = [f"{way} {name}" for way in ("more", "less") for name in categories]
    names += [f"{categories[a]} becomes {categories[b]}" for a, b in pairs]
    times = np.repeat([1.0, 2.0], [2 * size, len(pairs)])
    scores = np.vstack([one, -one, *(one[b] - one[a] for a, b in pairs)])
    prior = np.repeat([0.25 / (2 * size), 0.75 / max(len(pairs), 1)], [2 * size, len(pairs)])
    return Bets(tuple(names), scores, by.tolerated * times, by.detected * times, prior)


def _failures(by: Tolerance) -> Bets:
    """A candidate that refuses what the champion answers fails its callers too, by other limits or keys, say."""
    scores = np.array([[0.0, 0, 1], [0, 1, 1]])
    return replace(_bets(("error share", "error or refusal share"), scores, by), prior=np.array([0.75, 0.25]))


def _slower(settings: CanarySettings, categories: tuple[str, ...], seen: Window) -> Bets:
    scores = np.array([[0.0, 1, 0, 1], [0, 0, 1, 1]])
    return _bets(tuple(QUANTILES), scores, Tolerance(tolerated=0.5, detected=OFTEN), one_sample=True)


def _middles(histogram: Histogram) -> Array:
    return _array(*histogram.middles)


# Category mix has the most bets and the least to see in each call, so it has most of the false alarms.
SIGNALS = (
    Signal("errors", 0.1, _errors, lambda s, c, w: _failures(s.errors)),
    Signal("latency", 0.05, _latency, _slower),
    Signal("category_mix", 0.5, _categories, lambda s, c, w: _moves(s.category_mix, c)),
    Signal(
        "confidence",
        0.1,
        _confidence,
        lambda s, c, w: _both_ways("confidence", _middles(w.champion.confidence), s.confidence),
    ),
    Signal("abstention", 0.1, _reviews, lambda s, c, w: _both_ways("review", _array(0, 1), s.abstention)),
    Signal(
        "label_mass",
        0.05,
        _mass,
        lambda s, c, w: _bets(("less label mass",), -_middles(w.champion.label_mass)[None], s.label_mass),
    ),
    Signal("disagreement", 0.1, _mirrored, lambda s, c, w: _rise("disagreement", s.disagreement, one_sample=True)),
)
