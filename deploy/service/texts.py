"""Texts between the service and its engine's process: many at once over one pipe, each ended when nobody wants it any more.

A text is open until the process says that it works on it no more, whoever still waits for it.
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from data_contracts.errors import EngineUnavailable, TingsuError
from deploy.engines import Engine, Sampling
from deploy.service import logs

BEAT_S = 1.0
"""How often at most a text that has no new token says that it is being worked on."""


@dataclass(frozen=True)
class Begin:
    """Continue this prompt."""

    number: int
    prompt: tuple[int, ...]
    sampling: Sampling


@dataclass(frozen=True)
class Cancel:
    """Nobody wants this text any more."""

    number: int


@dataclass(frozen=True)
class Piece:
    """A token of a text, or its end, or why there is none; with neither, that it is being worked on."""

    number: int
    token: int | None = None
    is_end: bool = False
    failed: str = ""


class _Writing:
    """One text in the engine's process. `send` may block its thread, and only that."""

    def __init__(self, asked: Begin, send: Callable[[object], None]) -> None:
        self.cancelled = threading.Event()
        self._asked = asked
        self._send = send
        self._said_at = time.monotonic()

    def last_word(self, engine: Engine) -> Piece:
        """Write it, and return its end."""
        asked = self._asked
        try:
            with closing(engine.generate(asked.prompt, asked.sampling, self._goes_on)) as tokens:
                for token in tokens:
                    self._say(Piece(asked.number, token))
                    if self.cancelled.is_set():
                        break
        except TingsuError as error:
            return Piece(asked.number, is_end=True, failed=str(error))
        return Piece(asked.number, is_end=True)

    def _goes_on(self) -> bool:
        """Asked by the engine before each step. Whoever counts its silence hears that it takes one."""
        if time.monotonic() - self._said_at > BEAT_S:
            self._say(Piece(self._asked.number))
        return not self.cancelled.is_set()

    def _say(self, piece: Piece) -> None:
        self._said_at = time.monotonic()
        self._send(piece)


class Writers:
    """In the engine's process: a thread a text. `send` may be called by any of them."""

    def __init__(self, engine: Engine, send: Callable[[object], None]) -> None:
        self._engine = engine
        self._send = send
        self._open: dict[int, _Writing] = {}

    def take(self, asked: Begin | Cancel) -> None:
        """Begin a text, or end one at its next step."""
        if isinstance(asked, Begin):
            writing = self._open[asked.number] = _Writing(asked, self._send)
            name = f"text-{asked.number}"
            threading.Thread(target=self._write, args=(asked.number, writing), daemon=True, name=name).start()
        elif begun := self._open.get(asked.number):
            begun.cancelled.set()

    def _write(self, number: int, writing: _Writing) -> None:
        """The outermost boundary of its thread: what is not an error of ours ends the process, and the keeper starts another."""
        try:
            self._send(writing.last_word(self._engine))
        except OSError:
            return  # nobody listens: the process is about to end
        except BaseException as error:
            logs.last_word(error)
            os._exit(1)
        finally:
            self._open.pop(number, None)


class Text(AsyncIterator[int]):
    """One text, in the service: its tokens as they come. `ended`: done once the engine's process works on it no more."""

    def __init__(self, close: Callable[[], None]) -> None:
        """`close` tells the process that nobody wants it any more."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue()
        self._close = close
        self._is_closed = False

    async def __anext__(self) -> int:
        """Raises: EngineUnavailable: the engine died, or cannot."""
        if self.ended.done() and self._pieces.empty():
            raise StopAsyncIteration
        piece = await self._pieces.get()
        if piece.failed:
            raise EngineUnavailable(piece.failed)
        if piece.token is None:
            raise StopAsyncIteration
        return piece.token

    def close(self) -> None:
        """End the work, which may take it a moment: see `ended`."""
        if not self._is_closed and not self.ended.done():
            self._is_closed = True
            self._close()

    def take(self, piece: Piece) -> None:
        """A token, or the end."""
        if not self._is_closed:
            self._pieces.put_nowait(piece)
        if piece.is_end and not self.ended.done():
            self.ended.set_result(None)


class Texts:
    """In the service: the texts that the engine's process works on. `on_token` hears of each token, wanted or not."""

    def __init__(self) -> None:
        self.on_token: Callable[[], None] = lambda: None
        self._open: dict[int, Text] = {}
        self._number = 0
        self._heard_at = 0.0

    @property
    def silent_s(self) -> float:
        """How long the process has said nothing of any text; 0 while it has none."""
        return time.monotonic() - self._heard_at if self._open else 0.0

    def begin(self, send: Callable[[object], None], prompt: Sequence[int], sampling: Sampling) -> Text:
        """A text that continues a prompt. Whoever takes it closes it."""
        self._number += 1
        number = self._number
        if not self._open:
            self._heard_at = time.monotonic()
        text = self._open[number] = Text(lambda: send(Cancel(number)))
        send(Begin(number, tuple(prompt), sampling))
        return text

    def take(self, piece: Piece) -> None:
        """A piece arrived."""
        self._heard_at = time.monotonic()
        if piece.token is not None:
            self.on_token()
        if (text := self._open.get(piece.number)) is None:
            return
        if piece.is_end:
            del self._open[piece.number]
        if piece.is_end or piece.token is not None:
            text.take(piece)

    def fail(self, reason: str) -> None:
        """The engine is gone, and every text with it."""
        for number in list(self._open):
            self._open.pop(number).take(Piece(number, is_end=True, failed=reason))
