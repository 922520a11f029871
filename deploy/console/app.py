"""The routes of the control plane, and nothing that does anything: that is the backend's."""

import asyncio
from typing import Annotated

from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from data_contracts.errors import (
    ConfigurationError,
    EngineUnavailable,
    GateRefused,
    ResourceInsufficient,
    RolloutFailed,
    StoreUnavailable,
    TingsuError,
)
from deploy.console.backend import Backend, Cleaned, Job, LocalStatus, Wish
from deploy.keys import Scope
from deploy.service import problems
from deploy.service.access import Access
from deploy.service.boundary import Boundary
from deploy.service.metrics import Metrics

DEPLOY, STATUS, CLEANUP = "/api/v1/local/deploy", "/api/v1/local/status", "/api/v1/local/cleanup"
SCOPES_OF: dict[str, tuple[Scope, ...]] = dict.fromkeys((DEPLOY, STATUS, CLEANUP), ("admin",))
STATUS_OF: dict[type[TingsuError], int] = {
    RolloutFailed: 409,
    GateRefused: 409,
    ConfigurationError: 422,
    ResourceInsufficient: 424,
    EngineUnavailable: 503,
    StoreUnavailable: 503,
}
MOST_BYTES = 2**16
EXAMPLES = {
    "champion": {"summary": "部署现役版本", "value": {}},
    "version": {"summary": "晋升并部署指定版本", "value": {"version": 13}},
}


def create_app(backend: Backend, access: Access) -> FastAPI:
    """The application; `access` lets in as the service's does, by the same keys."""
    app = FastAPI(
        title="Tingsu console", description="听诉控制台 · control plane of this machine", docs_url=None, redoc_url=None
    )
    app.add_middleware(Boundary, metrics=Metrics(), access=access, max_body_bytes=lambda: MOST_BYTES)
    app.add_exception_handler(TingsuError, _on_trouble)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    app.add_exception_handler(HTTPException, problems.on_http)
    _add_local(app, backend)
    return app


def _add_local(app: FastAPI, backend: Backend) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the control plane itself is there."""
        return {"status": "healthy"}

    @app.post(DEPLOY, status_code=202, response_model=Job)
    async def deploy(request: Request, wish: Annotated[Wish, Body(openapi_examples=EXAMPLES)]) -> Job:
        """Begin to roll the champion out to this machine, or to promote a version and roll that out. Answers at once; the status tells
        how it goes, and asked again after a crash it goes on where it stopped."""
        return await asyncio.to_thread(backend.deploy, wish, _name(request))

    @app.get(STATUS, response_model=LocalStatus)
    async def status() -> LocalStatus:
        """What serves, the rollout under way or the last one, every part of the stack, and what is missing on this machine."""
        return await asyncio.to_thread(backend.status)

    @app.delete(CLEANUP, response_model=Cleaned)
    async def cleanup(request: Request) -> Cleaned:
        """Stop what serves on this machine and what is staged. Bundles, history and settings stay."""
        return await asyncio.to_thread(backend.cleanup, _name(request))


def _name(request: Request) -> str:
    return str(request.scope["state"].get("key", "")) or "console"


async def _on_trouble(request: Request, error: Exception) -> JSONResponse:
    status = next((status for kind, status in STATUS_OF.items() if isinstance(error, kind)), 500)
    return problems.problem(request, status, "console_refused", reason=error)
