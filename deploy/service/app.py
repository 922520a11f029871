"""The HTTP face of the service: routes, and nothing that computes."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from configs.serving import ServeSettings
from data_contracts.errors import EngineUnavailable, TingsuError
from data_contracts.schema import Call
from deploy.service import document, logs, overdue, problems, route, state
from deploy.service.access import Access
from deploy.service.admin import Desk, add_admin
from deploy.service.answers import RAW_FIELDS, Answer, Answers, Asked, Calls
from deploy.service.attend import while_connected
from deploy.service.boundary import DOCS, Boundary
from deploy.service.chat import add_chat
from deploy.service.generation import add_generation
from deploy.service.live import Live
from deploy.service.problems import Refused
from deploy.service.refusals import CallTooLarge
from deploy.service.slots import Slots

log = logging.getLogger(__name__)
RAW: dict[type, Any] = {Call: RAW_FIELDS, Calls: {"results": {"__all__": RAW_FIELDS}}}
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    slots: Slots,
    live: Live,
    access: Access,
    desk: Desk,
    on_fatal: Callable[[TingsuError], None],
) -> FastAPI:
    """The application over its slots; `on_fatal` hears when an engine can never serve."""
    started = time.monotonic()
    has_docs = access.is_open if live.serve.docs is None else live.serve.docs
    app = _with_page(has_docs)(
        title="Tingsu",
        description="投诉分类与文本生成服务 · complaint classification and text generation",
        lifespan=_lifespan(slots, live, on_fatal),
    )
    app.add_middleware(
        Boundary, metrics=slots.metrics, access=access, max_body_bytes=lambda: int(live.serve.max_body_mb * 2**20)
    )
    app.add_exception_handler(EngineUnavailable, problems.on_engine)
    app.add_exception_handler(CallTooLarge, problems.on_memory)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    app.add_exception_handler(HTTPException, problems.on_http)
    _add_state(app, slots, live, started)
    _add_classify(app, slots, live)
    add_generation(app, slots)
    add_chat(app, slots)
    add_admin(app, slots, desk)
    document.write(app, access)
    return app


def _with_page(has_docs: bool) -> Callable[..., FastAPI]:
    """An application with the page /docs, which loads nothing from elsewhere, or without."""
    if not has_docs:
        return partial(FastAPI, docs_url=None, redoc_url=None)
    from fastapi_offline import FastAPIOffline

    return partial(FastAPIOffline, docs_url=DOCS, redoc_url=None)


def _lifespan(slots: Slots, live: Live, on_fatal: Callable[[TingsuError], None]) -> Lifespan:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = [asyncio.create_task(work) for work in (_run(slots, on_fatal), live.watch(), overdue.watch(slots))]
        yield
        for task in running:
            task.cancel()
        await asyncio.wait(running)

    return lifespan


async def _run(slots: Slots, on_fatal: Callable[[TingsuError], None]) -> None:
    try:
        await slots.run()
    except TingsuError as error:
        on_fatal(error)
    except Exception as error:  # the outermost boundary of this task: a service without it would answer 503 for ever
        log.error("unexpected", extra={"error": type(error).__name__, "where": logs.where(error)})
        on_fatal(TingsuError(f"internal error ({type(error).__name__}); the service ends, and its log says where"))


def _add_state(app: FastAPI, slots: Slots, live: Live, started: float) -> None:
    @app.get("/health", response_model=state.Health)
    async def health() -> state.Health:
        """Always 200 while the process lives; `status` says what is wrong."""
        return state.health(slots, started)

    @app.get("/ready", response_model=state.Readiness)
    async def ready(request: Request) -> Response:
        """200 once every engine is loaded and its probe passed; 503 before, and while one restarts."""
        if slots.is_ready:
            return JSONResponse(state.Readiness().model_dump())
        wait_s = max(worker.retry_after_s for worker in slots.workers)
        return problems.problem(request, 503, "not_ready", retry_after_s=wait_s, seconds=round(wait_s))

    @app.get("/model_info", response_model=state.ModelInfo | state.GenerationInfo)
    async def model_info(request: Request) -> state.ModelInfo | state.GenerationInfo:
        """The classifier, and in `generate` what generates; that alone where it is alone.

        With the header `X-Tingsu-Side: candidate`, which needs scope admin where keys are asked for, the candidate's.
        """
        return state.model_info(slots, live.info, route.named(request))

    @app.get("/stats", response_model=state.Stats)
    async def stats() -> state.Stats:
        return state.stats(slots, started)

    @app.get("/metrics", response_class=Response)
    async def scrape() -> Response:
        return Response(state.scrape(slots), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_classify(app: FastAPI, slots: Slots, live: Live) -> None:
    @app.post("/api/v1/classify", response_model=Answer | Answers, responses=document.CLASSIFIED)
    async def classify(request: Request, asked: Asked) -> Response:
        """One call (`text` or `turns`) or a batch (`calls`); the answers keep the order."""
        calls = asked.calls if isinstance(asked, Calls) else (asked,)
        _require_within_limits(calls, live.serve)
        found = await while_connected(request, route.classify(request, slots.classifier_slot, calls))
        version, evaluation = found[0].model_version, found[0].evaluation
        answer = (
            Answers(results=tuple(found), model_version=version, evaluation=evaluation)
            if isinstance(asked, Calls)
            else found[0]
        )
        return JSONResponse(answer.model_dump(mode="json", exclude={} if evaluation else RAW[type(asked)]))


def _require_within_limits(calls: Sequence[Call], settings: ServeSettings) -> None:
    """Raises: Refused: too many calls (also those that the queue never has room for), or a call of too many turns."""
    most = min(settings.max_calls_per_request, settings.queue_calls)
    if len(calls) > most:
        raise Refused(413, "too_many_calls", calls=len(calls), limit=most)
    for at, call in enumerate(calls, start=1):
        turns = len(call.turns or ())
        if turns > settings.max_turns:
            raise Refused(413, "too_many_turns", at=at, turns=turns, limit=settings.max_turns)
