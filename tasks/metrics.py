"""Every quality metric, in one table: what it is, which way is better, and how it follows from sums over calls.

A metric is a function of sums over calls, so that a bootstrap over groups needs the sums of each group only, once.
N calls, G groups, C categories, B resamples, F summed columns.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_contracts.taxonomy import Taxonomy
from tasks.answered import Answers, Floats

Sums = Mapping[str, NDArray[np.floating]]  # name → (B, F)
BINS = 10  # of equal width in confidence, for the calibration error
LEVELS = 100  # coverage is measured in steps of one percent of the calls
COVERAGE_ACCURACY = 0.95
TINY = 1e-12


@dataclass(frozen=True)
class Metric:
    """`value`: sums → (B,), NaN where undefined. `trials`: for a share of calls, how many calls it is a share of.

    `unit`: about how much one more call decided differently in each category moves it; see tasks/resample.py.
    """

    value: Callable[[Sums], Floats]
    higher_is_better: bool = True
    trials: Callable[[Sums], Floats] | None = None
    unit: Callable[[Sums], Floats] | None = None


def row_sums(a: Answers) -> dict[str, Floats]:
    """What each call adds to the sums: name → (N, F)."""
    n, c = a.probabilities.shape
    right = (a.predicted == a.truth).astype(np.float64)
    p_true = a.probabilities[np.arange(n), a.truth]
    bins = np.minimum((a.confidence * BINS).astype(np.intp), BINS - 1)
    level = _levels(a.confidence)
    return {
        "confusion": _one_hot(a.truth * c + a.predicted, c * c, np.ones(n)),
        "calls": np.ones((n, 1)),
        "right": right[:, None],
        "auto": a.is_auto[:, None].astype(np.float64),
        "review": (~a.is_auto)[:, None].astype(np.float64),
        "auto_right": (a.is_auto * right)[:, None],
        "gap": _one_hot(bins, BINS, a.confidence - right),
        "brier": ((a.probabilities**2).sum(axis=1) - 2 * p_true + 1)[:, None],
        "nll": -np.log(np.maximum(p_true, TINY))[:, None],
        "cost": a.cost[:, None],
        "label_mass": a.label_mass[:, None],
        "truncated": a.truncated[:, None].astype(np.float64),
        "level_calls": _one_hot(level, LEVELS, np.ones(n)),
        "level_right": _one_hot(level, LEVELS, right),
    }


def table(taxonomy: Taxonomy) -> dict[str, Metric]:
    """Every metric by name.

    `top_severity_recall_share`: the recall of the most severe categories, the one that is no complaint aside.
    `macro_f1`: over the categories that have calls. `calibration_error_share`: the gap between confidence and accuracy,
    averaged over bins of confidence. `coverage_at_95_share`: see `_coverage`. `cost_per_1000`: see `answered.costs`.
    """
    top = max(c.severity for c in taxonomy.categories if c.key != taxonomy.none_key)
    severe = [i for i, c in enumerate(taxonomy.categories) if c.severity == top and c.key != taxonomy.none_key]
    missing = np.array([c.cost_of_missing for c in taxonomy.categories])
    recalls = {f"{key}_recall": _recall([i]) for key, i in taxonomy.index.items()}
    return {
        "accuracy_share": _share("right", "calls"),
        "macro_f1": Metric(lambda s: np.asarray(np.nanmean(_f1(s), axis=1)), unit=_macro_unit),
        "weighted_f1": Metric(_weighted_f1, unit=lambda s: 1 / _column(s, "calls")),
        "calibration_error_share": Metric(
            lambda s: np.abs(s["gap"]).sum(axis=1) / _column(s, "calls"), higher_is_better=False
        ),
        "brier": _mean("brier"),
        "nll": _mean("nll"),
        "cost_per_1000": Metric(
            lambda s: 1000 * _ratio(s, "cost", "calls"), False, unit=lambda s: _cost_unit(s, missing)
        ),
        "coverage_at_95_share": Metric(_coverage),
        "review_share": replace(_share("review", "calls"), higher_is_better=False),
        "auto_accuracy_share": _share("auto_right", "auto"),
        "label_mass_share": Metric(lambda s: _ratio(s, "label_mass", "calls")),
        "truncated_share": _mean("truncated"),
        "top_severity_recall_share": _recall(severe),
        **recalls,
    }


def per_category(confusion: NDArray[np.intp], taxonomy: Taxonomy) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of each category; confusion (C, C), rows true; 0 where undefined."""
    hit, said, support = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    columns = {"precision": hit / np.maximum(said, 1), "recall": hit / np.maximum(support, 1)}
    columns |= {"f1": 2 * hit / np.maximum(said + support, 1), "support": support}
    return {key: {name: float(values[i]) for name, values in columns.items()} for key, i in taxonomy.index.items()}


def values(a: Answers, table_: Mapping[str, Metric]) -> dict[str, float]:
    """Each metric's value on these calls; a metric that is undefined on them is left out."""
    sums = {name: x.sum(axis=0, keepdims=True) for name, x in row_sums(a).items()}
    found = {name: _quietly(metric.value, sums)[0] for name, metric in table_.items()}
    return {name: float(v) for name, v in found.items() if np.isfinite(v)}


def _quietly(f: Callable[[Sums], Floats], sums: Sums) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return f(sums)


def _column(s: Sums, name: str) -> Floats:
    return np.asarray(s[name][:, 0], dtype=np.float64)


def _ratio(s: Sums, over: str, under: str) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return _column(s, over) / _column(s, under)


def _share(over: str, under: str) -> Metric:
    return Metric(
        lambda s: _ratio(s, over, under), trials=lambda s: _column(s, under), unit=lambda s: 1 / _column(s, under)
    )


def _mean(name: str) -> Metric:
    return Metric(lambda s: _ratio(s, name, "calls"), higher_is_better=False)


def _matrix(s: Sums) -> Floats:
    b, cc = s["confusion"].shape
    c = round(cc**0.5)
    return np.asarray(s["confusion"], dtype=np.float64).reshape(b, c, c)


def _recall(of: list[int]) -> Metric:
    def trials(s: Sums) -> Floats:
        return np.asarray(_matrix(s)[:, of, :].sum(axis=(1, 2)))

    def value(s: Sums) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(_matrix(s)[:, of, of].sum(axis=1) / trials(s))

    return Metric(value, trials=trials, unit=lambda s: 1 / trials(s))


def _f1(s: Sums) -> Floats:
    """(B, C); NaN for a category without calls."""
    m = _matrix(s)
    support = m.sum(axis=2)
    hit = np.diagonal(m, axis1=1, axis2=2)
    return np.where(support > 0, 2 * hit / np.maximum(support + m.sum(axis=1), TINY), np.nan)


def _weighted_f1(s: Sums) -> Floats:
    support = _matrix(s).sum(axis=2)
    return np.asarray(np.nansum(_f1(s) * support, axis=1) / support.sum(axis=1))


def _macro_unit(s: Sums) -> Floats:
    support = _matrix(s).sum(axis=2)
    present = support > 0
    return np.asarray(np.sqrt((present / np.maximum(support, 1) ** 2).sum(axis=1)) / present.sum(axis=1))


def _cost_unit(s: Sums, missing: Floats) -> Floats:
    support = _matrix(s).sum(axis=2)
    return np.asarray(1000 * np.sqrt((support * missing**2).sum(axis=1) / support.sum(axis=1)) / _column(s, "calls"))


def _coverage(s: Sums) -> Floats:
    """The largest share of the calls, most confident first, of which 95 % are answered rightly; 0 if none."""
    calls, right = s["level_calls"].cumsum(axis=1), s["level_right"].cumsum(axis=1)
    holds = (right >= COVERAGE_ACCURACY * calls - 1e-3) & (calls > 0)
    return np.asarray(np.where(holds, calls, 0).max(axis=1) / calls[:, -1], dtype=np.float64)


def _levels(confidence: Floats) -> NDArray[np.intp]:
    """Each call's percent from the top by confidence, equal confidences together."""
    ascending = np.sort(-confidence)
    rank = np.searchsorted(ascending, -confidence, side="right") - 1
    return np.asarray(rank * LEVELS // max(len(confidence), 1), dtype=np.intp)


def _one_hot(index: NDArray[np.intp], width: int, weight: Floats) -> Floats:
    out = np.zeros((len(index), width))
    out[np.arange(len(index)), index] = weight
    return out
