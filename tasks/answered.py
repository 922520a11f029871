"""The calls of one side as one hop answers them, from stored predictions and a calibration; and what each answer costs.

N calls, C categories in taxonomy order.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_contracts.artifacts import Calibration, Predictions
from data_contracts.errors import BundleCorrupt
from data_contracts.taxonomy import Taxonomy
from deploy import calibration as calibrated
from deploy.store import Store

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """One row a call. `cost` (N,) is in the taxonomy's money unit."""

    ids: tuple[str, ...]
    groups: NDArray[np.str_]
    truth: NDArray[np.intp]
    predicted: NDArray[np.intp]
    probabilities: Floats
    confidence: Floats
    is_auto: NDArray[np.bool_]
    cost: Floats
    label_mass: Floats
    truncated: NDArray[np.bool_]


def answer(predictions: Predictions, calibration: Calibration, taxonomy: Taxonomy, store: Store) -> Answers:
    """Read stored predictions and answer them with a calibration.

    Raises:
        BundleCorrupt: the predictions are of another taxonomy, or of fewer or more calls than recorded.
    """
    import polars as pl

    frame = pl.read_parquet(store.local(predictions.key))
    if predictions.taxonomy_digest != taxonomy.digest or frame.height != predictions.rows:
        raise BundleCorrupt(
            f"predictions {predictions.key}: {frame.height} rows, taxonomy {predictions.taxonomy_digest[:12]}; not "
            f"{predictions.rows} rows, taxonomy {taxonomy.digest[:12]}; score the calls again"
        )
    truth = np.array([taxonomy.index[k] for k in frame["category"]], dtype=np.intp)
    logprobs = np.array(frame["logprobs"].to_list(), dtype=np.float64).reshape(frame.height, len(taxonomy.keys))
    label_mass = frame["label_mass"].to_numpy().astype(np.float64)
    probabilities = calibrated.apply(calibration, logprobs)
    decided = calibrated.decide(calibration, probabilities, label_mass)
    is_auto = decided.is_auto
    return Answers(
        ids=tuple(frame["conversation_id"]),
        groups=frame["group"].to_numpy().astype(np.str_),
        truth=truth,
        predicted=decided.predicted,
        probabilities=probabilities,
        confidence=decided.confidence,
        is_auto=is_auto,
        cost=costs(truth, decided.predicted, is_auto, taxonomy),
        label_mass=label_mass,
        truncated=frame["truncated"].to_numpy().astype(bool),
    )


def costs(
    truth: NDArray[np.intp], predicted: NDArray[np.intp], is_auto: NDArray[np.bool_], taxonomy: Taxonomy
) -> Floats:
    """What each call costs (N,), in the taxonomy's money unit.

    A reviewed call costs `review_cost`, whatever was predicted (the reviewer is taken to be right). One answered
    automatically costs nothing if right; if wrong, `cost_of_missing` of its true category plus `cost_of_false_alarm` of
    the predicted one.
    """
    missing = np.array([c.cost_of_missing for c in taxonomy.categories])
    false_alarm = np.array([c.cost_of_false_alarm for c in taxonomy.categories])
    wrong = np.where(truth == predicted, 0.0, missing[truth] + false_alarm[predicted])
    return np.asarray(np.where(is_auto, wrong, taxonomy.review_cost), dtype=np.float64)


def select(answers: Answers, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Answers:
    """The answers of the calls marked in `keep` (N,), or of those at these places, in this order."""
    arrays = {k: v[keep] for k, v in vars(answers).items() if isinstance(v, np.ndarray)}
    return replace(answers, ids=tuple(answers.ids[at] for at in np.arange(len(answers.ids))[keep]), **arrays)
