"""How one hop does on the gold calls: metrics with intervals, per category, slices, confusion matrix."""

import numpy as np
from numpy.typing import NDArray

from data_contracts.artifacts import Calibration, Predictions, Report, Splits
from data_contracts.errors import BundleCorrupt
from data_contracts.taxonomy import Taxonomy
from deploy.store import Store
from tasks import metrics, resample
from tasks.answered import Answers, answer, select

LEVEL = 0.95
SLICES = ("channel", "region", "length")
SLICE_METRICS = ("accuracy_share", "macro_f1", "review_share", "cost_per_1000")
UNKNOWN = "unknown"


def evaluate(
    predictions: Predictions,
    calibration: Calibration,
    splits: Splits,
    taxonomy: Taxonomy,
    resamples: int,
    seed: int,
    store: Store,
    synthetic: bool,
) -> Report:
    """Report the predictions of one side under a calibration.

    Raises:
        BundleCorrupt: the predictions are not of the side's calls in their order.
    """
    answers = answer(predictions, calibration, taxonomy, store)
    table = metrics.table(taxonomy)
    drawn = resample.resample([answers], table, resamples, seed)
    intervals = {name: drawn.one(name) for name in table}
    confusion = _confusion(answers, len(taxonomy.keys))
    return Report(
        hop=predictions.hop,
        side=predictions.side,
        rows=predictions.rows,
        groups=drawn.groups,
        rows_digest=predictions.rows_digest,
        taxonomy_digest=taxonomy.digest,
        metrics=metrics.values(answers, table),
        intervals={name: d.interval(LEVEL) for name, d in intervals.items() if d.is_defined},
        per_category=metrics.per_category(confusion, taxonomy),
        confusion=tuple(tuple(int(x) for x in row) for row in confusion),
        slices=_slices(answers, splits, predictions, taxonomy, store),
        calibration=calibration,
        predictions=predictions,
        synthetic=synthetic,
    )


def _confusion(answers: Answers, c: int) -> NDArray[np.intp]:
    """(C, C) calls of true category (row) answered as category (column)."""
    return np.bincount(answers.truth * c + answers.predicted, minlength=c * c).reshape(c, c)


def _slices(
    answers: Answers, splits: Splits, predictions: Predictions, taxonomy: Taxonomy, store: Store
) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics of the calls of each channel, region and quartile of length in characters (q1 the shortest)."""
    import polars as pl

    side = pl.read_parquet(store.local(splits.file(predictions.side)))
    if tuple(side["conversation_id"]) != answers.ids:
        raise BundleCorrupt(
            f"predictions {predictions.key} are not of the calls of {splits.file(predictions.side)} in their order; "
            "score that side again"
        )
    length = side["input_text"].str.len_chars().to_numpy()
    values = {name: np.array([v or UNKNOWN for v in side[name]]) for name in ("channel", "region")}
    values["length"] = _quartiles(length)
    return {name: _by_value(answers, values[name], taxonomy) for name in SLICES}


def _quartiles(length: NDArray[np.integer]) -> NDArray[np.str_]:
    if not len(length):
        return np.array([], dtype=np.str_)
    cuts = np.quantile(length, (0.25, 0.5, 0.75))
    return np.array([f"q{1 + int(q)}" for q in np.searchsorted(cuts, length)])


def _by_value(answers: Answers, of: NDArray[np.str_], taxonomy: Taxonomy) -> dict[str, dict[str, float]]:
    table = {name: m for name, m in metrics.table(taxonomy).items() if name in SLICE_METRICS}
    return {
        str(value): {"rows": float((of == value).sum()), **metrics.values(select(answers, of == value), table)}
        for value in np.unique(of)
    }
