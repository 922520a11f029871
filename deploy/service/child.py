"""The engine's own process: loads the weights, then scores one batch after another until the pipe closes.

It dies on anything unexpected; its keeper (`worker.py`) starts a fresh one.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from configs.serving import ServeSettings
from data_contracts.errors import EngineUnavailable, TingsuError
from deploy.engines import Engine, RowsFailed, Scores, choose, heap, tether
from deploy.memory import Gpu, gpu_of
from deploy.service import logs
from deploy.service.texts import Begin, Cancel, Piece, Writers

if TYPE_CHECKING:
    from deploy.bundle import Bundle
    from deploy.tokenizer import Tokens

HEALTH_S = 1.0
"""How often an engine is looked at, and says that it is there."""
BARREN = 6
"""After so many batches in a row of which it scored nothing, though it says it is healthy, the engine is loaded anew."""


@dataclass(frozen=True)
class Plan:
    """What the child loads and how."""

    engine: str
    model: Path
    category_ids: tuple[int, ...]
    head_tokens: int
    longest_tokens: int
    serve: ServeSettings


@dataclass(frozen=True)
class Usage:
    """Memory the engine holds now; what of it is a GPU's counts in `memory_mb` too."""

    memory_mb: float
    gpu: Gpu | None = None


@dataclass(frozen=True)
class Ready:
    """The weights are loaded."""

    seconds: float
    usage: Usage


@dataclass(frozen=True)
class Alive:
    """The process can be asked; said about every HEALTH_S, but not while it scores."""

    usage: Usage


@dataclass(frozen=True)
class Failed:
    """The weights cannot be loaded, or a batch cannot be scored; `kind` is the error's class name in data_contracts.errors."""

    kind: str
    message: str


@dataclass(frozen=True)
class Scored:
    """The answer to one batch. `fits_tokens`: no larger batch may come, if memory did not suffice for one; `failed`: row → why it
    has no scores."""

    scores: Scores
    usage: Usage
    fits_tokens: int | None
    failed: Mapping[int, Failed]


Message = Ready | Alive | Failed | Scored | Piece
Loader = Callable[[Plan], Engine]


def plan_of(bundle: "Bundle", serve: ServeSettings, tokens: "Tokens") -> Plan:
    """How to load a bundle: with the engine that it names, no other."""
    return Plan(
        engine=bundle.facts.engine,
        model=bundle.model,
        category_ids=bundle.code_ids,
        head_tokens=len(bundle.prompt.frame(tokens)[0]),
        longest_tokens=bundle.prompt.longest(tokens),
        serve=serve,
    )


def load(plan: Plan) -> Engine:
    """The engine a bundle names.

    Raises:
        TingsuError: there is no such engine, or it cannot load the model.
    """
    return choose.load(plan.engine, plan.model, plan.serve, plan.longest_tokens)


def main(pipe: Connection, plan: Plan, loader: Loader) -> None:
    """Load, say so, score until the other end closes. The web process answers signals: it drains, then closes."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)
    try:
        _serve(pipe, plan, loader)
    except Exception as error:  # the outermost boundary of this process
        logs.last_word(error)
        sys.exit(1)


def _serve(pipe: Connection, plan: Plan, loader: Loader) -> None:
    started = time.monotonic()
    tether.when_parent_ends(signal.SIGKILL)  # while it loads, which may take minutes, it does not see the pipe close
    try:
        engine = loader(plan)
    except TingsuError as error:
        pipe.send(Failed(type(error).__name__, str(error)))
        return
    tether.when_parent_ends(0)
    try:
        pipe.send(Ready(time.monotonic() - started, _usage(engine)))
        with heap.kept():
            _answer(pipe, plan, engine)
    except TingsuError as error:
        pipe.send(Failed(type(error).__name__, str(error)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    finally:
        engine.close()


def _answer(pipe: Connection, plan: Plan, engine: Engine) -> None:
    """Score or continue what comes; return when the engine is gone."""
    lock = threading.Lock()

    def send(message: object) -> None:
        with lock:
            pipe.send(message)

    writers, scorer, said_at = Writers(engine, send), _Scorer(engine, plan), time.monotonic()
    while engine.healthy():
        if time.monotonic() - said_at >= HEALTH_S:
            said_at = time.monotonic()
            send(Alive(_usage(engine)))
        if pipe.poll(HEALTH_S):
            asked: list[tuple[int, ...]] | Begin | Cancel = pipe.recv()
            if isinstance(asked, Begin | Cancel):
                writers.take(asked)
                continue
            send(scorer.scored(asked))


class _Scorer:
    """One call that cannot be scored is no reason to end an engine that can score others."""

    def __init__(self, engine: Engine, plan: Plan) -> None:
        self._engine, self._plan = engine, plan
        self._barren = 0

    def scored(self, prompts: Sequence[tuple[int, ...]]) -> Scored:
        """Raises: EngineUnavailable: the engine is of no use any more."""
        try:
            scores, failed = self._engine.score(prompts, self._plan.category_ids, self._plan.head_tokens), {}
            self._barren = 0
        except RowsFailed as error:
            self._require_use(error)
            scores = error.scores
            failed = {row: Failed(type(why).__name__, str(why)) for row, why in error.failed.items()}
        # Engines that are servers of their own find room by themselves, or die.
        return Scored(scores, _usage(self._engine), getattr(self._engine, "fits_tokens", None), failed)

    def _require_use(self, error: RowsFailed) -> None:
        is_barren = all(isinstance(error.failed.get(row), EngineUnavailable) for row in range(len(error.scores[0])))
        self._barren = self._barren + 1 if is_barren else 0
        if self._barren >= BARREN or not self._engine.healthy():
            raise EngineUnavailable(str(error)) from error


def _usage(engine: Engine) -> Usage:
    return Usage(engine.memory_mb(), _gpu())


def _gpu() -> Gpu | None:
    """The first GPU, if the engine brought torch and torch sees one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return gpu_of(torch.cuda.memory_reserved(), *torch.cuda.mem_get_info())
