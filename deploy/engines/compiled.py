"""What a decoder does between its products, compiled by torch: each is one pass over memory, for scoring only.

One kernel serves every length and number of calls: their sizes are symbols in it, so that there are no buckets to pad to. What would
have to be compiled anew after the warm-up is computed uncompiled.

`M` positions, `H` hidden, `I` inner size; `n` rows of `t` positions; `A` heads of size `D`.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from configs import sources
from data_contracts.errors import ConfigurationError
from deploy.engines import linears
from deploy.engines.decoder import Between, Ways, attend
from deploy.engines.heads import Part, Segment

if TYPE_CHECKING:
    from torch import Tensor

COMPILERS = ("g++", "clang++")
VARIED = ((2, 40), (3, 57), (1, 33), (1, 34))
"""Calls and their tokens in warm-up: of several sizes, so that sizes become symbols; one call alone is a case of its own."""
HEAD_TOKENS = 16


def require_compiler() -> None:
    """Return if torch finds what it compiles with.

    Raises:
        ConfigurationError: there is no C++ compiler.
    """
    named = os.environ.get("CXX")
    if not any(shutil.which(program) for program in ([named] if named else COMPILERS)):
        raise ConfigurationError(
            f"serve.compile needs a C++ compiler, and {named or ' or '.join(COMPILERS)} is not on PATH; install one, on Debian and "
            "Ubuntu `apt-get install g++ python3-dev`, or set serve.compile to false"
        )


def warm_up(score: Callable[[Sequence[Sequence[int]], Sequence[int], int], object]) -> None:
    """Score such calls that everything is compiled that will be needed.

    Raises:
        ConfigurationError: the compiler fails.
    """
    from torch._dynamo.exc import BackendCompilerFailed

    try:
        for calls, tokens in VARIED:
            score([[0] * tokens] * calls, [0], HEAD_TOKENS)
    except BackendCompilerFailed as error:
        said = str(error.inner_exception).strip() or type(error.inner_exception).__name__
        raise ConfigurationError(
            f"serve.compile: the C++ compiler fails: {said.splitlines()[-1]}; it needs Python's headers and room under "
            f"{sources.home()}, or set serve.compile to false"
        ) from error


@contextmanager
def finished() -> Iterator[None]:
    """Nothing is compiled inside."""
    import torch

    with torch.compiler.set_stance("eager_on_recompile"):
        yield


@cache
def between() -> Between:
    """Compiled when first called, in a second or a few each; without gradients and without room."""
    return Between(_norm, _gated, _turned, _merged)


SERVING = Ways(linears.join, attend, between)


def _norm(x: "Tensor", weight: "Tensor", epsilon: float, room: int) -> "Tensor":
    return _made(_plain_norm)(x, weight, epsilon)


def _gated(both: "Tensor", room: int) -> "Tensor":
    return _made(_plain_gated)(both)


def _turned(flat: "Tensor", size: int, segments: Sequence[Segment], parts: Sequence[Part]) -> list["Tensor"]:
    return [_heads(s, part, s.of(flat[:, part.columns], size)) for part in parts for s in segments]


def _heads(s: Segment, part: Part, x: "Tensor") -> "Tensor":
    """x (n, t, A, D) → (n, A, t, D)."""
    import torch

    if part.cos is None or part.sin is None:
        return x.transpose(1, 2)
    at = torch.arange(s.past, s.past + s.t).repeat(s.n)
    turned = _made(_plain_turn if part.epsilon is None else _plain_norm_turn)
    return turned(x.flatten(0, 1), part.cos[:, 0], part.sin[:, 0], at, part.epsilon).view(x.shape).transpose(1, 2)


def _merged(segments: Sequence[Segment], room: int, *parts: "Tensor") -> "Tensor":
    """Attention on CPU lays out its heads as they are needed here: this copies nothing where there is one segment."""
    import torch

    flat = [part.transpose(1, 2).reshape(s.n * s.t, -1) for s, part in zip(segments, parts, strict=True)]
    return flat[0] if len(flat) == 1 else torch.cat(flat)


@cache
def _made(plain: Any) -> Any:
    import torch
    import torch._inductor.config as inductor

    inductor.compile_threads = 1  # more are processes that stay
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(sources.home() / "compiled")  # torch's own choice is in a shared /tmp
    return torch.compile(plain, fullgraph=True)


def _plain_norm(x: "Tensor", weight: "Tensor", epsilon: float) -> "Tensor":
    return _unit(x.float(), epsilon).to(x.dtype) * weight


def _plain_gated(both: "Tensor") -> "Tensor":
    import torch

    gate, up = both.chunk(2, dim=1)
    return torch.nn.functional.silu(gate) * up


def _plain_norm_turn(x: "Tensor", cos: "Tensor", sin: "Tensor", at: "Tensor", epsilon: float) -> "Tensor":
    return _rotated(_unit(x.float(), epsilon), cos[at], sin[at]).to(x.dtype)


def _plain_turn(x: "Tensor", cos: "Tensor", sin: "Tensor", at: "Tensor", epsilon: None) -> "Tensor":
    return _rotated(x.float(), cos[at], sin[at]).to(x.dtype)


def _unit(x: "Tensor", epsilon: float) -> "Tensor":
    import torch

    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)


def _rotated(x: "Tensor", cos: "Tensor", sin: "Tensor") -> "Tensor":
    """x (R, A, D), angles (R, D)."""
    import torch

    half = x.shape[-1] // 2
    low, high, cos, sin = x[..., :half], x[..., half:], cos[:, None], sin[:, None]
    turned = (low * cos[..., :half] - high * sin[..., :half], high * cos[..., half:] + low * sin[..., half:])
    return torch.cat(turned, dim=-1)
