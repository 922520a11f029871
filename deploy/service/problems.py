"""What a caller is told when a request fails: RFC 9457 problem documents with a stable code, in both languages.

Below `/v1/` callers expect OpenAI's shape and get it, with the same codes and sentences.
"""

import logging
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from data_contracts.errors import EngineUnavailable
from data_contracts.messages import say
from data_contracts.schema import Frozen

log = logging.getLogger(__name__)
MEDIA = "application/problem+json"
HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
OPENAI = "/v1/"
OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


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


class OpenAIError(Frozen):
    """OpenAI's error, plus the Chinese message and the request's id. `param` names the wrong field, if one is."""

    message: str
    message_zh: str
    type: str
    param: str | None
    code: str
    request_id: str


class OpenAIProblem(Frozen):
    """What fails below `/v1/`."""

    error: OpenAIError


class Refused(HTTPException):
    """A request that is answered with a problem: HTTP status, message code and the values of the message."""

    def __init__(self, status: int, code: str, retry_after_s: float | None = None, **values: Any) -> None:
        super().__init__(status, code)
        self.code = code
        self.retry_after_s = retry_after_s
        self.values = values


def problem(
    request: Request,
    status: int,
    code: str,
    *,
    retry_after_s: float | None = None,
    errors: Sequence[Wrong] = (),
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> JSONResponse:
    """The answer to a failed request."""
    all_headers = dict(headers or {})
    if retry_after_s is not None:
        all_headers["Retry-After"] = str(max(1, ceil(retry_after_s)))
    if status == 401:
        all_headers["WWW-Authenticate"] = "Bearer"
    compose, media = (_openai, "application/json") if is_openai(request) else (_problem, MEDIA)
    body = compose(request, status, code, errors, values)
    return JSONResponse(body.model_dump(mode="json"), status, all_headers, media_type=media)


def is_openai(request: Request) -> bool:
    """Whether the caller speaks OpenAI's dialect."""
    return str(request.scope["path"]).startswith(OPENAI)


def _problem(request: Request, status: int, code: str, errors: Sequence[Wrong], values: Mapping[str, object]) -> Frozen:
    en, zh = say(code, **values)
    return Problem(
        type=f"urn:tingsu:problem:{code}",
        title=code.replace("_", " "),
        status=status,
        detail=en,
        detail_zh=zh,
        code=code,
        request_id=_id(request),
        errors=tuple(errors),
    )


def _openai(request: Request, status: int, code: str, errors: Sequence[Wrong], values: Mapping[str, object]) -> Frozen:
    return OpenAIProblem(error=_openai_error(_id(request), status, code, errors, values))


def _openai_error(
    request_id: str, status: int, code: str, errors: Sequence[Wrong], values: Mapping[str, object]
) -> OpenAIError:
    en, zh = say(code, **values)
    said = "".join(f"; {e.field}: {e.message}" for e in errors)
    param = values.get("param") or (errors[0].field if errors else None)
    return OpenAIError(
        message=en + said,
        message_zh=zh,
        type="server_error" if status >= 500 else OPENAI_TYPES.get(status, "invalid_request_error"),
        param=None if param is None else str(param),
        code=code,
        request_id=request_id,
    )


def _id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))


async def on_engine(request: Request, error: Exception) -> JSONResponse:
    """Overload, deadline or engine trouble: 503, and when to come back."""
    code, wait_s = _trouble(error, _id(request))
    return problem(request, 503, code, retry_after_s=wait_s, seconds=max(1, ceil(wait_s)))


def broken_off(error: EngineUnavailable, request_id: str) -> OpenAIProblem:
    """The same, where an answer had begun: what ends a stream of OpenAI's dialect."""
    code, wait_s = _trouble(error, request_id)
    return OpenAIProblem(error=_openai_error(request_id, 503, code, (), {"seconds": max(1, ceil(wait_s))}))


def _trouble(error: Exception, request_id: str) -> tuple[str, float]:
    """Code, and seconds to wait. An engine's own words are for the operator, so the log alone has them."""
    code = error.code if isinstance(error, EngineUnavailable) else EngineUnavailable.code
    if code == EngineUnavailable.code:
        log.error("engine unavailable", extra={"reason": str(error), "request_id": request_id})
    return code, float(getattr(error, "retry_after_s", 2.0))


async def on_memory(request: Request, error: Exception) -> JSONResponse:
    """A call for which the engine has no memory, though it is alone: 413; the engine goes on."""
    return problem(request, 413, "call_too_large", at=getattr(error, "at", 1))


async def on_invalid(request: Request, error: Exception) -> JSONResponse:
    """The body is not what is asked for: 422, naming fields; 400 in OpenAI's dialect."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    errors = [Wrong(field=_field(e), message=_message(e)) for e in found[:20]]
    fields = ", ".join(e.field for e in errors)
    if not is_openai(request):
        return problem(request, 422, "invalid_request", errors=errors, fields=fields, path=request.scope["path"])
    whole = [e for e in found if e["type"] in PARAMETERS and len(_path(e)) == 1]
    code, param = (whole[0]["type"], _field(whole[0])) if whole else ("", "")
    if code:
        return problem(request, 400, PARAMETERS[code], param=param)
    return problem(request, 400, "invalid_chat", errors=errors, fields=fields)


PARAMETERS = {"extra_forbidden": "unknown_parameter", "unsupported_parameter": "unsupported_parameter"}
"""What pydantic says of a field → our code, where a field as a whole is refused."""


def _field(error: Mapping[str, Any]) -> str:
    return ".".join(_path(error)) or "body"


def _path(error: Mapping[str, Any]) -> list[str]:
    """Where in the body; which of two models was asked is no part of it."""
    path = [str(p) for p in error["loc"] if p != "body"]
    return path[1:] if path[:1] in (["complaints"], ["generate"]) else path


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "union_tag_invalid":  # pydantic's own sentence quotes the value
        return f"Input should be one of {error['ctx']['expected_tags']}"
    return str(error["msg"])


async def on_http(request: Request, error: Exception) -> JSONResponse:
    """What we refuse, and what the framework does: wrong path, wrong method, a body that cannot be read."""
    if isinstance(error, Refused):
        status = 400 if error.status_code == 422 and is_openai(request) else error.status_code
        return problem(request, status, error.code, retry_after_s=error.retry_after_s, **error.values)
    status = error.status_code if isinstance(error, HTTPException) else 400
    headers = {"Allow": _allowed(request)} if status == 405 else getattr(error, "headers", None)
    code = HTTP_CODES.get(status, "invalid_chat" if is_openai(request) else "invalid_request")
    return problem(
        request, status, code, headers=headers, fields="body", path=request.scope["path"], method=request.method
    )


def _allowed(request: Request) -> str:
    """Every method of the path; the framework names those of one of its routes."""
    from starlette.routing import Match, Route

    routes = [route for route in request.app.routes if isinstance(route, Route)]
    found = [route.methods or set() for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted(set().union(*found)))
