"""The LMDeploy engine: a model in LMDeploy's api_server, started by us in its own environment or found at an address.

Both backends are asked with token ids (`POST /generate`). PyTorch gives raw log-probabilities and scores a category that is not among
the likeliest by a prefill of its own. TurboMind gives them after temperature, penalties and truncation, so every request switches
these off; it names at most 1024 tokens, and a category beyond them gets the most that it may have.
"""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_contracts.errors import ConfigurationError, EngineUnavailable, ModelLoadError
from deploy.engines import Capabilities, Scores, ScoringOnly, likeliest, lmdeploy_server, require_within
from deploy.engines.askers import Askers
from deploy.engines.http import Http, reason
from deploy.engines.lmdeploy_server import Backend, Server, Started
from deploy.engines.server import EngineServer, Remote
from deploy.lmdeploy import environment

FIRST_TOP = 64
"""Likeliest tokens asked for at first; more as soon as several categories were not among them."""
MOST_TOP, FEW = 1024, 4
NEUTRAL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
"""Explicitly: what a request leaves out is taken from LMDeploy's defaults, which truncate."""
DRAWS = 3
"""TurboMind fails where the token it drew is not among the 1024 it names; another draw is."""
PROBE = tuple(range(1, 9))
"""Any tokens but 0, which pads: in a model without one of its own every token would be as likely behind it."""
SAME = 0.05
"""Of a log-probability asked twice: batches round otherwise."""
TRIED = f"tried was LMDeploy {environment.version()}"


class LMDeployEngine(ScoringOnly):
    """Category log-probabilities over the whole vocabulary, one prefill a call; the server batches what comes at once."""

    name = "lmdeploy"

    def __init__(self, server: Server, backend: Backend, capabilities: Capabilities, slots: int) -> None:
        self._server = server
        self.backend = backend
        self._capabilities = capabilities
        self._askers = Askers(self.name, slots)
        self._top, self._most = FIRST_TOP, min(MOST_TOP, capabilities.max_categories)

    @classmethod
    def start(cls, folder: Path, how: Started, longest_tokens: int) -> "LMDeployEngine":
        """Start a server on a model folder and make sure that it runs what it was told to.

        Raises:
            ConfigurationError: the model's context is too short for the longest prompt.
            ModelLoadError: it does not start, or runs something else; its last lines.
            EngineUnavailable: it does not start in time, or its numbers are not raw.
        """
        can = _capabilities(how.backend, folder, longest_tokens)
        server = EngineServer(lmdeploy_server.program(folder, how, longest_tokens))
        try:
            server.wait(how.timeout_s)
            return cls(server, how.backend, can, how.slots)._tried_out(lmdeploy_server.OURS)
        except BaseException:
            server.close()
            raise

    @classmethod
    def at(cls, url: str, backend: Backend, folder: Path, longest_tokens: int, slots: int) -> "LMDeployEngine":
        """Use the server at `url`, if it serves this folder's model; its key is in TINGSU_LMDEPLOY_KEY.

        Raises:
            ConfigurationError: it refuses the key, or the longest prompt.
            ModelLoadError: it serves another model, or with another backend.
            EngineUnavailable: it does not answer, or its numbers are not raw.
        """
        can = _capabilities(backend, folder, longest_tokens)
        http = Http(
            "LMDeploy", url, os.environ.get(lmdeploy_server.KEY, ""), said=lambda: f"serve.lmdeploy_url is {url}"
        )
        try:
            return cls(Remote(http, "/health"), backend, can, slots)._tried_out(lmdeploy_server.model_name(folder))
        except BaseException:
            http.close()
            raise

    def score(self, prompts: Sequence[Sequence[int]], category_ids: Sequence[int], head_tokens: int) -> Scores:
        """Score prompts given as token ids; a shared head is found by the server itself.

        Raises:
            ConfigurationError: a prompt or the categories are more than the capabilities allow.
            RowsFailed: the server does not answer to some, or not as LMDeploy's does.
            EngineUnavailable: the engine was closed.
        """
        require_within(self.name, self._capabilities, prompts, category_ids)
        rows, failed = self._askers.each(lambda prompt: self._row(prompt, category_ids), prompts)
        return likeliest.scores(rows, failed, len(category_ids))

    def healthy(self) -> bool:
        return not self._askers.is_closed and self._server.is_running

    def memory_mb(self) -> float:
        return self._server.memory_mb()

    def close(self) -> None:
        """End a server of ours; leave another's."""
        self._askers.close()
        self._server.close()

    def _row(self, prompt: Sequence[int], category_ids: Sequence[int]) -> likeliest.Row:
        """One call. Where several categories are not among the likeliest, more are asked for; a few are scored one by one."""
        found = self._likeliest(prompt, self._top)
        missing = [i for i in category_ids if i not in found]
        if len(missing) > (FEW if self.backend == "pytorch" else 0) and self._top < self._most:
            found = self._likeliest(prompt, self._most)
            missing = [i for i in category_ids if i not in found]
            if not missing:
                self._top = min(max(self._top, likeliest.enough(found, category_ids)), self._most)
        if self.backend == "pytorch":
            found |= {i: self._exact(prompt, i) for i in missing}
        return likeliest.complete(found, category_ids)

    def _likeliest(self, prompt: Sequence[int], top: int, **sampling: float) -> dict[int, float]:
        """Token id → log-probability of the `top` likeliest."""
        status, answer = self._drawn(_asking(prompt, top, **sampling))
        if status != 200:
            raise EngineUnavailable(f"LMDeploy answered {status}: {reason(answer)}; {TRIED}")
        try:
            meta = answer["meta_info"]
            pairs = [*meta["output_top_logprobs"][0], *meta["output_token_logprobs"]]
            read = int(meta["prompt_tokens"])
            found = {int(i): -math.inf if p is None else float(p) for p, i in pairs}
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise EngineUnavailable(f"LMDeploy's answer lacks {error}; {TRIED}") from error
        if read != len(prompt):
            raise EngineUnavailable(f"LMDeploy read {read} tokens of a prompt of {len(prompt)}; {TRIED}")
        return found

    def _drawn(self, body: dict[str, object]) -> tuple[int, Any]:
        for _ in range(DRAWS if self.backend == "turbomind" else 1):
            status, answer = self._server.http.reply("/generate", body)
            if status != 500:
                break
        return status, answer

    def _exact(self, prompt: Sequence[int], category_id: int) -> float:
        """One token's log-probability after the prompt, by a prefill of its own and no sampling."""
        status, answer = self._scored(prompt, category_id)
        if status != 200:
            raise EngineUnavailable(f"LMDeploy answered {status}: {reason(answer)}; {TRIED}")
        try:
            [(logprob, token)] = answer["meta_info"]["input_token_logprobs"]
        except (KeyError, TypeError, ValueError) as error:
            raise EngineUnavailable(f"LMDeploy's scores lack {error}; {TRIED}") from error
        if token != category_id:
            raise EngineUnavailable(f"LMDeploy scored token {token} instead of {category_id}; {TRIED}")
        return -math.inf if logprob is None else float(logprob)

    def _scored(self, prompt: Sequence[int], category_id: int) -> tuple[int, Any]:
        body = {"input_ids": [*prompt, category_id], "max_tokens": 0, "logprob_start_len": len(prompt) - 1}
        return self._server.http.reply("/generate", {**body, "return_logprob": True})

    def _tried_out(self, model: str) -> "LMDeployEngine":
        """Itself, once the server has shown what it runs."""
        lmdeploy_server.require_model(self._server.http, model)
        self._require_backend()
        self._require_raw()
        longest = self._capabilities.max_prompt_tokens
        status, answer = self._drawn(_asking([0] * longest, 1))
        if status == 400:
            raise ConfigurationError(
                f"LMDeploy refuses a prompt of {longest} tokens ({reason(answer)}); start it with --session-len {longest + 2}, or "
                "lower prompt.max_call_tokens"
            )
        return self

    def _require_backend(self) -> None:
        """Only PyTorch scores a token of the prompt.

        Raises:
            ModelLoadError: the other backend runs.
        """
        status, answer = self._scored(PROBE, 0)
        if status != 200 and "PyTorch" not in reason(answer):
            raise ModelLoadError(
                f"LMDeploy gives no log-probabilities ({status}: {reason(answer)}); start it with --logprobs-mode raw_logprobs"
            )
        runs = "pytorch" if status == 200 else "turbomind"
        if runs != self.backend:
            raise ModelLoadError(
                f"LMDeploy runs backend {runs}, not {self.backend}, and what one computes was not measured with the other. Start "
                f"it with --backend {self.backend}, or make the bundle with serve.lmdeploy_backend={runs}"
            )

    def _require_raw(self) -> None:
        """Proof that what is returned are log-probabilities over every token id, which no sampling has touched.

        Raises:
            EngineUnavailable: they are not.
        """
        top = self._capabilities.max_categories
        plain, hot = self._likeliest(PROBE, top), self._likeliest(PROBE, top, temperature=2.0)
        total = sum(map(math.exp, plain.values()))
        is_whole = total > 0.999 or self.backend == "turbomind"
        if len(plain) < top or total > 1.001 or not is_whole:
            raise EngineUnavailable(
                f"LMDeploy named {len(plain)} of {top} tokens, of probability {total:.4f} together: not what the model gives "
                f"each token; {TRIED}"
            )
        first, *others = sorted(plain.keys() & hot.keys(), key=lambda i: -plain[i])[:FIRST_TOP]
        factor = 1 if self.backend == "pytorch" else 2  # TurboMind's are of the tempered distribution
        off = max(abs(plain[first] - plain[i] - factor * (hot[first] - hot[i])) for i in others)
        if off > SAME:
            raise EngineUnavailable(
                f"LMDeploy's {self.backend} backend answers temperature 2 otherwise than it should, so its log-probabilities are "
                f"not raw; start it with --logprobs-mode raw_logprobs ({TRIED})"
            )


def _capabilities(backend: Backend, folder: Path, longest_tokens: int) -> Capabilities:
    """What either backend can do with this model.

    Raises:
        ConfigurationError: its context is too short for the longest prompt.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    context = int(config.get("max_position_embeddings") or longest_tokens + 2)
    can = Capabilities(
        exact_ids=True,
        max_categories=config["vocab_size"] if backend == "pytorch" else min(MOST_TOP, config["vocab_size"]),
        max_prompt_tokens=min(
            longest_tokens, context - 2
        ),  # the answer, and a category that is scored behind the prompt
        raw_logprobs=backend == "pytorch",
        adapters=False,
        generation=False,
    )
    require_within(LMDeployEngine.name, can, [range(longest_tokens)], ())
    return can


def _asking(prompt: Sequence[int], top: int, **sampling: float) -> dict[str, object]:
    """For the likeliest tokens. Without ignore_eos the row of a token that ends the answer is cut off."""
    body: dict[str, object] = {**NEUTRAL, **sampling, "input_ids": list(prompt), "max_tokens": 1, "ignore_eos": True}
    return {**body, "return_logprob": True, "top_logprobs_num": top}
