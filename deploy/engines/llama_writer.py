"""Continues a prompt with a llama-server, a few tokens a request: a stream of it leaves out the ids of tokens that end within a
character."""

from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any

from data_contracts.errors import EngineUnavailable
from deploy.engines import STEP_TOKENS, GoesOn, Sampling, Unwanted, likeliest
from deploy.engines.llama_completion import BrokenText, Completions, is_refused, logprobs
from deploy.engines.llama_server import TRIED
from deploy.engines.sampler import Sampler
from deploy.engines.slots import Slots

A_FEW = 4
"""Tokens a request when generating: a millisecond of its own each, and what a caller who left may still cost."""
FIRST_TOP = 64
"""Likeliest tokens asked for at first, to draw from; then WIDER times as many."""
WIDER = 16
REST = 0.001


class Writer:
    """`size`: tokens of the vocabulary."""

    def __init__(self, completions: Completions, slots: Slots, size: int) -> None:
        self._completions = completions
        self._slots = slots
        self._size = size

    def write(self, prompt: Sequence[int], sampling: Sampling, slot: int, goes_on: GoesOn) -> Generator[int]:
        """The tokens that follow, from a slot that is held.

        Raises:
            Unwanted: it did not go on.
            EngineUnavailable: the server died, or does not answer as llama.cpp's does.
        """
        self._read(prompt, slot, goes_on)
        read, end = list(prompt), len(prompt) + sampling.max_new_tokens
        while len(read) < end:
            if not goes_on():
                raise Unwanted
            count = min(A_FEW if len(read) > len(prompt) else 1, end - len(read))
            found, is_ended = self._next(read, count, slot, sampling, len(read) - len(prompt))
            for token in found:
                if token in sampling.stop_ids:
                    return
                read.append(token)
                self._slots.note(slot, read)
                yield token
            if is_ended:
                return

    def _read(self, prompt: Sequence[int], slot: int, goes_on: GoesOn) -> None:
        """A long prompt, up to its last part, into the slot: the server itself reads one to its end, whoever left.

        Raises:
            Unwanted: it did not go on.
        """
        for end in range(self._slots.known(slot, prompt) + STEP_TOKENS, len(prompt), STEP_TOKENS):
            if not goes_on():
                raise Unwanted
            self._completions.read(prompt[:end], slot)
            self._slots.note(slot, prompt[:end])

    def _next(
        self, read: Sequence[int], count: int, slot: int, sampling: Sampling, drawn: int
    ) -> tuple[list[int], bool]:
        """The next `count` tokens, or fewer, and whether the text ended there.

        The server fails where its answer begins within a character. Then the next token alone is asked for, and if it fails over that
        one, it is drawn here from those that it fails over.
        """
        body = {
            **{"prompt": list(read), "n_predict": count, "id_slot": slot, "cache_prompt": True, "return_tokens": True},
            **{"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": (sampling.seed + drawn) % 2**32},
            **{"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "samplers": ["temperature", "top_p"]},
        }
        for wanted in dict.fromkeys((count, 1)):
            with suppress(BrokenText):
                answer = self._completions.ask({**body, "n_predict": wanted})
                return _written(answer, wanted)
        return [self._draw(read, slot, sampling, drawn)], False

    def _draw(self, read: Sequence[int], slot: int, sampling: Sampling, drawn: int) -> int:
        """The next token, known to be one that the server fails over: each has the chance that the model gives it.

        It is drawn among as many of the likeliest as leave the others less than REST, which are asked for in at most four requests.
        """
        if not sampling.temperature:
            return int(self._completions.named(read, 1, slot)[0]["id"])
        top, size = FIRST_TOP, self._size
        while True:
            rows = self._completions.named(read, min(top, size), slot)
            found = logprobs(rows)
            if likeliest.rest(found, size, sampling.temperature) < REST:
                break
            top *= WIDER
        parts = {int(row["id"]) for row in rows if is_refused(row)}
        return Sampler(sampling, at=drawn).choose_part(found, parts, size)


def _written(answer: Any, wanted: int) -> tuple[list[int], bool]:
    """Tokens of an answer, and whether the text ended with them."""
    try:
        found = [int(token) for token in answer["tokens"]]
        return found, answer["stop_type"] != "limit" or len(found) < wanted
    except (KeyError, TypeError, ValueError) as error:
        raise EngineUnavailable(f"llama-server's answer lacks {error}; {TRIED}") from error
