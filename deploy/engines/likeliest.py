"""From the likeliest tokens that a server names to the row of one call: found, or bounded from above."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from data_contracts.errors import TingsuError
from deploy.engines import RowsFailed, Scores


class Row(NamedTuple):
    """One call: log-probability of each category, and the probability of those that were found."""

    logprobs: list[float]
    label_mass: float


def complete(found: Mapping[int, float], category_ids: Sequence[int]) -> Row:
    """The row of a call; a category that is not among the tokens found gets the most that it may have.

    That is the probability of the least likely one found, or what all of them leave over, whichever is less: too much rather than
    too little, so that the others are not made surer than they are. Only what was found counts towards the label mass.
    """
    rest = 1.0 - sum(math.exp(p) for p in found.values())
    most = min(min(found.values(), default=0.0), math.log(rest) if rest > 0 else -math.inf)
    mass = sum(math.exp(found[i]) for i in category_ids if i in found)
    return Row([found.get(i, most) for i in category_ids], mass)


def enough(found: Mapping[int, float], category_ids: Sequence[int]) -> int:
    """How many of the likeliest to ask for next time: twice as many as were needed for these categories."""
    lowest = min((found[i] for i in category_ids), default=0.0)
    return 2 * sum(1 for logprob in found.values() if logprob >= lowest)


def rest(found: Mapping[int, float], size: int, temperature: float) -> float:
    """The most that the tokens not found, of `size` in all, may have of the chance at this temperature (above 0)."""
    others = size - len(found)
    if others <= 0 or min(found.values()) == -math.inf:
        return 0.0
    left = max(0.0, 1.0 - sum(math.exp(p) for p in found.values()))
    if temperature <= 1:  # none of them is likelier than the last one found
        weight = left * math.exp(min(found.values()) * (1 / temperature - 1))
    else:  # most if they are all alike
        weight = others * (left / others) ** (1 / temperature)
    return weight / (weight + sum(math.exp(p / temperature) for p in found.values()))


def unscored(categories: int) -> Row:
    """Of a call that the engine cannot be asked: every category alike and no label mass, which is always for a person."""
    return Row([-math.inf] * categories, 0.0)


def scores(rows: Sequence[Row | None], failed: Mapping[int, TingsuError], categories: int) -> Scores:
    """Rows of calls, in order, as an engine answers them.

    Raises:
        RowsFailed: some have none.
    """
    import numpy as np

    whole = [unscored(categories) if row is None else row for row in rows]
    logprobs = np.array([row.logprobs for row in whole], dtype=np.float32).reshape(len(rows), categories)
    found = Scores(logprobs, np.array([row.label_mass for row in whole], dtype=np.float32))
    if failed:
        raise RowsFailed(found, failed)
    return found
