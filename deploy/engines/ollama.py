"""The Ollama engine: a release's GGUF model in an Ollama that somebody else keeps, asked in text (`POST /api/generate`, raw).

Ollama takes and gives text alone, and names the 20 likeliest tokens. A prompt is therefore sent only if its text is read as
exactly our ids; a category that is not among the 20 gets the most that it may have, and does not count towards the label mass.
"""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from data_contracts.errors import ConfigurationError, EngineUnavailable, ModelLoadError
from deploy.engines import Capabilities, Scores, ScoringOnly, likeliest, require_within
from deploy.engines.askers import Askers
from deploy.engines.http import reason
from deploy.engines.ollama_server import HEALTH, MAX_CATEGORIES, TRIED, Ollama, gguf_of, model_name
from deploy.engines.server import MEMORY_S, Remote
from deploy.spelling import Spelling

log = logging.getLogger(__name__)
TOP = 20
"""Ollama refuses more."""
NO_PROBABILITY = -1e30
SAME = 0.05
"""Of a log-probability asked twice: batches round otherwise."""
PROBES = (
    "客户：上个月多扣了我三十块钱，我要投诉！\n客服：好的，马上为您核实。\n\n",
    "Wi-Fi 断了 3 天，it doesn't work… Ａ１😡\n",
    "A  b\tc\r\n",
)


class OllamaEngine(ScoringOnly):
    """Category log-probabilities over the whole vocabulary, as far as Ollama tells them; one prefill a call."""

    name = "ollama"

    def __init__(self, ollama: Ollama, model: str, spelling: Spelling, capabilities: Capabilities, slots: int) -> None:
        self._ollama = ollama
        self._server = Remote(ollama.http, HEALTH)
        self._model = model
        self._spelling = spelling
        self._capabilities = capabilities
        self._askers = Askers(self.name, slots)
        self._memory_mb, self._counted_at = 0.0, -math.inf

    @classmethod
    def load(cls, folder: Path, *, url: str, longest_tokens: int, slots: int) -> "OllamaEngine":
        """Make the model of `folder/model.gguf` unless it is there, load it, and make sure that it answers what is asked.

        Raises:
            ConfigurationError: Ollama is too old, or the model's context too short for the longest prompt.
            ModelLoadError: no GGUF file, or Ollama has other weights under its name.
            EngineUnavailable: it does not answer, or not as Ollama does.
        """
        file = gguf_of(folder)
        can = _capabilities(folder, longest_tokens)
        ollama = Ollama(url)
        try:
            ollama.require_log_probabilities()
            name = model_name(file)
            made = ollama.create(name, file)
            log.info("ollama model", extra={"model": name, "digest": made.digest})
            engine = cls(ollama, name, Spelling.load(folder), can, slots)
            engine._require_our_tokens()
            engine._require_raw()
        except BaseException:
            ollama.close()
            raise
        return engine

    def score(self, prompts: Sequence[Sequence[int]], category_ids: Sequence[int], head_tokens: int) -> Scores:
        """Score prompts given as token ids. One that no text stands for gets no label mass, so that a person looks at it: a call
        that spells a control token, or was cut within a character.

        Raises:
            ConfigurationError: a prompt or the categories are more than the capabilities allow, or a category has no text of its own.
            RowsFailed: Ollama does not answer to some, or not as it does.
            EngineUnavailable: the engine was closed.
        """
        require_within(self.name, self._capabilities, prompts, category_ids)
        words = [self._word(i) for i in category_ids]
        rows, failed = self._askers.each(lambda prompt: self._row(prompt, words), prompts)
        return likeliest.scores(rows, failed, len(category_ids))

    def healthy(self) -> bool:
        return not self._askers.is_closed and self._server.is_running

    def memory_mb(self) -> float:
        """What Ollama said a moment ago that the model takes."""
        if time.monotonic() - self._counted_at > MEMORY_S:
            self._counted_at = time.monotonic()
            with suppress(EngineUnavailable):  # whether it answers is told by `healthy` and by the calls
                self._memory_mb = self._ollama.held_mb().get(self._model, 0.0)
        return self._memory_mb

    def close(self) -> None:
        """Let Ollama free the memory; the model stays on its disk."""
        if not self._askers.is_closed:
            self._askers.close()
            if self._server.is_running:
                self._ollama.http.reply("/api/generate", {"model": self._model, "keep_alive": 0})
            self._ollama.close()

    def _word(self, category_id: int) -> str:
        word = self._spelling.word(category_id)
        if word is None:
            raise ConfigurationError(
                f"token {category_id} of a category is no text of its own, and engine ollama answers in text; give the category "
                "another code in the taxonomy, or use another serve.engine"
            )
        return word

    def _row(self, prompt: Sequence[int], words: Sequence[str]) -> likeliest.Row:
        text = self._spelling.text(prompt)
        if text is None:
            log.warning(
                "a call has no text that is read as its tokens; it goes to a person", extra={"tokens": len(prompt)}
            )
            return likeliest.unscored(len(words))
        named = self._likeliest(text, len(prompt))
        return likeliest.complete(_as_ids(named, words), range(len(words)))

    def _likeliest(self, text: str, tokens: int, temperature: float = 0.0) -> list[tuple[str, float]]:
        """Text and log-probability of the 20 likeliest tokens."""
        answer = self._generated(
            {
                **{"prompt": text, "raw": True, "logprobs": True, "top_logprobs": TOP},
                # It leaves the log-probabilities out when its answer is no text yet, as one byte of a Chinese character is not. What it
                # answers is of no interest, a quotation mark then, and that does not touch them.
                **{"format": {"type": "string"}},
            },
            temperature,
        )
        try:
            [first] = answer["logprobs"]
            named = [(str(t["token"]), float(t["logprob"])) for t in (first, *first["top_logprobs"])]
            read = int(answer["prompt_eval_count"])
        except (KeyError, TypeError, ValueError) as error:
            raise EngineUnavailable(f"Ollama's answer lacks {error}; {TRIED}") from error
        if read != tokens:
            raise EngineUnavailable(f"Ollama read {read} tokens where {tokens} were written; {TRIED}")
        return [(token, p if p > NO_PROBABILITY else -math.inf) for token, p in named]

    def _generated(self, body: Mapping[str, object], temperature: float = 0.0) -> dict[str, Any]:
        """One token. Without num_ctx, truncate and shift a long prompt is silently cut; without think a model that can think does."""
        options = {"num_predict": 1, "temperature": temperature, "stop": []}
        options["num_ctx"] = self._capabilities.max_prompt_tokens + 2
        whole = {"truncate": False, "shift": False, "think": False, "stream": False, "keep_alive": -1}
        status, answer = self._ollama.http.reply(
            "/api/generate", {**whole, **body, "model": self._model, "options": options}
        )
        if status != 200 or not isinstance(answer, dict):
            raise EngineUnavailable(f"Ollama answered {status}: {reason(answer)}")
        return answer

    def _require_our_tokens(self) -> None:
        """Ollama reads texts as the ids that our tokenizer gives them.

        Raises:
            ModelLoadError: it does not.
        """
        for text in (*PROBES, "".join(f"{control}\n{PROBES[0]}" for control in self._spelling.controls)):
            # Not raw, it tells the ids that it read, and behind them those that it answered.
            answer = self._generated({"prompt": text, "template": "{{ .Prompt }}"})
            ids = self._spelling.ids(text)
            told = answer.get("context")
            read = answer.get("prompt_eval_count")
            if read != len(ids) or (told is not None and told[: len(ids)] != ids):
                raise ModelLoadError(
                    f"Ollama reads a text of {len(ids)} tokens as {read} others; its model was not made of this folder's tokenizer. "
                    "Use engine llamacpp, which takes token ids"
                )

    def _require_raw(self) -> None:
        """Proof that the log-probabilities are those before sampling, and that the longest prompt has room.

        Raises:
            EngineUnavailable: they are not.
        """
        text, ids = PROBES[0], self._spelling.ids(PROBES[0])
        cold, hot = (dict(self._likeliest(text, len(ids), temperature)) for temperature in (0.0, 2.0))
        shared = cold.keys() & hot.keys()
        if (
            len(shared) < TOP // 2
            or any(abs(cold[t] - hot[t]) > SAME for t in shared)
            or sum(map(math.exp, cold.values())) > 1.01
        ):
            raise EngineUnavailable(
                f"Ollama's log-probabilities change with the temperature, so they are not raw; {TRIED}"
            )
        filled = (self._spelling.controls[:1] or ("A",))[0] * (longest := self._capabilities.max_prompt_tokens)
        if len(self._spelling.ids(filled)) == longest:
            self._likeliest(filled, longest)


def _capabilities(folder: Path, longest_tokens: int) -> Capabilities:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    can = Capabilities(
        exact_ids=False,
        max_categories=MAX_CATEGORIES,
        max_prompt_tokens=min(longest_tokens, int(config["max_position_embeddings"]) - 2),
        raw_logprobs=True,
        adapters=False,
        generation=False,
    )
    require_within(OllamaEngine.name, can, [range(longest_tokens)], ())
    return can


def _as_ids(named: Sequence[tuple[str, float]], words: Sequence[str]) -> dict[int, float]:
    """Tokens by the place of their word among `words`; each other one by a number of its own, since texts of broken bytes look alike."""
    place = {word: at for at, word in enumerate(words)}
    first, *top = named
    known = {place.get(token, -1 - at): p for at, (token, p) in enumerate(top)}
    return known if first in top or first[0] not in place else {**known, place[first[0]]: first[1]}
