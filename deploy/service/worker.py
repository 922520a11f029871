"""Keeps the engine's child process: starts it, probes it, restarts it with backoff when it dies."""

import asyncio
import logging
import multiprocessing
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Literal

from data_contracts import errors
from data_contracts.errors import EngineUnavailable, ModelLoadError, TingsuError
from deploy.engines import RowsFailed, Sampling, Scores
from deploy.memory import oom_kills
from deploy.service import LOAD_TRIES, pipe
from deploy.service.child import Alive, Failed, Loader, Message, Plan, Ready, Scored, Usage, main
from deploy.service.pipe import Pipe
from deploy.service.refusals import NotReady
from deploy.service.texts import Piece, Text, Texts

log = logging.getLogger(__name__)
State = Literal["loading", "ready", "restarting", "stopped"]
BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
STEADY_S = 60.0  # a child that lived this long starts the backoff anew
HEAR_S = 0.05  # where this process itself stood still, what the child said meanwhile is heard first
LOOK_S = 1.0  # how often the silence of a child that writes texts is looked at


class ParityFailed(ModelLoadError):
    """The engine does not answer the golden calls as the bundle says it must; trying again would not help."""


class Worker:
    """One engine. `score` has one caller at a time (the batcher), so at most one batch is in the pipe; texts are many at once.

    `on_scarce` hears how many tokens a batch may have, when memory did not suffice for more; `on_restart` of every child after the
    first. A child that says nothing for `silence_s`, of its work or, without any, at all, hangs: it is killed, and a fresh one started.
    """

    def __init__(self, plan: Plan, loader: Loader, start_timeout_s: float, silence_s: float) -> None:
        self.plan = plan
        self.state: State = "loading"
        self.restarts = 0
        self.load_s = 0.0
        self.usage = Usage(0.0)
        self.on_scarce: Callable[[int], None] = lambda _: None
        self.on_restart: Callable[[], None] = lambda: None
        self._flying_tokens = 0
        self._oom_kills: int | None = None
        self._loader = loader
        self.start_timeout_s = start_timeout_s
        self.silence_s = silence_s
        self._process: BaseProcess | None = None
        self._pipe: Pipe | None = None
        self._is_loaded, self._heard_at = False, 0.0
        self._reply: asyncio.Future[Message] | None = None
        self._dead = asyncio.Event()
        self._serving = asyncio.Event()
        self._start_s, self._back_at = 0.0, 0.0
        self.first_ready = asyncio.Event()
        self.texts = Texts()

    @property
    def is_ready(self) -> bool:
        return self.state == "ready"

    @property
    def back_in_s(self) -> float:
        """About how long until it is ready again, after its death: as long as the start before took; 0 while it is, or is overdue."""
        return 0.0 if self.is_ready else max(self._back_at - time.monotonic(), 0.0)

    @property
    def retry_after_s(self) -> float:
        """What callers are told to wait."""
        return max(self.back_in_s if self._start_s else self.load_s, 1.0)

    async def until_ready(self) -> None:
        """Return when it may be asked."""
        await self._serving.wait()

    async def keep(self, probe: Callable[[], Awaitable[None]]) -> None:
        """Run the child, and a new one whenever it dies, until cancelled.

        Raises:
            TingsuError: the child never became ready in LOAD_TRIES tries, or the probe says it answers wrongly.
        """
        loop = asyncio.get_running_loop()
        self.state, was_ready, failures = "loading", False, 0
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                try:
                    began = time.monotonic()
                    await self._start()
                    await probe()
                    self.state, was_ready, since = "ready", True, loop.time()
                    self._start_s = time.monotonic() - began
                    self._serving.set()
                    self.first_ready.set()
                    log.info(
                        "engine ready",
                        extra={"load_s": round(self.load_s, 2), "memory_mb": round(self.usage.memory_mb)},
                    )
                    await self._dead.wait()
                    failures = 0 if loop.time() - since > STEADY_S else failures + 1
                except (ModelLoadError, EngineUnavailable) as error:
                    failures += 1
                    if isinstance(error, ParityFailed) or (not was_ready and failures >= LOAD_TRIES):
                        raise
                    log.error("engine did not start", extra={"reason": str(error)})
                self.state = "restarting" if was_ready else "loading"
                self.restarts += 1
                self.on_restart()
                await self._reap()
                await asyncio.sleep(min(BACKOFF_S * 2 ** (failures - 1), MAX_BACKOFF_S) if failures else 0)
        finally:
            self._serving.clear()
            self.state = "stopped"
            watching.cancel()
            await self._reap()

    async def score(self, prompts: Sequence[tuple[int, ...]]) -> Scores:
        """Score one batch in the child.

        Raises:
            RowsFailed: some of the batch cannot be scored.
            EngineUnavailable: it is not there, died meanwhile, or took longer than the limit (then it is killed).
        """
        pipe = self._loaded()
        self._flying_tokens = sum(map(len, prompts))
        pipe.send(list(prompts))
        message = await self._receive(self.silence_s)
        if isinstance(message, Failed):  # its last word
            self._bury()
            raise EngineUnavailable(f"{message.message}; it is being restarted")
        if not isinstance(message, Scored):
            raise EngineUnavailable(
                f"the engine answered {type(message).__name__} instead of scores; it is being restarted"
            )
        self._flying_tokens, self.usage = 0, message.usage
        if message.fits_tokens is not None:
            self.on_scarce(message.fits_tokens)
        if message.failed:
            raise RowsFailed(message.scores, {row: _raised(failed) for row, failed in message.failed.items()})
        return message.scores

    def generate(self, prompt: Sequence[int], sampling: Sampling) -> Text:
        """Token ids that continue a prompt, as they come; closing it ends the work.

        Raises:
            EngineUnavailable: the engine is not there; or, while they come, it died, hung, or cannot.
        """
        return self.texts.begin(self._loaded().send, prompt, sampling)

    def _loaded(self) -> Pipe:
        """The pipe to a child that has its weights; what is asked of one that loads would take the place of its first word."""
        if self._pipe is None or not self._is_loaded:
            raise NotReady(f"the engine is {self.state}", self.retry_after_s)
        return self._pipe

    async def _watch(self) -> None:
        """Bury a child that hangs over its texts, or idle. Batches have their limit where they are waited for."""
        while True:
            await asyncio.sleep(min(LOOK_S, self.silence_s / 4))
            if self._silent_s > self.silence_s:
                await asyncio.sleep(HEAR_S)
            if self._silent_s > self.silence_s:
                self._bury(f"the engine said nothing for {self.silence_s:g} s and was stopped")

    @property
    def _silent_s(self) -> float:
        """How long the child has said nothing that it should have said."""
        is_idle = self._is_loaded and self._reply is None
        return max(self.texts.silent_s, time.monotonic() - self._heard_at if is_idle else 0.0)

    async def _start(self) -> None:
        self._dead, self._oom_kills = asyncio.Event(), oom_kills()
        try:
            await self._spawn()
        except OSError as error:  # of memory, processes or open files there is none left; soon there may be
            raise EngineUnavailable(f"the engine's process cannot be started: {error.strerror}") from error
        message = await self._receive(self.start_timeout_s)
        if isinstance(message, Failed):
            raise _raised(message)
        if isinstance(message, Ready):
            self.load_s, self.usage, self._is_loaded = message.seconds, message.usage, True

    async def _spawn(self) -> None:
        """Raises: OSError: the system has no room for it."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = await pipe.opened(self._hear, self._bury)
        with theirs:
            self._process = context.Process(
                target=main, args=(theirs, self.plan, self._loader), daemon=True, name="tingsu-engine"
            )
            self._process.start()

    async def _receive(self, timeout_s: float) -> Message:
        self._reply = asyncio.get_running_loop().create_future()
        if self._dead.is_set():
            raise EngineUnavailable("the engine process ended; it is being restarted")
        try:
            async with asyncio.timeout(
                timeout_s
            ):  # wait_for loses a cancellation that comes with the reply, before Python 3.12
                return await self._reply
        except TimeoutError as error:
            self._bury()
            raise EngineUnavailable(
                f"the engine did not answer within {timeout_s:.0f} s and was stopped; it is being restarted"
            ) from error
        finally:
            self._reply = None

    def _hear(self, message: Message) -> None:
        self._heard_at = time.monotonic()
        if isinstance(message, Piece):
            self.texts.take(message)
        elif isinstance(message, Alive):
            self.usage = message.usage
        elif self._reply is not None and not self._reply.done():
            self._reply.set_result(message)

    def _bury(self, reason: str = "the engine process ended") -> None:
        """The child is gone, or has to go: no more batches, whoever waits is told, `keep` is woken."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe, self._is_loaded = None, False
        if self.state == "ready":
            self.state = "restarting"
            self._serving.clear()
            self._back_at = time.monotonic() + BACKOFF_S + self._start_s
            exitcode = self._process.exitcode if self._process else None
            log.error("engine died", extra={"exitcode": exitcode, "reason": reason})
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(EngineUnavailable(f"{reason}; it is being restarted"))
        self.texts.fail(f"{reason}; it is being restarted")
        self._dead.set()

    async def _reap(self) -> None:
        """Close the pipe, which ends a healthy child; kill one that does not end."""
        self._bury()
        process, self._process = self._process, None
        if process is None or process.pid is None:
            return
        await asyncio.to_thread(process.join, 2.0)
        tokens, self._flying_tokens = self._flying_tokens, 0
        if tokens and process.exitcode == -signal.SIGKILL and _killed_for_memory(self._oom_kills):
            self.on_scarce(tokens // 2)
        if process.exitcode is None:
            process.kill()
            await asyncio.to_thread(process.join, 5.0)


def _killed_for_memory(before: int | None) -> bool:
    """Whether the kernel may have done it; somebody else's kill -9 says nothing about memory."""
    now = oom_kills()
    return now is None or now != before


def _raised(message: Failed) -> TingsuError:
    is_known = hasattr(errors, message.kind) and message.kind != TingsuError.__name__
    return errors.revived(message.kind if is_known else ModelLoadError.__name__, message.message)
