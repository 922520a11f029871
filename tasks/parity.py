"""How alike an engine answers the same calls: measured once, when the bundle is made, and kept in it as the tolerance of its probe.

An engine rounds otherwise with other calls in the batch, and so does another machine. How much, depends on engine, quantization
and model: fp32 by nothing, int8 activations by a percent and more.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_contracts.artifacts import Calibration
from data_contracts.errors import ModelLoadError
from deploy import calibration
from deploy.bundle import Parity
from deploy.engines import Engine

FLOOR = 0.02
"""Of a probability: another machine rounds otherwise even where this one never does."""
SAFETY = 4
"""Another machine's answers lie around these as this one's lie around each other, and not only those that were seen."""


def measure(
    engine: Engine,
    prompts: Sequence[tuple[int, ...]],
    category_ids: Sequence[int],
    head_tokens: int,
    fitted: Calibration,
    most: float,
) -> tuple[NDArray[np.float64], Parity]:
    """Calibrated probabilities (N, C) of the prompts asked together, and how far they are off asked otherwise.

    Args:
        most: the largest tolerance that is allowed.

    Raises:
        ModelLoadError: the engine strays by more than that.
    """

    def ask(asked: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
        return calibration.apply(fitted, engine.score(asked, category_ids, head_tokens).logprobs)

    together, count = ask(prompts), len(prompts)
    alone = np.concatenate([ask([prompt]) for prompt in prompts])
    crowded = ask([*prompts[::-1], *prompts])
    others = (alone, crowded[:count][::-1], crowded[count:], ask(prompts))
    spread = max(float(np.abs(other - together).max()) for other in others)
    if spread > most:
        raise ModelLoadError(
            f"engine {engine.name} gives the same call a probability {spread:.3f} apart with other calls beside it, and "
            f"serve.parity_tolerance allows {most:g}; another quantize.serve or serve.engine rounds less, or raise the setting"
        )
    tolerance = min(most, max(FLOOR, SAFETY * spread))
    return together, Parity(spread=round(spread, 4), tolerance=_up(tolerance))


def _up(value: float) -> float:
    """To three decimals, never down."""
    return math.ceil(round(value * 1000, 6)) / 1000
