"""The default engine: transformers in this process, on CPU or GPU: one prefill a call, or one step a token."""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from data_contracts.errors import ConfigurationError, EngineUnavailable, ResourceInsufficient, TingsuError
from deploy.engines import (
    LEAST_TOKENS,
    STEP_TOKENS,
    Capabilities,
    GoesOn,
    RowsFailed,
    Sampling,
    Scores,
    Unwanted,
    always,
    compiled,
    decoder,
    prefill,
    require_room,
    require_within,
    weights,
)
from deploy.engines.sampler import Sampler
from deploy.engines.slots import Slots, common

Work = TypeVar("Work")
NO_LIMIT = 2**31
"""For a model that names no longest context."""
SAID = ("can't allocate memory", "not enough memory", "bad_alloc", "could not create a memory")
"""By which torch's allocator on CPU and oneDNN are known: they raise plain RuntimeErrors."""


@dataclass
class _Past:
    """What a slot has read, and its keys and values."""

    ids: list[int]
    cache: Any


class TransformersEngine:
    """Category log-probabilities over the whole vocabulary at the answer position, one batch at a time. Texts that are generated at
    once take turns, token by token.

    `fits_tokens`: the most tokens of a batch, padding counted, once memory did not suffice for more; None while it did.
    """

    name = "transformers"

    def __init__(
        self,
        model: Any,
        *,
        threads: int = 0,
        batch_tokens: int = 8192,
        slots: int = 1,
        ways: decoder.Ways = decoder.SERVING,
    ) -> None:
        """`ways`: how our own pass multiplies and attends, where it runs the model."""
        import torch

        if threads:
            torch.set_num_threads(threads)
        self._model = model.eval()
        self._ways = ways if decoder.suits(self._model) else None
        self.fits_tokens: int | None = None
        self._batch_tokens = batch_tokens
        self._head_ids: tuple[int, ...] = ()
        self._head: list[Any] = []
        self._lock = threading.Lock()
        self._slots = Slots(slots)
        self._past: dict[int, _Past] = {}
        self._as_is: Callable[[], AbstractContextManager[None]] = nullcontext

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        precision: weights.Precision = "auto",
        threads: int = 0,
        batch_tokens: int = 8192,
        slots: int = 1,
        compile: bool = False,
    ) -> "TransformersEngine":
        """Load a model folder; its form (safetensors, int8, GGUF) is known by its files.

        Args:
            threads: 0 leaves torch's own choice.
            batch_tokens: bound of one prefill, padding counted; halved for good when memory does not suffice.
            slots: texts that may be generated at once.
            compile: what our own pass does between its products is compiled first.

        Raises:
            ModelLoadError: the folder is not a whole, loadable model.
            ConfigurationError: to be compiled, and there is no compiler, or our own pass does not run this model.
        """
        model = weights.load_model(folder, precision)
        if not compile:
            return cls(model, threads=threads, batch_tokens=batch_tokens, slots=slots)
        if not decoder.suits(model):
            raise ConfigurationError(
                f"serve.compile is for {', '.join(decoder.KNOWN)} on CPU, and this model, {type(model).__name__} on "
                f"{model.device.type}, is run by transformers; set serve.compile to false"
            )
        engine = cls(model, threads=threads, batch_tokens=batch_tokens, slots=slots, ways=compiled.SERVING)
        compiled.warm_up(engine.score)
        engine._as_is = compiled.finished
        return engine

    @property
    def capabilities(self) -> Capabilities:
        config = self._model.config.get_text_config(decoder=True)
        return Capabilities(
            exact_ids=True,
            max_categories=config.vocab_size,
            max_prompt_tokens=getattr(config, "max_position_embeddings", None) or NO_LIMIT,
            raw_logprobs=True,
            adapters=True,
            generation=True,
        )

    def score(self, prompts: Sequence[Sequence[int]], category_ids: Sequence[int], head_tokens: int) -> Scores:
        """Score prompts given as token ids; the first `head_tokens` ids are the same in all of them.

        Raises:
            ConfigurationError: a prompt or the categories are more than the capabilities allow.
            RowsFailed: not even alone do some calls fit into memory.
            EngineUnavailable: it was closed.
        """
        with self._lock:
            self._require_open()
            require_within(self.name, self.capabilities, prompts, category_ids)
            return self._score(prompts, category_ids, head_tokens)

    def _score(self, prompts: Sequence[Sequence[int]], category_ids: Sequence[int], head_tokens: int) -> Scores:
        import numpy as np
        import torch

        logprobs = np.zeros((len(prompts), len(category_ids)), dtype=np.float32)
        ids = torch.tensor(list(category_ids), device=self._model.device)
        failed: dict[int, TingsuError] = {}
        with torch.inference_mode(), self._as_is():
            skip = _within_memory(lambda: self._share_head(prompts, head_tokens))
            todo = [] if skip is None else prefill.by_length([len(p) - skip for p in prompts], self._batch_tokens)
            if skip is None:
                failed = {row: _too_large(len(prompt)) for row, prompt in enumerate(prompts)}
            while todo:
                batch = todo.pop()
                rows = _within_memory(partial(self._batch, [prompts[i] for i in batch], ids, skip or 0))
                if rows is not None:
                    logprobs[batch] = rows
                elif len(batch) > 1:
                    self._shrink(len(batch) * (len(prompts[batch[0]]) - (skip or 0)))
                    todo += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
                else:
                    failed[batch[0]] = _too_large(len(prompts[batch[0]]))
        scores = Scores(logprobs, np.exp(logprobs).sum(axis=1))
        if failed:
            raise RowsFailed(scores, failed)
        return scores

    def generate(self, prompt: Sequence[int], sampling: Sampling, goes_on: GoesOn = always) -> Generator[int]:
        """Continue a prompt; what a slot has read before is not read again.

        Raises:
            ConfigurationError: prompt and answer are longer than the model's context.
            ResourceInsufficient: memory does not suffice.
        """
        require_room(self.name, self.capabilities, prompt, sampling.max_new_tokens)
        sampler = Sampler(sampling)
        with suppress(Unwanted), self._slots.held(prompt, goes_on) as slot:
            past = self._remember(slot, prompt)
            todo = list(prompt[len(past.ids) :])
            for _ in range(sampling.max_new_tokens):
                token = sampler.choose(self._read(past, todo, goes_on))
                if token in sampling.stop_ids:
                    break
                todo = [token]
                yield token
            self._past[slot] = past
            self._slots.note(slot, past.ids)

    def _remember(self, slot: int, prompt: Sequence[int]) -> _Past:
        """What the slot knows of this prompt; never all of it, for the last token has to be read to go on."""
        from transformers import DynamicCache

        past = self._past.pop(slot, None)
        self._slots.note(slot, ())  # until it is whole again
        if past is None or not prefill.shares_head(self._model, prefill.SHARE_FROM_TOKENS):
            return _Past([], DynamicCache(config=self._model.config))
        keep = min(common(past.ids, prompt), len(prompt) - 1)
        past.cache.crop(keep - len(past.ids))
        return _Past(past.ids[:keep], past.cache)

    def _read(self, past: _Past, ids: Sequence[int], goes_on: GoesOn) -> Any:
        """Logits (V,) after these ids.

        Raises:
            Unwanted: it did not go on.
        """
        import torch

        logits = None
        for at in range(0, len(ids), STEP_TOKENS):
            part = ids[at : at + STEP_TOKENS]
            try:
                with self._lock, torch.inference_mode():
                    self._require_open()
                    if not goes_on():
                        raise Unwanted
                    logits = prefill.next_logits(self._model, part, past.cache)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                torch.cuda.empty_cache()
                raise ResourceInsufficient(
                    f"{len(past.ids) + len(part)} tokens do not fit into memory; lower serve.generate.context_tokens"
                ) from error
            past.ids += part
        return logits

    def _require_open(self) -> None:
        if self._model is None:
            raise EngineUnavailable(f"engine {self.name} is closed")

    def healthy(self) -> bool:
        return self._model is not None

    def memory_mb(self) -> float:
        """Resident memory of this process, and what it holds on the GPU."""
        import psutil
        import torch

        gpu = torch.cuda.memory_reserved() if torch.cuda.is_available() else 0
        return float(psutil.Process().memory_info().rss + gpu) / 2**20

    def close(self) -> None:
        """Free the weights, once the batch that is being scored is done."""
        import torch

        with self._lock:
            self._model, self._head, self._head_ids = None, [], ()
            self._past.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _share_head(self, prompts: Sequence[Sequence[int]], head_tokens: int) -> int:
        """Compute the head's keys and values unless they are at hand; how many leading ids the batches leave out."""
        import torch

        if not prompts or not prefill.shares_head(self._model, head_tokens):
            return 0
        if self._head_ids != (head_ids := tuple(prompts[0][:head_tokens])):
            if self._ways:
                self._head = decoder.run_head(self._model, head_ids, self._ways)
            else:
                self._head = prefill.run_head(self._model, torch.tensor([head_ids], device=self._model.device))
            self._head_ids = head_ids
        return head_tokens

    def _shrink(self, tokens: int) -> None:
        """Memory did not suffice for a batch of so many, padding counted."""
        self._batch_tokens = self.fits_tokens = max(min(self._batch_tokens, tokens) // 2, LEAST_TOKENS)

    def _batch(self, prompts: list[Sequence[int]], category_ids: Any, skip: int) -> Any:
        """One prefill → (N, C)."""
        block = prefill.pad(prompts, skip)
        block = prefill.Padded(block.ids.to(self._model.device), block.answer_at)
        head = self._head if skip else []
        if self._ways:
            hidden = decoder.answer_hidden(self._model, block, ways=self._ways, kept=head)
        else:
            hidden = prefill.answer_hidden(self._model, block, head)
        logits = prefill.answer_logits(self._model, hidden)
        return (logits[:, category_ids] - logits.logsumexp(dim=-1, keepdim=True)).cpu().numpy()


def _within_memory(work: Callable[[], Work]) -> Work | None:
    """What it gives, or None if memory did not suffice; it was freed then."""
    import torch

    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
    torch.cuda.empty_cache()  # once the error is gone, which held what had been computed
    return None


def _too_large(tokens: int) -> ResourceInsufficient:
    return ResourceInsufficient(
        f"one call of {tokens} tokens does not fit into memory; free some, or lower prompt.max_call_tokens"
    )


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in SAID)
