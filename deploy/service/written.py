"""One text: what is asked for, the pieces it comes in, and what it cost in the end."""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Finish = Literal["stop", "length", "time"]
"""Why a text ended: by itself, at its limit of tokens, or at the service's limit of time."""
MOST_TOKENS = 131_072
"""More no model here has; what fits is known when the text is read."""


@dataclass(frozen=True)
class Ask:
    """One text. `thinking_tokens` of 0: without thinking; None: the thinking counts among `max_tokens`, as OpenAI's clients expect.

    `max_tokens` None: `serve.generate.answer_tokens`; never more than what is left of the context.
    """

    messages: Sequence[Mapping[str, str]]
    max_tokens: int | None = None
    thinking_tokens: int | None = 0
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = field(default_factory=lambda: secrets.randbelow(2**31))
    stop: tuple[str, ...] = ()


class Said(NamedTuple):
    """A piece of the thinking, or of the text."""

    thinking: str = ""
    text: str = ""


@dataclass
class Ending:
    """What a text cost and why it ended; complete when the last piece was given. `is_cut`: the thinking was, at its budget."""

    prompt_tokens: int
    thinking_tokens: int = 0
    text_tokens: int = 0
    finish: Finish = "stop"
    is_cut: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def new_tokens(self) -> int:
        return self.thinking_tokens + self.text_tokens

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started
