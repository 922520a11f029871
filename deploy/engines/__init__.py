"""One interface for every engine: category log-probabilities from one prefill a call, no decoding."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Scores(NamedTuple):
    """logprobs (N, C): log-probability over the whole vocabulary, at the answer position, of each category's token;
    label_mass (N,): their summed probability."""

    logprobs: NDArray[np.float32]
    label_mass: NDArray[np.float32]


class Engine(Protocol):
    """N calls, C categories."""

    name: str

    def score(self, prompts: Sequence[Sequence[int]], category_ids: Sequence[int], head_tokens: int) -> Scores:
        """Score prompts given as token ids; the first `head_tokens` ids are the same in all of them."""
        ...

    def memory_mb(self) -> float:
        """Resident memory of the process that holds the weights."""
        ...

    def close(self) -> None:
        """Free the weights."""
        ...
