"""Bets against "the candidate is within its tolerance": what they win is the evidence, at any time and under any drift.

A bet gives every outcome a score h. Its claim: the candidate's mean of h exceeds the champion's by at most `tolerated`, in every block
of calls, whatever the blocks' own means. In a block with n champion calls and m candidate calls a champion call multiplies the
wealth by 1 − (μ/n)(h − u), a candidate call by 1 + (μ/m)(h − u − tolerated). Its mean is at most
exp(μ · (candidate's mean of h − champion's − tolerated)) ≤ 1 while the claim holds, for every μ ≥ 0 and every u fixed before the block
was seen. So (Ville) wealth ever reaches 1/α with probability at most α. u and μ only decide how fast it grows.

Dimensions: H bets, C outcomes. The stake is what grows fastest if the difference is exactly `detected`; several stakes a bet were
measured and found less.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MOST = 0.95  # of its wealth a single call can take
PRIOR_CALLS = 0.5


@dataclass(frozen=True)
class Bets:
    """scores (H, C); `tolerated`, `detected`, `prior` (H,). Of one sample: the claim is about the candidate's mean alone."""

    names: tuple[str, ...]
    scores: Array
    tolerated: Array
    detected: Array
    prior: Array
    is_one_sample: bool = False

    @property
    def log_prior(self) -> Array:
        """(H,), sums to 1 before the logarithm."""
        return np.asarray(np.log(self.prior / self.prior.sum()))


def shares(counts: Array) -> Array:
    """Smoothed so that an outcome not seen yet is possible; (C,)."""
    return np.asarray((counts + PRIOR_CALLS / len(counts)) / (counts.sum() + PRIOR_CALLS))


def gains(bets: Bets, champion: Array, candidate: Array, past: Array) -> Array:
    """Logarithm of what each bet's wealth is multiplied by in one block; (H,).

    champion, candidate (C,): how often each outcome came. past (C,): the same of both sides before this block.
    """
    centre, variance = _expected(bets, past)
    n, m = champion.sum(), candidate.sum()
    each = 1 / m if bets.is_one_sample else 1 / n + 1 / m
    above = bets.scores - (centre + bets.tolerated)[:, None]
    stake = (bets.detected - bets.tolerated) / (variance * each)
    stake = np.minimum(stake, MOST * m / np.maximum(-above.min(axis=1), 1e-9))
    if bets.is_one_sample:
        return _won(stake / m, above, candidate)
    below = bets.scores - centre[:, None]
    stake = np.minimum(stake, MOST * n / np.maximum(below.max(axis=1), 1e-9))
    return _won(stake / m, above, candidate) + _won(stake / n, -below, champion)


def _won(stake: Array, by: Array, counts: Array) -> Array:
    """stake (H,), by (H, C), counts (C,) → (H,); outcomes that did not come are not looked at."""
    came = counts > 0
    return np.asarray(np.log1p(stake[:, None] * by[:, came]) @ counts[came])


def _expected(bets: Bets, past: Array) -> tuple[Array, Array]:
    """The mean of h (0 for one sample: the tolerance is it) and its variance where the difference is just tolerated; (H,) each."""
    if bets.is_one_sample:
        return np.zeros(len(bets.tolerated)), bets.tolerated * (1 - bets.tolerated)
    share = shares(past)
    centre = bets.scores @ share
    reach = np.ptp(bets.scores, axis=1)
    return centre, bets.scores**2 @ share - centre**2 + bets.tolerated * reach
