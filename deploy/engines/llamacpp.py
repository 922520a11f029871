"""The llama.cpp engine: a GGUF model in a llama-server of our own, as many prompts at a time as it has slots."""

import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from data_contracts.errors import EngineUnavailable, ModelLoadError
from deploy.engines import (
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
from deploy.engines.llama_completion import Completions, logprobs
from deploy.engines.llama_server import TRIED
from deploy.engines.llama_writer import WIDER, Writer
from deploy.engines.server import EngineServer
from deploy.engines.slots import Slots
from deploy.engines.weights import GGUF_FILE

FIRST_TOP = 64
"""Likeliest tokens asked for at first; WIDER times as many as soon as a category was not among them."""


class LlamaCppEngine:
    """Category log-probabilities over the whole vocabulary, from `POST /completion`. Each request is tied to a slot, which keeps
    the keys and values of its last prompt, so that the head they share is computed once a slot."""

    name = "llamacpp"

    def __init__(self, server: EngineServer, capabilities: Capabilities, slots: int, letter: int) -> None:
        """`letter`: a token that is whole text, for the server to answer with."""
        self._server = server
        self._capabilities = capabilities
        self._completions = Completions(server, letter)
        self._askers = Askers(self.name, slots)
        self._slots = Slots(slots)
        self._writer = Writer(self._completions, self._slots, capabilities.max_categories)
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
        with suppress(Unwanted), self._slots.held(prompt, goes_on) as slot:
            yield from self._writer.write(prompt, sampling, slot, goes_on)

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
        return logprobs(self._completions.named(prompt, top, slot))

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
