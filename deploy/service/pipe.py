"""The service's end of the pipe to its engine's process. It never waits: what the other end does not take is kept until it does."""

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

HEADER = struct.Struct("!i")
"""The bytes of a message, before it, as `Connection` of the other end writes and reads them (longer than 2 GB no message is)."""


class Pipe(asyncio.Protocol):
    """Messages in order, both ways. `heard` gets each that arrives; `ended` is called once if the other end closes."""

    def __init__(self, heard: Callable[[Any], None], ended: Callable[[], None]) -> None:
        self._heard, self._ended = heard, ended
        self._arrived = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def send(self, message: object) -> None:
        """Send it when the other end takes it; dropped once either end is closed."""
        data = pickle.dumps(message)
        if self._transport is not None:
            self._transport.write(HEADER.pack(len(data)) + data)

    def close(self) -> None:
        """Neither send nor hear any more."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        while self._transport is not None and (message := self._next()) is not None:
            self._heard(pickle.loads(message))

    def connection_lost(self, _: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self._ended()

    def _next(self) -> bytes | None:
        """The first message that is whole."""
        start = HEADER.size
        if len(self._arrived) < start:
            return None
        end = start + HEADER.unpack_from(self._arrived)[0]
        if len(self._arrived) < end:
            return None
        message = bytes(self._arrived[start:end])
        del self._arrived[:end]
        return message


async def opened(heard: Callable[[Any], None], ended: Callable[[], None]) -> tuple[Pipe, Connection]:
    """Our end, and the one to hand to the process; ours hears of its end only once it is closed here."""
    ours, theirs = socket.socketpair()
    _, pipe = await asyncio.get_running_loop().create_unix_connection(lambda: Pipe(heard, ended), sock=ours)
    return pipe, Connection(theirs.detach())
