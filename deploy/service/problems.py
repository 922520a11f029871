"""What a caller is told when a request fails: RFC 9457 problem documents with a stable code, in both languages."""

from collections.abc import Sequence
from math import ceil

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from data_contracts.errors import EngineUnavailable
from data_contracts.messages import say
from data_contracts.schema import Frozen

HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}


class Wrong(Frozen):
    """One wrong field of a request; never its value, which may be a transcript."""

    field: str
    message: str


class Problem(Frozen):
    """RFC 9457, plus `code` (stable), the Chinese detail, the request's id and the wrong fields."""

    type: str
    title: str
    status: int
    detail: str
    detail_zh: str
    code: str
    request_id: str
    errors: tuple[Wrong, ...] = ()


def problem(
    request: Request,
    status: int,
    code: str,
    *,
    retry_after_s: float | None = None,
    errors: Sequence[Wrong] = (),
    **values: object,
) -> JSONResponse:
    """The answer to a failed request."""
    en, zh = say(code, **values)
    body = Problem(
        type=f"urn:tingsu:problem:{code}",
        title=code.replace("_", " "),
        status=status,
        detail=en,
        detail_zh=zh,
        code=code,
        request_id=request.scope.get("state", {}).get("request_id", ""),
        errors=tuple(errors),
    )
    headers = {} if retry_after_s is None else {"Retry-After": str(max(1, ceil(retry_after_s)))}
    return JSONResponse(body.model_dump(mode="json"), status, headers, media_type="application/problem+json")


async def on_engine(request: Request, error: Exception) -> JSONResponse:
    """Overload, deadline or engine trouble: 503, and when to come back."""
    code = error.code if isinstance(error, EngineUnavailable) else EngineUnavailable.code
    wait_s = float(getattr(error, "retry_after_s", 2.0))
    return problem(request, 503, code, retry_after_s=wait_s, seconds=max(1, ceil(wait_s)))


async def on_invalid(request: Request, error: Exception) -> JSONResponse:
    """The body is not a call: 422, naming fields."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    errors = [
        Wrong(field=".".join(str(p) for p in e["loc"] if p != "body") or "body", message=str(e["msg"]))
        for e in found[:20]
    ]
    return problem(request, 422, "invalid_request", errors=errors, fields=", ".join(e.field for e in errors))


async def on_http(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses: wrong path, wrong method, too large a body, a body that cannot be read."""
    status = error.status_code if isinstance(error, HTTPException) else 400
    return problem(
        request,
        status,
        HTTP_CODES.get(status, "invalid_request"),
        fields="body",
        path=request.url.path,
        method=request.method,
    )
