"""One interface for every engine: category log-probabilities from one prefill a call, no decoding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import ConfigurationError


class Scores(NamedTuple):
    """logprobs (N, C): log-probability over the whole vocabulary, at the answer position, of each category's token;
    label_mass (N,): their summed probability."""

    logprobs: NDArray[np.float32]
    label_mass: NDArray[np.float32]


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do with the model it has loaded.

    `exact_ids`: prompts are token ids and so are answers, no text in between; `raw_logprobs`: before temperature, penalties and
    sampling; `adapters`: LoRA without merging; `generation`: more tokens than the one a category is.
    """

    exact_ids: bool
    max_categories: int
    max_prompt_tokens: int
    raw_logprobs: bool
    adapters: bool
    generation: bool


class Engine(Protocol):
    """N calls, C categories."""

    name: str

    @property
    def capabilities(self) -> Capabilities:
        """What may be asked of it."""
        ...

    def score(self, prompts: Sequence[Sequence[int]], category_ids: Sequence[int], head_tokens: int) -> Scores:
        """Score prompts given as token ids; the first `head_tokens` ids are the same in all of them. For any thread.

        Raises:
            ConfigurationError: a prompt is longer, or the categories are more, than its capabilities allow.
            EngineUnavailable: it died, or does not answer.
        """
        ...

    def healthy(self) -> bool:
        """Whether what holds the weights is there."""
        ...

    def memory_mb(self) -> float:
        """Resident memory of the process that holds the weights."""
        ...

    def close(self) -> None:
        """Free the weights."""
        ...


def require_within(name: str, can: Capabilities, prompts: Sequence[Sequence[int]], category_ids: Sequence[int]) -> None:
    """Return if an engine of these capabilities may be asked this: nothing is ever cut off or guessed instead.

    Raises:
        ConfigurationError: names the number and the limit.
    """
    if len(category_ids) > can.max_categories:
        raise ConfigurationError(
            f"{len(category_ids)} categories are more than the {can.max_categories} that engine {name} scores with this "
            "model; use a taxonomy with fewer, or another serve.engine"
        )
    longest = max(map(len, prompts), default=0)
    if longest > can.max_prompt_tokens:
        raise ConfigurationError(
            f"a prompt of {longest} tokens is longer than the {can.max_prompt_tokens} that engine {name} takes with this "
            "model; lower prompt.max_call_tokens, or train a base with a longer context"
        )
