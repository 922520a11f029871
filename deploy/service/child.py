"""The engine's own process: loads the weights, then scores one batch after another until the pipe closes.

It dies on anything unexpected; its keeper (`worker.py`) starts a fresh one.
"""

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from data_contracts.errors import ModelLoadError, TingsuError
from deploy.engines import Engine, Scores


@dataclass(frozen=True)
class Plan:
    """What the child loads and how."""

    engine: str
    model: Path
    category_ids: tuple[int, ...]
    head_tokens: int
    precision: Literal["auto", "fp32", "bf16"]
    threads: int
    batch_tokens: int


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
    """The weights cannot be loaded; `kind` is the error's class name in data_contracts.errors."""

    kind: str
    message: str


@dataclass(frozen=True)
class Scored:
    """The answer to one batch."""

    scores: Scores
    usage: Usage


Message = Ready | Failed | Scored
Loader = Callable[[Plan], Engine]


def load(plan: Plan) -> Engine:
    """The engine a bundle names.

    Raises:
        ModelLoadError: unknown here, or from the engine.
    """
    if plan.engine not in ENGINES:
        raise ModelLoadError(f"engine {plan.engine!r} does not run in this service; it has {sorted(ENGINES)}")
    return ENGINES[plan.engine](plan)


def _transformers(plan: Plan) -> Engine:
    from deploy.engines.transformers import TransformersEngine

    return TransformersEngine.load(
        plan.model, precision=plan.precision, threads=plan.threads, batch_tokens=plan.batch_tokens
    )


ENGINES: dict[str, Loader] = {"transformers": _transformers}


def main(pipe: Connection, plan: Plan, loader: Loader) -> None:
    """Load, say so, score until the other end closes. The web process answers signals: it drains, then closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    started = time.monotonic()
    try:
        engine = loader(plan)
    except TingsuError as error:
        pipe.send(Failed(type(error).__name__, str(error)))
        return
    try:
        pipe.send(Ready(time.monotonic() - started, _usage(engine)))
        while True:
            prompts: list[tuple[int, ...]] = pipe.recv()
            pipe.send(Scored(engine.score(prompts, plan.category_ids, plan.head_tokens), _usage(engine)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        engine.close()


def _usage(engine: Engine) -> Usage:
    return Usage(engine.memory_mb(), _gpu_gb())


def _gpu_gb() -> float:
    """Used memory of the first GPU, if the engine brought torch and torch sees one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0.0
    free, total = torch.cuda.mem_get_info()
    return float(total - free) / 2**30
