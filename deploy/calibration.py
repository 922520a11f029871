"""From an engine's log-probabilities to the probabilities and the decision that a caller sees. numpy only.

N calls, C categories in taxonomy order.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_contracts.artifacts import Calibration

Reason = Literal["low_confidence", "low_label_mass"]
LOW_LABEL_MASS = 0.5  # below, the model would rather say something else than any category: its shares mean little


class Decided(NamedTuple):
    """What is answered: the likeliest category, its probability, and why a person should look (nothing: automatic)."""

    predicted: NDArray[np.intp]
    confidence: NDArray[np.float64]
    reasons: tuple[tuple[Reason, ...], ...]

    @property
    def is_auto(self) -> NDArray[np.bool_]:
        return np.array([not r for r in self.reasons], dtype=bool)


def identity(categories: int) -> Calibration:
    """The calibration that changes nothing and answers everything automatically."""
    return Calibration(bias=(0.0,) * categories)


def apply(calibration: Calibration, logprobs: NDArray[np.floating]) -> NDArray[np.float64]:
    """Calibrated probabilities (N, C) of log-probabilities (N, C); every row sums to 1.

    A category the engine gave no probability (-inf) keeps none, unless no category has any: then all are equal.
    """
    z = np.asarray(logprobs, dtype=np.float64) / calibration.temperature + np.asarray(calibration.bias)
    top = z.max(axis=1, keepdims=True)
    z = np.where(np.isfinite(top), z - np.where(np.isfinite(top), top, 0.0), 0.0)
    e = np.exp(z)
    return np.asarray(e / e.sum(axis=1, keepdims=True), dtype=np.float64)


def decide(calibration: Calibration, probabilities: NDArray[np.floating], label_mass: NDArray[np.floating]) -> Decided:
    """The answer to each call; review where confidence or label mass is below its threshold."""
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1).astype(np.float64)
    reasons = tuple(
        _reasons(c < calibration.threshold, m < LOW_LABEL_MASS) for c, m in zip(confidence, label_mass, strict=True)
    )
    return Decided(predicted, confidence, reasons)


def _reasons(is_unsure: bool, is_off_label: bool) -> tuple[Reason, ...]:
    reasons: list[Reason] = []
    if is_unsure:
        reasons.append("low_confidence")
    if is_off_label:
        reasons.append("low_label_mass")
    return tuple(reasons)
