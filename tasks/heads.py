"""From products to heads and back: normed, rotated and laid out for attention in one pass each way.

`M` positions in segments of `n` rows of `t`; `A` heads of size `D`.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.passes import blocks, fp32, inverse_size, norm_back, turn, turn_back

if TYPE_CHECKING:
    from torch import Tensor


class Segment(NamedTuple):
    """Positions `start` to `start + n * t` of the M are `n` rows of `t`, each at `past` and on in its own text."""

    start: int
    n: int
    t: int
    past: int

    def of(self, flat: "Tensor", size: int) -> "Tensor":
        """Its part of flat (M, A*D) as a view: (n, t, A, D)."""
        return flat[self.start : self.start + self.n * self.t].view(self.n, self.t, -1, size)


class How(NamedTuple):
    """What happens to each head: normed by `weight` (D,) if there is one, rotated if there are `cos`, `sin` (t, 1, D)."""

    weight: "Tensor | None"
    epsilon: float
    cos: "Tensor | None"
    sin: "Tensor | None"

    def at(self, s: Segment) -> "How":
        """For the positions of a segment."""
        here = slice(s.past, s.past + s.t)
        return self if self.cos is None or self.sin is None else self._replace(cos=self.cos[here], sin=self.sin[here])


@cache
def turned() -> Any:
    """flat (M, A*D), D, segments, weight, epsilon, cos, sin as in `How` → (n, A, t, D) a segment."""
    import torch

    class Turned(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any, flat: "Tensor", size: int, segments: Sequence[Segment], *how: Any
        ) -> tuple["Tensor", ...]:
            inverse = flat.new_empty(len(flat), flat.shape[1] // size, dtype=torch.float32)
            outs = []
            for s in segments:
                x = s.of(flat, size)
                outs.append(flat.new_empty(s.n, x.shape[2], s.t, size))
                _forth(x, s.of(inverse, 1), How(*how).at(s), outs[-1].transpose(1, 2))
            weight, ctx.epsilon, cos, sin = how
            ctx.save_for_backward(flat if weight is not None else None, inverse, weight, cos, sin)
            ctx.size, ctx.segments, ctx.shape = size, segments, flat.shape
            return tuple(outs)

        @staticmethod
        def backward(ctx: Any, *grads: "Tensor") -> tuple["Tensor | None", ...]:
            flat, inverse, weight, cos, sin = ctx.saved_tensors
            back = grads[0].new_empty(ctx.shape)
            how = How(weight, ctx.epsilon, cos, sin)
            for s, grad in zip(ctx.segments, grads, strict=True):
                x = None if flat is None else s.of(flat, ctx.size)
                _back(grad.transpose(1, 2), x, s.of(inverse, 1), how.at(s), s.of(back, ctx.size))
            return back, *[None] * 6

    return Turned.apply


def _forth(x: "Tensor", inverse: "Tensor", how: How, out: "Tensor") -> None:
    """x (n, t, A, D) into `out`; the inverse sizes (n, t, A, 1) are filled if it is normed."""
    for rows in blocks(len(x), x[0].numel()):
        work = x[rows]
        if how.weight is not None:
            work = fp32(work)
            inverse[rows] = inverse_size(work, how.epsilon)
            work.mul_(inverse[rows]).mul_(how.weight)
        if how.cos is None or how.sin is None:
            out[rows] = work
        else:
            turn(work, how.cos, how.sin, out[rows])


def _back(grad: "Tensor", x: "Tensor | None", inverse: "Tensor", how: How, out: "Tensor") -> None:
    """The gradient of `_forth`, all (n, t, A, D), into `out`."""
    for rows in blocks(len(grad), grad[0].numel()):
        work = grad[rows]
        if how.cos is not None and how.sin is not None:
            work = turn_back(work, how.cos, how.sin)
        if x is not None:
            work = norm_back(work.mul_(how.weight), fp32(x[rows]).mul_(inverse[rows]), inverse[rows])
        out[rows] = work


@cache
def merged() -> Any:
    """(n, A, t, D) of each segment → (M, A*D): the way back after attention."""
    import torch

    class Merged(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, segments: Sequence[Segment], *parts: "Tensor") -> "Tensor":
            _, heads, _, size = parts[0].shape
            flat = parts[0].new_empty(sum(s.n * s.t for s in segments), heads * size)
            for s, part in zip(segments, parts, strict=True):
                s.of(flat, size).copy_(part.transpose(1, 2))
            ctx.segments, ctx.size = segments, size
            return flat

        @staticmethod
        def backward(ctx: Any, *grads: "Tensor") -> tuple["Tensor | None", ...]:
            return None, *(s.of(grads[0], ctx.size).transpose(1, 2).contiguous() for s in ctx.segments)

    return Merged.apply
