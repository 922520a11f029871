"""What OpenAI's clients are answered by model `generate`: a completion, whole or piece by piece, the thinking apart from the text."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Literal, NamedTuple

from data_contracts.errors import EngineUnavailable
from data_contracts.schema import Frozen
from deploy.service.problems import broken_off
from deploy.service.written import Ending, Said


class TextReply(Frozen):
    """`reasoning_content`: what was thought, as vLLM and LMDeploy name it; null where nothing was."""

    role: Literal["assistant"] = "assistant"
    content: str
    reasoning_content: str | None = None
    refusal: None = None


class TextChoice(Frozen):
    """There is one."""

    index: Literal[0] = 0
    message: TextReply
    logprobs: None = None
    finish_reason: Literal["stop", "length"]


class ReasoningTokens(Frozen):
    """How many of the new tokens were thought."""

    reasoning_tokens: int


class TextTokensUsed(Frozen):
    """The prompt as the model read it, and what it wrote."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: ReasoningTokens


class TextCompletion(Frozen):
    """OpenAI's completion."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: Literal["generate"] = "generate"
    choices: tuple[TextChoice]
    usage: TextTokensUsed
    system_fingerprint: str


class Head(NamedTuple):
    """What every answer to a request carries; `created` in seconds since 1970."""

    request_id: str
    created: int
    version: str


def completion(head: Head, thought: str, text: str, ending: Ending) -> TextCompletion:
    """The whole text in OpenAI's shape."""
    reply = TextReply(content=text, reasoning_content=thought.strip() or None)
    return TextCompletion(
        id=f"chatcmpl-{head.request_id}",
        created=head.created,
        choices=(TextChoice(message=reply, finish_reason=_finish(ending)),),
        usage=_usage(ending),
        system_fingerprint=head.version,
    )


async def events(
    head: Head, first: Said | None, pieces: AsyncGenerator[Said, None], ending: Ending, has_usage: bool
) -> AsyncIterator[str]:
    """The text as server-sent events while it is written. `first`: the piece that was waited for, to know that there is one.

    An engine that dies in the middle ends the stream with an error, and without `[DONE]`.
    """
    shared: dict[str, Any] = {
        **{"id": f"chatcmpl-{head.request_id}", "created": head.created, "model": "generate"},
        **{"system_fingerprint": head.version, "object": "chat.completion.chunk"},
        **({"usage": None} if has_usage else {}),
    }
    yield _event(shared, {"role": "assistant", "content": ""})
    async with aclosing(pieces):
        try:
            if first is not None and (delta := _delta(first)):
                yield _event(shared, delta)
            async for piece in pieces:
                if delta := _delta(piece):
                    yield _event(shared, delta)
        except EngineUnavailable as error:
            yield _line(broken_off(error, head.request_id).model_dump(mode="json"))
            return
    yield _event(shared, {}, _finish(ending))
    if has_usage:
        yield _line({**shared, "choices": [], "usage": _usage(ending).model_dump(mode="json")})
    yield "data: [DONE]\n\n"


def _delta(piece: Said) -> dict[str, str]:
    thought = {"reasoning_content": piece.thinking} if piece.thinking else {}
    return {**thought, **({"content": piece.text} if piece.text else {})}


def _event(shared: dict[str, Any], delta: dict[str, str], finish: str | None = None) -> str:
    return _line({**shared, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]})


def _line(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"


def _finish(ending: Ending) -> Literal["stop", "length"]:
    """OpenAI knows no limit of time."""
    return "stop" if ending.finish == "stop" else "length"


def _usage(ending: Ending) -> TextTokensUsed:
    return TextTokensUsed(
        prompt_tokens=ending.prompt_tokens,
        completion_tokens=ending.new_tokens,
        total_tokens=ending.prompt_tokens + ending.new_tokens,
        completion_tokens_details=ReasoningTokens(reasoning_tokens=ending.thinking_tokens),
    )
