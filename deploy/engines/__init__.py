"""One interface for every engine: category log-probabilities from one prefill a call, and text, token by token."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import ConfigurationError, EngineUnavailable, TingsuError

STEP_TOKENS = 1024
"""Of a long prompt that is to be continued so many are read at once; then it is asked whether anybody still wants the text, and
texts that are being written have a turn."""
LEAST_TOKENS = 256
"""A batch is not halved below this, however scarce memory is."""


class Scores(NamedTuple):
    """logprobs (N, C): log-probability over the whole vocabulary, at the answer position, of each category's token;
    label_mass (N,): their summed probability."""

    logprobs: NDArray[np.float32]
    label_mass: NDArray[np.float32]


class RowsFailed(EngineUnavailable):
    """Some prompts of a batch could not be scored, and the engine lives: row → why. `scores`: the others' rows; theirs are empty."""

    def __init__(self, scores: Scores, failed: Mapping[int, TingsuError]) -> None:
        first = min(failed)
        super().__init__(f"{len(failed)} of {len(scores.label_mass)} prompts were not scored: {failed[first]}")
        self.scores = scores
        self.failed = dict(failed)


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


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. `temperature` 0 takes the likeliest and knows no chance; above, the same `seed` draws the same tokens.

    `top_p`: only from the likeliest tokens that together have this probability. `stop_ids`: the first of these ends the text and is
    no part of it; the model's own end has to be among them.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop_ids: tuple[int, ...] = ()


GoesOn = Callable[[], bool]
"""Asked before each step of a text, those over its prompt too; False ends it there."""


def always() -> bool:
    """Nobody leaves."""
    return True


class Unwanted(Exception):
    """Nobody waits for this text any more."""


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
            RowsFailed: of some prompts alone, each for its own reason; it can score others.
            EngineUnavailable: it died, or does not answer.
        """
        ...

    def generate(self, prompt: Sequence[int], sampling: Sampling, goes_on: GoesOn = always) -> Generator[int]:
        """Token ids that continue a prompt, as they come. Closing the generator ends the work, and so does `goes_on`, which is asked
        while it waits and before each step, so that a long prompt need not be read to its end. For any thread, as many at once as
        the engine has slots; one more waits for the first that ends. Fewer than `max_new_tokens` come only where the text ended.

        Raises:
            ConfigurationError: it cannot generate, or prompt and answer are longer than its capabilities allow.
            EngineUnavailable: it died, or does not answer.
            ResourceInsufficient: memory does not suffice.
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


class ScoringOnly:
    """What an engine that does not generate answers to that."""

    name: str
    _capabilities: Capabilities

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def generate(self, prompt: Sequence[int], sampling: Sampling, goes_on: GoesOn = always) -> Generator[int]:
        """Refuses.

        Raises:
            ConfigurationError: it only scores.
        """
        require_room(self.name, self._capabilities, prompt, sampling.max_new_tokens)
        yield from ()


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


def require_room(name: str, can: Capabilities, prompt: Sequence[int], max_new_tokens: int) -> None:
    """Return if an engine of these capabilities may be asked to continue this prompt.

    Raises:
        ConfigurationError: names the number and the limit.
    """
    if not can.generation:
        raise ConfigurationError(f"engine {name} only scores; let serve.generate be served by transformers or llamacpp")
    total = len(prompt) + max_new_tokens
    if not prompt or total > can.max_prompt_tokens:
        raise ConfigurationError(
            f"a prompt of {len(prompt)} tokens and {max_new_tokens} new ones is not within 1 and the "
            f"{can.max_prompt_tokens} that engine {name} holds with this model; send less, or ask for fewer"
        )
