"""OpenAI's endpoints, so that clients made for them work unchanged: model `complaints` answers a category key."""

import time
from datetime import datetime

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from deploy.service import chat_answer, document
from deploy.service.attend import while_connected
from deploy.service.chat_answer import Completion, ModelCard, ModelCards
from deploy.service.chat_asked import MODEL, Chat
from deploy.service.classifier import Classifier
from deploy.service.problems import Refused
from deploy.service.slots import Slots


def add_chat(app: FastAPI, slots: Slots) -> None:
    """Add the routes below /v1."""

    def card() -> ModelCard:
        return ModelCard(id=MODEL, created=_made(slots.classifier_slot.current))

    @app.get("/v1/models", response_model=ModelCards)
    async def models() -> ModelCards:
        """What `model` may name."""
        return ModelCards(data=(card(),))

    @app.get("/v1/models/{model}", response_model=ModelCard)
    async def model(model: str) -> ModelCard:
        """One of them."""
        _require(model)
        return card()

    @app.post("/v1/chat/completions", response_model=Completion, responses=document.COMPLETED)
    async def chat(request: Request, asked: Chat) -> Response:
        """Classify the last user message. The content is the category's key; the log-probabilities are calibrated.

        `classification` holds what /api/v1/classify answers: the decision (`auto` or `review`) and its reasons too.
        """
        _require(asked.model)
        found = await while_connected(request, slots.classifier_slot.classify((asked.call(),)))
        id = request.scope["state"]["request_id"]
        made = chat_answer.completion(found[0], asked.shares, id, int(time.time()))
        if not asked.stream:
            return JSONResponse(chat_answer.body(made))
        has_usage = asked.stream_options is not None and asked.stream_options.include_usage
        return Response("".join(chat_answer.events(made, has_usage)), media_type="text/event-stream")


def _require(model: str) -> None:
    if model != MODEL:
        raise Refused(404, "model_not_found", model=model[:100], known=MODEL, param="model")


def _made(classifier: Classifier) -> int:
    """When the verdict was given; under evaluation, now."""
    verdict = classifier.served.verdict
    return int(time.time() if verdict is None else datetime.fromisoformat(verdict.created_at).timestamp())
