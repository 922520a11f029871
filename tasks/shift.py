"""Whether two sets of calls are spread over the categories alike."""

from typing import TYPE_CHECKING

import numpy as np

from data_contracts.schema import Frozen

if TYPE_CHECKING:
    import polars as pl

LEAST_EXPECTED = 5.0  # of a cell of a chi-square test; Cochran's rule


class Test(Frozen):
    """A chi-square test of homogeneity on the counts divided by the calls a customer has, so that `p` errs high."""

    statistic: float
    degrees: int
    p: float


def distance(first: "np.ndarray", second: "np.ndarray") -> float:
    """Share of calls that would have to change category for two counts (C,) to be spread alike; 0 to 1."""
    if not first.sum() or not second.sum():
        return 0.0
    return float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)


def test(first: "pl.DataFrame", second: "pl.DataFrame") -> Test | None:
    """Two sets of different calls (columns `complaint_category`, `group`); None where they are too few to say.

    The calls of one customer are about the same matter more often than chance. So each set counts as many calls as its
    (Σ calls of a customer)² / Σ (calls of a customer)², Kish's effective number at an intra-class correlation of 1.
    """
    from scipy.stats import chi2_contingency

    names = sorted({*first["complaint_category"], *second["complaint_category"]})
    table = _lumped(np.array([counts(one, names) * _effective_share(one) for one in (first, second)]))
    if table is None:
        return None
    found = chi2_contingency(table, correction=False)
    return Test(statistic=float(found.statistic), degrees=int(found.dof), p=float(found.pvalue))


def _effective_share(calls: "pl.DataFrame") -> float:
    """How much of a call each call counts; 1 where every customer called once."""
    sizes = calls["group"].value_counts()["count"].to_numpy().astype(float)
    return float(sizes.sum() / (sizes**2).sum()) if len(sizes) else 1.0


def counts(calls: "pl.DataFrame", names: list[str]) -> "np.ndarray":
    """Calls of each category (C,)."""
    found = dict(calls["complaint_category"].value_counts().iter_rows())
    return np.array([found.get(name, 0) for name in names], dtype=np.int64)


def _lumped(table: "np.ndarray") -> "np.ndarray | None":
    """(2, C) with the categories too rare to test as one; None where fewer than two testable columns are left."""
    total = table.sum()
    if not total:
        return None
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / total
    is_rare = expected.min(axis=0) < LEAST_EXPECTED
    rare = table[:, is_rare].sum(axis=1, keepdims=True)
    is_testable = (rare.sum() * table.sum(axis=1) / total).min() >= LEAST_EXPECTED
    kept = np.hstack([table[:, ~is_rare], rare]) if is_testable else table[:, ~is_rare]
    return kept if kept.shape[1] >= 2 else None
