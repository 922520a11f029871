"""HTTP on the wire, patient up to a limit: a caller that trickles its request, or does not take its answer, is cut off.

uvicorn by itself waits for ever for a first byte, for the rest of the headers or of a body, and for a full buffer to drain.
"""

import asyncio
import resource
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

OWN_FILES = 64
"""Kept free of callers: an engine that dies is started again however many hang on."""
UNLIMITED = 2**20


class Patient(H11Protocol):
    """One connection. A request has `limit_s` from its first byte (the first from the connection) to its last."""

    limit_s: Callable[[], float]
    most: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asking: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
            return
        self._asking = self._cut_off_later()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            _cancel(self._asking)
            self._asking = None
        elif self._asking is None:
            self._asking = self._cut_off_later()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking = self._cut_off_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._taking)

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._asking)
        _cancel(self._taking)
        super().connection_lost(exc)

    def _cut_off_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.limit_s(), self.transport.abort)


def patient(timeout_s: Callable[[], float]) -> type[Patient]:
    """The protocol with this limit, as uvicorn wants it: a class. As many connections as files may be open, but for OWN_FILES."""
    files = _most_files()

    class Limited(Patient):
        limit_s = staticmethod(timeout_s)
        most = max(files - OWN_FILES, 1)

    return Limited


def _most_files() -> int:
    """As many as the system lets this process have open, from now on."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most == resource.RLIM_INFINITY:
        return UNLIMITED
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
