"""Around every request: its id, size limit, time and log line, and the last word when something unexpected happens."""

import logging
import re
import time
import uuid

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.service import logs
from deploy.service.metrics import Metrics
from deploy.service.problems import problem

log = logging.getLogger(__name__)
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
INFERENCE = ("/api/v1/classify",)


class Boundary:
    """ASGI middleware, outermost."""

    def __init__(self, app: ASGIApp, metrics: Metrics, max_body_bytes: int) -> None:
        self.app = app
        self.metrics = metrics
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self.max_body_bytes)
        started = time.monotonic()
        self.metrics.active.inc()
        try:
            await self._answer(exchange)
        finally:
            self.metrics.active.dec()
            self._note(exchange, time.monotonic() - started)

    async def _answer(self, exchange: "_Exchange") -> None:
        try:
            if exchange.announced_bytes > self.max_body_bytes:
                await problem(Request(exchange.scope), 413, "body_too_large")(
                    exchange.scope, exchange.receive, exchange.send
                )
                return
            await self.app(exchange.scope, exchange.receive, exchange.send)
        except Exception as error:  # the outermost boundary: logged without its message, answered as 500
            log.error(
                "unexpected",
                extra={"error": type(error).__name__, "where": logs.where(error), "request_id": exchange.id},
            )
            if not exchange.status:
                await problem(Request(exchange.scope), 500, "internal_error")(
                    exchange.scope, exchange.receive, exchange.send
                )

    def _note(self, exchange: "_Exchange", seconds: float) -> None:
        path, status = exchange.scope["path"], exchange.status or 499
        if path not in INFERENCE:
            return
        self.metrics.request(path, status, seconds)
        extra = {
            "request_id": exchange.id,
            "path": path,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "bytes": exchange.received,
        }
        log.log(logging.WARNING if status >= 500 else logging.INFO, "request", extra=extra)


class _Exchange:
    """One request and its answer, measured while they pass."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body_bytes: int) -> None:
        headers = {k.lower(): v.decode("latin-1") for k, v in scope["headers"]}
        given = headers.get(b"x-request-id", "")
        self.id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        self.announced_bytes = int(n) if (n := headers.get(b"content-length", "0")).isdigit() else 0
        self.scope = scope
        self.scope.setdefault("state", {})["request_id"] = self.id
        self.received = 0
        self.status = 0
        self._receive, self._send, self._max_body_bytes = receive, send, max_body_bytes

    async def receive(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        if self.received > self._max_body_bytes:
            raise HTTPException(413)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", []), (b"x-request-id", self.id.encode())]
        await self._send(message)
