"""OpenAI's endpoints, so that clients made for them work unchanged: `complaints` answers a category key, `generate` a text."""

import time
from datetime import datetime
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import Discriminator, Tag

from deploy.keys import Scope
from deploy.service import chat_answer, document, route, text_answer
from deploy.service.answers import WHOLE
from deploy.service.attend import while_connected
from deploy.service.chat_answer import Completion, ModelCard, ModelCards
from deploy.service.chat_asked import EXAMPLES, MODEL, ChatAsked
from deploy.service.generation import collect
from deploy.service.generator import Generator
from deploy.service.problems import Refused
from deploy.service.slots import Slots
from deploy.service.text_answer import Head, TextCompletion
from deploy.service.text_asked import GENERATE, TextAsked
from deploy.service.written import Said
from deploy.signing import AnyVerdict

STREAM = "text/event-stream"


def _model(body: Any) -> str:
    named = body.get("model") if isinstance(body, dict) else getattr(body, "model", None)
    return GENERATE if named == GENERATE else MODEL


Chat = Annotated[
    Annotated[ChatAsked, WHOLE, Tag(MODEL)] | Annotated[TextAsked, WHOLE, Tag(GENERATE)],
    Discriminator(_model),
    Body(openapi_examples={**EXAMPLES, **document.TEXT_CHAT}),
]


def add_chat(app: FastAPI, slots: Slots) -> None:
    """Add the routes below /v1."""

    @app.get("/v1/models", response_model=ModelCards)
    async def models() -> ModelCards:
        """What `model` may name."""
        return ModelCards(data=tuple(_cards(slots).values()))

    @app.get("/v1/models/{model}", response_model=ModelCard)
    async def model(model: str) -> ModelCard:
        """One of them."""
        return _require(slots, model)

    @app.post("/v1/chat/completions", response_model=Completion | TextCompletion, responses=document.COMPLETED)
    async def chat(request: Request, asked: Chat) -> Response:
        """Model `complaints` classifies the last user message: the content is the category's key, the log-probabilities are
        calibrated, `classification` holds what /api/v1/classify answers. Model `generate` writes, thinking first if it can.
        """
        _require(slots, asked.model)
        _require_scope(request, "classify" if isinstance(asked, ChatAsked) else "generate")
        if isinstance(asked, TextAsked):
            return await _write(request, asked, slots.generator)
        return await _classify(request, asked, slots)


async def _classify(request: Request, asked: ChatAsked, slots: Slots) -> Response:
    found = await while_connected(request, route.classify(request, slots.classifier_slot, (asked.call(),)))
    made = chat_answer.completion(found[0], asked.shares, _id(request), int(time.time()))
    if not asked.stream:
        return JSONResponse(chat_answer.body(made))
    return Response("".join(chat_answer.events(made, asked.has_usage)), media_type=STREAM)


async def _write(request: Request, asked: TextAsked, generator: Generator) -> Response:
    head = Head(_id(request), int(time.time()), generator.served.model_version)
    if not asked.stream:
        thought, text, ending = await while_connected(request, collect(generator, asked.ask()))
        return JSONResponse(text_answer.completion(head, thought, text, ending).model_dump(mode="json"))
    ending, pieces = await generator.begin(asked.ask())

    async def first() -> Said | None:
        return await anext(pieces, None)

    try:
        begun = await while_connected(request, first())  # whatever refuses the text refuses it with a status of its own
    except BaseException:
        await pieces.aclose()
        raise
    return StreamingResponse(text_answer.events(head, begun, pieces, ending, asked.has_usage), media_type=STREAM)


def _cards(slots: Slots) -> dict[str, ModelCard]:
    """The models that are here."""
    made: dict[str, int] = {}
    if slots.classify is not None:
        made[MODEL] = _made(slots.classify.current.served.verdict)
    if slots.generate is not None:
        made[GENERATE] = _made(slots.generate.served.verdict)
    return {name: ModelCard(id=name, created=created) for name, created in made.items()}


def _require(slots: Slots, model: str) -> ModelCard:
    cards = _cards(slots)
    if model not in cards:
        raise Refused(404, "model_not_found", model=model[:100], known=", ".join(cards), param="model")
    return cards[model]


def _require_scope(request: Request, needed: Scope) -> None:
    """Which of the two scopes is needed is known only now."""
    scopes = request.scope["state"]["scopes"]
    if scopes is not None and needed not in scopes:
        raise Refused(403, "scope_missing", path=request.scope["path"], scope=needed, scopes=", ".join(scopes))


def _id(request: Request) -> str:
    return str(request.scope["state"]["request_id"])


def _made(verdict: AnyVerdict | None) -> int:
    """When the verdict was given; under evaluation, now."""
    return int(time.time() if verdict is None else datetime.fromisoformat(verdict.created_at).timestamp())
