"""`POST /completion` of a llama-server, asked in token ids: what it answers, and which tokens it names as the likeliest."""

from codecs import getincrementaldecoder
from collections.abc import Mapping, Sequence
from typing import Any

from data_contracts.errors import EngineUnavailable
from deploy.engines.http import reason
from deploy.engines.llama_server import TRIED
from deploy.engines.server import EngineServer

SURELY = 1000.0
NO_PROBABILITY = -1e30
"""llama-server writes the lowest float for a token whose probability rounds to 0."""
BROKEN_TEXT = "Content-only format"


class BrokenText(EngineUnavailable):
    """The server's answer is no UTF-8, as one that begins within a Chinese character is not, and it fails then (llama.cpp issue 25072)."""


class Completions:
    """Of one server. `letter`: a token that is whole text, for the server to answer with."""

    def __init__(self, server: EngineServer, letter: int) -> None:
        self._server = server
        self._letter = letter

    def ask(self, body: Mapping[str, object]) -> Any:
        """What `POST /completion` answers. Its refusals may quote what it read or wrote, so only their kind is told on.

        Raises:
            EngineUnavailable: it died, or refuses.
            BrokenText: what it wrote is no UTF-8.
        """
        status, answer = self._server.http.reply("/completion", body)
        if status == 200:
            return answer
        if BROKEN_TEXT in reason(answer):
            raise BrokenText("llama-server wrote a part of a character")
        error = answer.get("error") if isinstance(answer, dict) else None
        kind = str(error.get("type"))[:40] if isinstance(error, dict) else "no reason"
        raise EngineUnavailable(f"llama-server answered {status} ({kind}); {TRIED}")

    def read(self, prompt: Sequence[int], slot: int) -> None:
        """Have the slot know a prompt. The server answers with a token even where none is asked for, so it is one that is whole."""
        bias = {"temperature": 0, "logit_bias": [[self._letter, SURELY]]}
        self.ask({"prompt": list(prompt), "n_predict": 0, "id_slot": slot, "cache_prompt": True, **bias})

    def named(self, prompt: Sequence[int], top: int, slot: int) -> list[Mapping[str, Any]]:
        """The `top` likeliest tokens, likeliest first: `id`, `logprob` and `bytes` of each."""
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
        answer = self.ask(body)
        try:
            rows: list[Mapping[str, Any]] = answer["completion_probabilities"][0]["top_logprobs"]
            read = int(answer["tokens_evaluated"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise EngineUnavailable(f"llama-server's answer lacks {error}; {TRIED}") from error
        if read != len(prompt) or answer.get("truncated"):
            raise EngineUnavailable(f"llama-server read {read} tokens of a prompt of {len(prompt)}; {TRIED}")
        return rows


def logprobs(rows: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Token id → log-probability."""
    try:
        found = {int(row["id"]): float(row["logprob"]) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise EngineUnavailable(f"llama-server's probabilities lack {error}; {TRIED}") from error
    return {i: p if p > NO_PROBABILITY else -float("inf") for i, p in found.items()}


def is_refused(row: Mapping[str, Any]) -> bool:
    """Whether the server fails over this token as an answer: over bytes that begin no character, not over a character begun."""
    try:
        getincrementaldecoder("utf-8")().decode(bytes(row["bytes"]))
    except UnicodeDecodeError:
        return True
    return False
