"""What OpenAI's clients are answered: a completion whose one token is the category key, with calibrated log-probabilities."""

import json
import math
from collections.abc import Iterator
from typing import Any, Literal

from data_contracts.schema import Frozen
from deploy.service.answers import RAW_FIELDS, Answer
from deploy.service.chat_asked import MODEL

NO_CHANCE = -9999.0  # what OpenAI writes for the logarithm of nothing


class Share(Frozen):
    """A category and the logarithm of its calibrated probability."""

    token: str
    logprob: float
    bytes: tuple[int, ...]


class AnswerShare(Share):
    """The category answered, and the likeliest ones."""

    top_logprobs: tuple[Share, ...]


class Logprobs(Frozen):
    """One entry: the category."""

    content: tuple[AnswerShare, ...]
    refusal: None = None


class Reply(Frozen):
    """The category's key."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(Frozen):
    """There is one."""

    index: Literal[0] = 0
    message: Reply
    logprobs: Logprobs | None
    finish_reason: Literal["stop"] = "stop"


class TokensUsed(Frozen):
    """The prompt as the model read it; the category is one token."""

    prompt_tokens: int
    completion_tokens: int = 1
    total_tokens: int


class Completion(Frozen):
    """OpenAI's completion, and in `classification` the answer of `/api/v1/classify`, with the decision and its reasons."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str = MODEL
    choices: tuple[Choice]
    usage: TokensUsed
    system_fingerprint: str
    classification: Answer


class ModelCard(Frozen):
    """A model of this service."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["tingsu"] = "tingsu"


class ModelCards(Frozen):
    """Every model of this service."""

    object: Literal["list"] = "list"
    data: tuple[ModelCard, ...]


def completion(answer: Answer, shares: int | None, request_id: str, created: int) -> Completion:
    """The answer in OpenAI's shape; `created` in seconds since 1970."""
    return Completion(
        id=f"chatcmpl-{request_id}",
        created=created,
        choices=(Choice(message=Reply(content=answer.category.key), logprobs=_logprobs(answer, shares)),),
        usage=TokensUsed(prompt_tokens=answer.tokens, total_tokens=answer.tokens + 1),
        system_fingerprint=answer.model_version,
        classification=answer,
    )


def body(made: Completion) -> dict[str, Any]:
    """As JSON; the raw numbers are left out unless under evaluation."""
    hidden = {} if made.classification.evaluation else {"classification": RAW_FIELDS}
    return made.model_dump(mode="json", exclude=hidden)


def events(made: Completion, has_usage: bool) -> Iterator[str]:
    """The completion as server-sent events: role, category, end, the usage if it is asked for, and `[DONE]`."""
    full = body(made)
    shared = {key: full[key] for key in ("id", "created", "model", "system_fingerprint")}
    shared |= {"object": "chat.completion.chunk", **({"usage": None} if has_usage else {})}
    choice = full["choices"][0]
    steps = [
        ({"role": "assistant", "content": ""}, None, None),
        ({"content": choice["message"]["content"]}, choice["logprobs"], None),
        ({}, None, "stop"),
    ]
    chunks = [
        {**shared, "choices": [{"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}]}
        for delta, logprobs, reason in steps
    ]
    chunks[-1]["classification"] = full["classification"]
    if has_usage:
        chunks.append({**shared, "choices": [], "usage": full["usage"]})
    yield from (f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n" for chunk in chunks)
    yield "data: [DONE]\n\n"


def _logprobs(answer: Answer, shares: int | None) -> Logprobs | None:
    if shares is None:
        return None
    likeliest = sorted(answer.probabilities.items(), key=lambda pair: -pair[1])[:shares]
    own = _share(answer.category.key, answer.probabilities[answer.category.key])
    top = tuple(_share(key, share) for key, share in likeliest)
    return Logprobs(content=(AnswerShare(**own.model_dump(), top_logprobs=top),))


def _share(key: str, share: float) -> Share:
    return Share(token=key, logprob=math.log(share) if share > 0 else NO_CHANCE, bytes=tuple(key.encode()))
