"""The engine's own process: loads the weights, then scores one batch after another until the pipe closes.

It dies on anything unexpected; its keeper (`worker.py`) starts a fresh one.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from configs.settings import ServeSettings
from data_contracts.errors import TingsuError
from deploy.engines import Engine, Scores, choose, tether
from deploy.service.texts import Begin, Cancel, Piece, Writers

if TYPE_CHECKING:
    from deploy.bundle import Bundle
    from deploy.tokenizer import Tokens

HEALTH_S = 1.0
"""How often an idle engine is looked at."""


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
    """Memory the engine holds now."""

    memory_mb: float
    gpu_gb: float


@dataclass(frozen=True)
class Ready:
    """The weights are loaded."""

    seconds: float
    usage: Usage


@dataclass(frozen=True)
class Failed:
    """The weights cannot be loaded, or a batch cannot be scored; `kind` is the error's class name in data_contracts.errors."""

    kind: str
    message: str


@dataclass(frozen=True)
class Scored:
    """The answer to one batch. `fits_tokens`: no larger batch may come, if memory did not suffice for one."""

    scores: Scores
    usage: Usage
    fits_tokens: int | None


Message = Ready | Failed | Scored | Piece
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
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

    writers = Writers(engine, send)
    while engine.healthy():
        if pipe.poll(HEALTH_S):
            asked: list[tuple[int, ...]] | Begin | Cancel = pipe.recv()
            if isinstance(asked, Begin | Cancel):
                writers.take(asked)
                continue
            scores = engine.score(asked, plan.category_ids, plan.head_tokens)
            # Engines that are servers of their own find room by themselves, or die.
            send(Scored(scores, _usage(engine), getattr(engine, "fits_tokens", None)))


def _usage(engine: Engine) -> Usage:
    return Usage(engine.memory_mb(), _gpu_gb())


def _gpu_gb() -> float:
    """Used memory of the first GPU, if the engine brought torch and torch sees one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0.0
    free, total = torch.cuda.mem_get_info()
    return float(total - free) / 2**30
