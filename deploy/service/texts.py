"""Texts between the service and its engine's process: many at once over one pipe, each ended when nobody wants it any more."""

import asyncio
import os
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from data_contracts.errors import EngineUnavailable, TingsuError
from deploy.engines import Engine, Sampling


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
    """A token of a text, or its end, or why there is none."""

    number: int
    token: int = -1
    is_end: bool = False
    failed: str = ""


class Writers:
    """In the engine's process: a thread a text. `send` may be called by any of them."""

    def __init__(self, engine: Engine, send: Callable[[object], None]) -> None:
        self._engine = engine
        self._send = send
        self._cancelled: dict[int, threading.Event] = {}

    def take(self, asked: Begin | Cancel) -> None:
        """Begin a text, or end one at its next token."""
        if isinstance(asked, Begin):
            event = self._cancelled[asked.number] = threading.Event()
            threading.Thread(target=self._write, args=(asked, event), daemon=True, name=f"text-{asked.number}").start()
        elif asked.number in self._cancelled:
            self._cancelled[asked.number].set()

    def _write(self, asked: Begin, cancelled: threading.Event) -> None:
        """The outermost boundary of its thread: what is not an error of ours ends the process, and the keeper starts another."""
        try:
            self._send(self._last_word(asked, cancelled))
        except OSError:
            return  # nobody listens: the process is about to end
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        finally:
            self._cancelled.pop(asked.number, None)

    def _last_word(self, asked: Begin, cancelled: threading.Event) -> Piece:
        try:
            with closing(self._engine.generate(asked.prompt, asked.sampling)) as tokens:
                for token in tokens:
                    if cancelled.is_set():
                        break
                    self._send(Piece(asked.number, token))
        except TingsuError as error:
            return Piece(asked.number, is_end=True, failed=str(error))
        return Piece(asked.number, is_end=True)


class Texts:
    """In the service: what comes of each text goes to who asked for it."""

    def __init__(self) -> None:
        self._open: dict[int, asyncio.Queue[Piece]] = {}
        self._number = 0

    async def tokens(
        self, send: Callable[[object], None], prompt: Sequence[int], sampling: Sampling
    ) -> AsyncGenerator[int, None]:
        """The tokens that continue a prompt. Closing it ends the work.

        Raises:
            EngineUnavailable: the engine died, or cannot.
        """
        self._number += 1
        number, pieces = self._number, asyncio.Queue[Piece]()
        self._open[number] = pieces
        is_ended = False
        try:
            send(Begin(number, tuple(prompt), sampling))
            while not is_ended:
                piece = await pieces.get()
                is_ended = piece.is_end
                if piece.failed:
                    raise EngineUnavailable(piece.failed)
                if not is_ended:
                    yield piece.token
        finally:
            if self._open.pop(number, None) is not None and not is_ended:
                send(Cancel(number))

    def take(self, piece: Piece) -> None:
        """A piece arrived; one that nobody waits for any more is dropped."""
        if piece.number in self._open:
            self._open[piece.number].put_nowait(piece)

    def fail(self, reason: str) -> None:
        """The engine is gone, and every text with it."""
        for number, pieces in list(self._open.items()):
            pieces.put_nowait(Piece(number, is_end=True, failed=reason))
