"""Around every request: its id, key, size limit, headers, time and log line, and the last word when anything fails."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.service import logs
from deploy.service.access import Access
from deploy.service.metrics import Metrics
from deploy.service.problems import Refused, on_http, problem

log = logging.getLogger(__name__)
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
INFERENCE = ("/api/v1/classify", "/v1/chat/completions", "/api/v1/inference", "/generate", "/thinking")
ADMIN = ("/admin/", "/api/v1/local/")
DOCS = "/docs"
SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
NO_CONTENT = b"default-src 'none'; frame-ancestors 'none'"
DOCS_CONTENT = (
    b"default-src 'none'; frame-ancestors 'none'; connect-src 'self'; img-src 'self' data:; "
    b"script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"
)
"""The documentation page alone loads anything, all of it from here."""


class Boundary:
    """ASGI middleware, outermost."""

    def __init__(self, app: ASGIApp, metrics: Metrics, access: Access, max_body_bytes: Callable[[], int]) -> None:
        self.app = app
        self.metrics = metrics
        self.access = access
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self.max_body_bytes())
        started = time.monotonic()
        self.metrics.active.inc()
        try:
            await self._answer(exchange)
        finally:
            self.metrics.active.dec()
            self._note(exchange, time.monotonic() - exchange.scope["state"].get("since_s", started))

    async def _answer(self, exchange: "_Exchange") -> None:
        request = Request(exchange.scope)
        try:
            key = self.access.admit(exchange.scope["path"], exchange.headers)
            exchange.key = key.name if key else ""
            exchange.scope["state"] |= {"scopes": None if key is None else key.scopes, "key": exchange.key}
            if exchange.announced_bytes > exchange.max_body_bytes:
                raise exchange.too_large(exchange.announced_bytes)
            await self.app(exchange.scope, exchange.receive, exchange.send)
        except Refused as no:
            await (await on_http(request, no))(exchange.scope, exchange.receive, exchange.send)
        except Exception as error:  # the outermost boundary: logged without its message, answered as 500
            log.error(
                "unexpected",
                extra={"error": type(error).__name__, "where": logs.where(error), "request_id": exchange.id},
            )
            if not exchange.status:
                await problem(request, 500, "internal_error")(exchange.scope, exchange.receive, exchange.send)

    def _note(self, exchange: "_Exchange", seconds: float) -> None:
        path, status = exchange.scope["path"], 499 if exchange.is_left else exchange.status or 499
        side = exchange.scope["state"].get("side", "champion")
        if path in INFERENCE and side is not None:
            self.metrics.request(path, status, seconds, side)
        elif path not in INFERENCE and not path.startswith(ADMIN):
            return
        extra = {
            "request_id": exchange.id,
            "path": path,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "bytes": exchange.received,
            **({"side": side} if side != "champion" else {}),
            **({"key": exchange.key} if exchange.key else {}),
        }
        log.log(logging.WARNING if status >= 500 else logging.INFO, "request", extra=extra)


class _Exchange:
    """One request and its answer, measured while they pass."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body_bytes: int) -> None:
        self.headers = {k.lower(): v.decode("latin-1") for k, v in scope["headers"]}
        given = self.headers.get(b"x-request-id", "")
        self.id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.announced_bytes = int(n) if (n := self.headers.get(b"content-length", "0")).isdigit() else 0
        self.scope = scope
        self.scope.setdefault("state", {})["request_id"] = self.id
        self.key = ""
        self.received = 0
        self.status = 0
        self.is_left = False  # by the caller, before the answer
        self.max_body_bytes = max_body_bytes
        self._receive, self._send = receive, send

    async def receive(self) -> Message:
        message = await self._receive()
        self.is_left |= message["type"] == "http.disconnect" and not self.status
        self.received += len(message.get("body", b""))
        if self.received > self.max_body_bytes:
            raise self.too_large(self.received)
        if message["type"] == "http.request":
            self.scope["state"]["arrived_s"] = asyncio.get_running_loop().time()
        return message

    def too_large(self, size: int) -> Refused:
        return Refused(413, "body_too_large", size=size / 2**20, limit=self.max_body_bytes / 2**20)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            content = DOCS_CONTENT if self.scope["path"] == DOCS and self.status == 200 else NO_CONTENT
            own = (*SECURITY, (b"content-security-policy", content), (b"x-request-id", self.id.encode()))
            message["headers"] = [*message.get("headers", []), *own]
        await self._send(message)
