"""The llama.cpp engine: a GGUF model in a llama-server of our own, as many prompts at a time as it has slots."""

import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from data_contracts.errors import EngineUnavailable, ModelLoadError
from deploy.engines import (
    STEP_TOKENS,
    Capabilities,
    GoesOn,
    Sampling,
    Scores,
    Unwanted,
    always,
    likeliest,
    llama_server,
    require_room,
    require_within,
)
from deploy.engines.askers import Askers
from deploy.engines.llama_server import TRIED
from deploy.engines.server import EngineServer
from deploy.engines.slots import Slots
from deploy.engines.weights import GGUF_FILE

FIRST_TOP = 64
"""Likeliest tokens asked for at first; more as soon as a category was not among them."""
WIDER = 16
SURELY = 1000.0
NO_PROBABILITY = -1e30
"""llama-server writes the lowest float for a token whose probability rounds to 0."""
A_FEW = 4
"""Tokens a request when generating: a millisecond of its own each, and what a caller who left may still cost."""
BROKEN_TEXT = "Content-only format"


class LlamaCppEngine:
    """Category log-probabilities over the whole vocabulary, from `POST /completion`. Each request is tied to a slot, which keeps
    the keys and values of its last prompt, so that the head they share is computed once a slot."""

    name = "llamacpp"

    def __init__(self, server: EngineServer, capabilities: Capabilities, slots: int, letter: int) -> None:
        """`letter`: a token that is whole text, for the server to answer with."""
        self._server = server
        self._capabilities = capabilities
        self._letter = letter
        self._askers = Askers(self.name, slots)
        self._slots = Slots(slots)
        self._top = FIRST_TOP
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        program: str = "",
        longest_tokens: int,
        slots: int = 4,
        threads: int = 0,
        start_timeout_s: float = 180.0,
    ) -> "LlamaCppEngine":
        """Start a server on `folder/model.gguf` and make sure that it runs what it was told to.

        Args:
            program: the llama-server; empty: found.
            longest_tokens: the longest prompt that will be asked.
            threads: 0 takes every core this process may use.

        Raises:
            ConfigurationError: no such program, or the model's context is too short for the longest prompt.
            ModelLoadError: no GGUF file, or it cannot be loaded.
            EngineUnavailable: it does not start in time.
        """
        file = folder.absolute() / GGUF_FILE
        if not file.is_file():
            raise ModelLoadError(
                f"{folder} has no {GGUF_FILE}; engine llamacpp runs only GGUF: quantize.serve=gguf-q8_0"
            )
        server = llama_server.start(
            llama_server.find(program), llama_server.options(file, slots, longest_tokens, threads)
        )
        try:
            server.wait(start_timeout_s)
            engine = cls(server, llama_server.asserted(server, folder, file, slots), slots, llama_server.letter(server))
            require_within(cls.name, engine.capabilities, [range(longest_tokens)], ())
            engine._try_out()
        except BaseException:
            server.close()
            raise
        return engine

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def score(self, prompts: Sequence[Sequence[int]], category_ids: Sequence[int], head_tokens: int) -> Scores:
        """Score prompts given as token ids; a shared head is found by the server itself.

        Raises:
            ConfigurationError: a prompt or the categories are more than the capabilities allow.
            RowsFailed: the server does not answer to some, or not as llama.cpp's does.
            EngineUnavailable: the engine was closed.
        """
        require_within(self.name, self._capabilities, prompts, category_ids)
        rows, failed = self._askers.each(lambda prompt: self._row(prompt, category_ids), prompts)
        return likeliest.scores(rows, failed, len(category_ids))

    def generate(self, prompt: Sequence[int], sampling: Sampling, goes_on: GoesOn = always) -> Generator[int]:
        """Continue a prompt, a few tokens a request: a stream of the server leaves out the ids of tokens that end within a character.

        Raises:
            ConfigurationError: prompt and answer are longer than a slot.
            EngineUnavailable: the server died, or does not answer as llama.cpp's does.
        """
        require_room(self.name, self._capabilities, prompt, sampling.max_new_tokens)
        end = len(prompt) + sampling.max_new_tokens
        read = list(prompt)
        with suppress(Unwanted), self._slots.held(prompt, goes_on) as slot:
            self._read(prompt, slot, goes_on)
            while len(read) < end and goes_on():
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
            body = {"prompt": list(prompt[:end]), "n_predict": 0, "id_slot": slot, "cache_prompt": True}
            self._server.ask("/completion", body)
            self._slots.note(slot, prompt[:end])

    def _next(
        self, read: Sequence[int], count: int, slot: int, sampling: Sampling, drawn: int
    ) -> tuple[list[int], bool]:
        """The next `count` tokens, and whether the text ended there.

        The server fails where its answer is not whole UTF-8 (llama.cpp issue 25072), as one that begins within a Chinese character
        is not. Then the next token alone is drawn from its probabilities, by the sampler of the other engine.
        """
        body = {
            **{"prompt": list(read), "n_predict": count, "id_slot": slot, "cache_prompt": True, "return_tokens": True},
            **{"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": (sampling.seed + drawn) % 2**32},
            **{"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "samplers": ["temperature", "top_p"]},
        }
        try:
            answer = self._server.ask("/completion", body)
        except EngineUnavailable as error:
            if BROKEN_TEXT not in str(error):
                raise
            return [self._draw(read, slot, sampling, drawn)], False
        try:
            found = [int(token) for token in answer["tokens"]]
            return found, answer["stop_type"] != "limit" or len(found) < count
        except (KeyError, TypeError, ValueError) as error:
            raise EngineUnavailable(f"llama-server's answer lacks {error}; {TRIED}") from error

    def _draw(self, read: Sequence[int], slot: int, sampling: Sampling, drawn: int) -> int:
        found = self._likeliest(read, FIRST_TOP if sampling.temperature else 1, slot)
        if not sampling.temperature:
            return next(iter(found))
        import torch

        from deploy.engines.sampler import Sampler

        logits = torch.full((self._capabilities.max_categories,), -float("inf"))
        logits[list(found)] = torch.tensor(list(found.values()))
        return Sampler(sampling, at=drawn).choose(logits)

    def healthy(self) -> bool:
        return self._server.is_running

    def memory_mb(self) -> float:
        return self._server.memory_mb()

    def close(self) -> None:
        """Kill the server; whoever waits for an answer is told."""
        self._askers.close()
        self._server.close()

    def _row(self, prompt: Sequence[int], category_ids: Sequence[int]) -> likeliest.Row:
        """One call's log-probabilities. A category beyond the likeliest tokens is asked for again, in the same slot, among more."""
        top = self._top
        with self._slots.held(prompt) as slot:
            while not (found := self._likeliest(prompt, top, slot)).keys() >= set(category_ids):
                if top >= self._capabilities.max_categories:
                    raise EngineUnavailable(f"llama-server gave {len(found)} of {top} tokens; {TRIED}")
                top = min(top * WIDER, self._capabilities.max_categories)
            self._slots.note(slot, prompt)
        self._learn(found, category_ids)
        return likeliest.complete(found, category_ids)

    def _learn(self, found: Mapping[int, float], category_ids: Sequence[int]) -> None:
        """Ask for enough at once the next time."""
        with self._lock:
            self._top = min(max(self._top, likeliest.enough(found, category_ids)), self._capabilities.max_categories)

    def _likeliest(self, prompt: Sequence[int], top: int, slot: int) -> dict[int, float]:
        """Token id → log-probability of the `top` likeliest."""
        body = {
            "prompt": list(prompt),
            "n_predict": 1,
            "n_probs": top,
            "temperature": 0,
            "cache_prompt": True,
            "id_slot": slot,
            # It leaves the probabilities out when its answer ends within a character, as one byte of a Chinese one does. What it
            # answers is of no interest, and a bias does not touch the probabilities.
            "logit_bias": [[self._letter, SURELY]],
        }
        answer = self._server.ask("/completion", body)
        try:
            rows = answer["completion_probabilities"][0]["top_logprobs"]
            read = int(answer["tokens_evaluated"])
            found = {int(row["id"]): float(row["logprob"]) for row in rows}
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise EngineUnavailable(f"llama-server's answer lacks {error}; {TRIED}") from error
        if read != len(prompt) or answer.get("truncated"):
            raise EngineUnavailable(f"llama-server read {read} tokens of a prompt of {len(prompt)}; {TRIED}")
        return {i: p if p > NO_PROBABILITY else -float("inf") for i, p in found.items()}

    def _try_out(self) -> None:
        """One whole distribution: proof that what is returned are raw log-probabilities of every token id.

        Raises:
            EngineUnavailable: they are not.
        """
        import numpy as np

        size = self._capabilities.max_categories
        with self._slots.held([0]) as slot:
            found = self._likeliest([0], size, slot)
        total = float(np.exp(list(found.values())).sum())
        if found.keys() != set(range(size)) or not abs(total - 1) < 1e-3:
            raise EngineUnavailable(
                f"llama-server gave {len(found)} of {size} tokens, of probability {total:.4f} together; {TRIED}"
            )
