"""The cluster bootstrap: how far a metric would move had other customers called.

Groups are drawn with replacement and kept whole. Several hops scored on the same calls are resampled together, so that
their difference is paired. Three corrections keep the ends honest where a plain percentile bootstrap is too sure:
draws are centred on the observed value (the calibration error grows by resampling alone); they are widened for few
groups (Student's t); and shares get at least Wilson's interval (3 right of 3 is no proof), differences at least the
spread of one more call in each category decided differently (no disagreement on 40 calls is no proof of equality).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_contracts.artifacts import Interval
from tasks.answered import Answers, Floats
from tasks.metrics import Metric, row_sums

CELLS = 4_000_000  # of the weight matrix (resamples x groups) held at once, 16 MB
# Of 1,200 pairs of equal quality on 2,000 calls, 2.6 % looked truly better without this factor and 1.8 % with it.
DIFFERENCE_WIDER = 1.08


@dataclass(frozen=True)
class Draws:
    """A metric, or a difference of two, on the calls (`value`) and on B resamples (`draws`, centred and widened).

    `smoothing` (B,): the part of the draws that is no sampling.
    """

    value: float
    draws: Floats
    trials: float | None = None
    is_share: bool = False
    smoothing: Floats | None = None
    groups: int = 0

    @property
    def is_defined(self) -> bool:
        return bool(np.isfinite(self.value)) and len(self.draws) > 1

    def interval(self, level: float) -> Interval:
        """The two-sided interval of this level."""
        tail = (1 - level) / 2
        low, high = (float(q) for q in np.quantile(self.draws, (tail, 1 - tail)))
        if self.trials:
            wilson = _wilson(self.value, self.trials, level)
            low, high = min(low, wilson[0]), max(high, wilson[1])
        if self.is_share:
            low, high = max(low, 0.0), min(high, 1.0)
        return Interval(value=self.value, low=min(low, self.value), high=max(high, self.value))

    def on(self, times: float) -> "Draws":
        """What the draws would be on `times` as many calls, were the value the same.

        Sampling shrinks as 1 / √times, smoothing as 1 / times, trials grow.
        """
        smoothing = np.zeros_like(self.draws) if self.smoothing is None else self.smoothing
        sampling = (self.draws - self.value - smoothing) / times**0.5
        if self.groups > 1:
            sampling *= _wider(self.groups * times) / _wider(self.groups)
        return replace(
            self,
            draws=self.value + sampling + smoothing / times,
            trials=self.trials * times if self.trials else self.trials,
        )

    def tail(self, bound: float, above: bool) -> float:
        """One-sided p-value of "truly on the good side of `bound`"; `above`: the good side is above it."""
        bad = (self.draws <= bound) if above else (self.draws >= bound)
        return (1 + float(bad.sum())) / (1 + len(self.draws))


@dataclass(frozen=True)
class Resamples:
    """Metrics of several hops on the same resamples. `values` hop → (metric,); `draws` hop → (B, metric)."""

    names: tuple[str, ...]
    table: Mapping[str, Metric]
    values: tuple[Floats, ...]
    draws: tuple[Floats, ...]
    trials: tuple[Floats, ...]
    units: Floats
    groups: int
    seed: int

    def one(self, name: str, hop: int = 0) -> Draws:
        """The metric of one hop."""
        i = self.names.index(name)
        value = float(self.values[hop][i])
        is_share = name.endswith(("_share", "_f1", "_recall"))
        trials = float(self.trials[hop][i])
        return Draws(
            value,
            self._spread(self.draws[hop][:, i], value),
            trials if trials > 0 else None,
            is_share,
            groups=self.groups,
        )

    def difference(self, name: str, of: int, minus: int) -> Draws:
        """The paired difference of two hops in a metric, smoothed by one more disagreement a category."""
        i = self.names.index(name)
        value = float(self.values[of][i] - self.values[minus][i])
        drawn = self._spread(self.draws[of][:, i] - self.draws[minus][:, i], value)
        noise = np.random.default_rng(self.seed).standard_normal(len(drawn))
        smoothing = DIFFERENCE_WIDER * float(self.units[i]) * (noise - noise.mean())
        return Draws(
            value,
            value + DIFFERENCE_WIDER * (drawn - value) + smoothing,
            smoothing=smoothing,
            groups=self.groups,
        )

    def _spread(self, draws: Floats, value: float) -> Floats:
        draws = draws[np.isfinite(draws)]
        if len(draws) < 2 or self.groups < 2:
            return np.empty(0)
        return np.asarray(value + (draws - draws.mean()) * _wider(self.groups))


def resample(hops: Sequence[Answers], table: Mapping[str, Metric], resamples: int, seed: int) -> Resamples:
    """Resample groups `resamples` times; every hop answers the same calls in the same order."""
    rows = [row_sums(a) for a in hops]
    totals = [_Noted({name: x.sum(axis=0, keepdims=True) for name, x in s.items()}) for s in rows]
    values = tuple(_evaluate(t, table)[0] for t in totals)
    sums = [{name: x for name, x in s.items() if name in t.read} for s, t in zip(rows, totals, strict=True)]
    index = np.unique(hops[0].groups, return_inverse=True)[1]
    groups = int(index.max()) + 1
    by_group = [{name: _group_sums(x, index, groups) for name, x in s.items()} for s in sums]
    rng = np.random.default_rng(seed)
    step = max(1, CELLS // groups)
    parts = [_draw(by_group, table, rng, groups, min(step, resamples - at)) for at in range(0, resamples, step)]
    return Resamples(
        names=tuple(table),
        table=table,
        values=values,
        draws=tuple(np.concatenate([part[h] for part in parts]) for h in range(len(hops))),
        trials=tuple(np.array([_number(m.trials, t) for m in table.values()]) for t in totals),
        units=np.array([_number(m.unit, totals[0]) for m in table.values()]),
        groups=groups,
        seed=seed,
    )


def holm(results: Sequence[tuple[Draws, float, bool]], confidence: float) -> list[tuple[float, bool]]:
    """(interval level, may pass) of each (difference, bound, good side is above it), tested together by Holm's method.

    The surest is judged at (1 - confidence) / m, the next at / (m - 1) …; after the first that fails none passes.
    """
    order = sorted(range(len(results)), key=lambda i: results[i][0].tail(*results[i][1:]))
    answer = [(confidence, True)] * len(results)
    left, alive = len(results), True
    for i in order:
        draws, bound, above = results[i]
        level = 1 - (1 - confidence) / left
        answer[i] = (level, alive)
        interval = draws.interval(level)
        if alive and (interval.low < bound if above else interval.high > bound):
            alive = False
            answer[i] = (level, False)
        left -= 1 if alive else 0
    return answer


class _Noted(dict[str, Floats]):
    """Sums that note which of them the metrics read: only those are resampled."""

    def __init__(self, sums: Mapping[str, Floats]) -> None:
        super().__init__(sums)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Floats:
        self.read.add(name)
        return super().__getitem__(name)


def _draw(
    by_group: Sequence[Mapping[str, Floats]], table: Mapping[str, Metric], rng: np.random.Generator, groups: int, b: int
) -> list[Floats]:
    picks = rng.integers(groups, size=(b, groups)) + np.arange(b)[:, None] * groups
    weights = np.bincount(picks.ravel(), minlength=b * groups).reshape(b, groups).astype(np.float32)
    return [_evaluate({name: weights @ x.astype(np.float32) for name, x in s.items()}, table) for s in by_group]


def _wider(groups: float) -> float:
    """What few groups widen an interval by."""
    from scipy import stats

    return float(stats.t.ppf(0.975, groups - 1) / stats.norm.ppf(0.975) * (groups / (groups - 1)) ** 0.5)


def _evaluate(sums: Mapping[str, NDArray[np.floating]], table: Mapping[str, Metric]) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([m.value(sums) for m in table.values()], axis=1)


def _number(f: object, totals: Mapping[str, Floats]) -> float:
    if not callable(f):
        return 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(f(totals)[0])
    return value if np.isfinite(value) else 0.0


def _group_sums(x: Floats, index: NDArray[np.intp], groups: int) -> Floats:
    order = np.argsort(index, kind="stable")
    starts = np.searchsorted(index[order], np.arange(groups))
    return np.asarray(np.add.reduceat(x[order], starts, axis=0))


def _wilson(share: float, trials: float, level: float) -> tuple[float, float]:
    from scipy import stats

    z2 = float(stats.norm.ppf((1 + level) / 2)) ** 2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = (z2 * share * (1 - share) / trials + z2 * z2 / (4 * trials * trials)) ** 0.5 / (1 + z2 / trials)
    return centre - half, centre + half
