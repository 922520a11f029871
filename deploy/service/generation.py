"""The endpoints of slot `generate`: a text, a continuation, an answer that was thought about. Field names are promised (S2, S3)."""

from typing import Annotated, Literal

from fastapi import Body, FastAPI, Request
from pydantic import Field

from data_contracts.schema import Frozen
from deploy.service import document
from deploy.service.answers import NUMBER, WHOLE
from deploy.service.attend import while_connected
from deploy.service.generator import Generator
from deploy.service.problems import Refused
from deploy.service.slots import Slots
from deploy.service.written import MOST_TOKENS, Ask, Ending

INFERENCE = Body(openapi_examples=document.INFERENCE)
GENERATE = Body(openapi_examples=document.GENERATE)
THINKING = Body(openapi_examples=document.THINKING)
THINKING_TEMPERATURE = 0.6
"""As Qwen recommends; a greedy thought runs in circles."""
Question = Annotated[str, Field(min_length=1)]
MaxTokens = Annotated[int, Field(ge=1, le=MOST_TOKENS), NUMBER]
Temperature = Annotated[float, Field(ge=0, le=2), NUMBER]


class InferenceAsked(Frozen):
    """`max_tokens` of the answer; `temperature` 0 gives the same answer every time."""

    text: Question
    max_tokens: MaxTokens | None = None
    temperature: Temperature = 0.7


class Inference(Frozen):
    """`tokens_used`: tokens of the answer; `response_time` in seconds."""

    result: str
    tokens_used: int
    response_time: float


class GenerateAsked(Frozen):
    """`max_length` counts new tokens."""

    prompt: Question
    max_length: MaxTokens | None = None
    temperature: Temperature = 0.7


class Generated(Frozen):
    """`finish_reason`: `stop`: it ended by itself; `length`: at `max_length`; `time`: at serve.generate.limit_s."""

    generated_text: str
    finish_reason: Literal["stop", "length", "time"]
    prompt_tokens: int
    tokens_used: int
    response_time: float
    model_version: str


class ThinkingAsked(Frozen):
    """`thinking_depth`: from 1, a short thought, to 5; it sets how many tokens the thinking may have. `max_tokens`: of the answer."""

    question: Question
    thinking_depth: Annotated[int, Field(ge=1, le=5), NUMBER] = 3
    max_tokens: MaxTokens | None = None


class Thought(Frozen):
    """`thinking_cut`: the budget was spent, and the answer follows what was thought until then."""

    thinking: str
    final_answer: str
    thinking_depth: int
    thinking_tokens: int
    thinking_cut: bool
    finish_reason: Literal["stop", "length", "time"]
    tokens_used: int
    response_time: float
    model_version: str


def add_generation(app: FastAPI, slots: Slots) -> None:
    """Add the routes; where nothing generates they say so."""
    _add_generate(app, slots)
    _add_thinking(app, slots)


def _add_generate(app: FastAPI, slots: Slots) -> None:
    @app.post("/api/v1/inference", response_model=Inference)
    async def inference(request: Request, asked: Annotated[InferenceAsked, WHOLE, INFERENCE]) -> Inference:
        """Answer a text, without thinking."""
        ask = _ask(asked.text, asked.max_tokens, asked.temperature)
        _, text, ending = await _written(request, slots.generator, ask)
        return Inference(result=text, tokens_used=ending.new_tokens, response_time=round(ending.seconds, 4))

    @app.post("/generate", response_model=Generated)
    async def generate(request: Request, asked: Annotated[GenerateAsked, WHOLE, GENERATE]) -> Generated:
        """Answer a prompt, without thinking."""
        generator = slots.generator
        _, text, ending = await _written(request, generator, _ask(asked.prompt, asked.max_length, asked.temperature))
        return Generated(
            generated_text=text,
            finish_reason=ending.finish,
            prompt_tokens=ending.prompt_tokens,
            tokens_used=ending.new_tokens,
            response_time=round(ending.seconds, 4),
            model_version=generator.served.model_version,
        )


def _add_thinking(app: FastAPI, slots: Slots) -> None:
    @app.post("/thinking", response_model=Thought)
    async def thinking(request: Request, asked: Annotated[ThinkingAsked, WHOLE, THINKING]) -> Thought:
        """Think about a question, then answer it; the thinking and the answer apart. 409 where the model cannot think."""
        generator = slots.generator
        if not generator.dialogue.can_think:
            raise Refused(409, "cannot_think", version=generator.served.model_version)
        budget = generator.limits.thinking_tokens[asked.thinking_depth - 1]
        messages = ({"role": "user", "content": asked.question},)
        ask = Ask(messages, asked.max_tokens, thinking_tokens=budget, temperature=THINKING_TEMPERATURE, top_p=0.95)
        thought, text, ending = await _written(request, generator, ask)
        return Thought(
            thinking=thought.strip(),
            final_answer=text,
            thinking_depth=asked.thinking_depth,
            thinking_tokens=ending.thinking_tokens,
            thinking_cut=ending.is_cut,
            finish_reason=ending.finish,
            tokens_used=ending.new_tokens,
            response_time=round(ending.seconds, 4),
            model_version=generator.served.model_version,
        )


def _ask(text: str, max_tokens: int | None, temperature: float) -> Ask:
    return Ask(({"role": "user", "content": text},), max_tokens=max_tokens, temperature=temperature, top_p=0.95)


async def _written(request: Request, generator: Generator, ask: Ask) -> tuple[str, str, Ending]:
    """Thinking, text and account of a text, whole."""
    return await while_connected(request, collect(generator, ask))


async def collect(generator: Generator, ask: Ask) -> tuple[str, str, Ending]:
    """All of a text at once."""
    ending, pieces = await generator.begin(ask)
    said = [piece async for piece in pieces]
    return "".join(s.thinking for s in said), "".join(s.text for s in said), ending
