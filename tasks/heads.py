"""From products to heads and back: normed, rotated and laid out for attention in one pass each way.

`M` positions in segments of `n` rows of `t`; `A` heads of size `D`.
"""

from collections.abc import Iterator, Sequence
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

    def blocks(self, width: int) -> Iterator[tuple[slice, slice]]:
        """Some rows, or some positions of one row, that are worked on at a time."""
        for rows in blocks(self.n, self.t * width):
            for at in blocks(self.t, (rows.stop - rows.start) * width):
                yield rows, at


class How(NamedTuple):
    """What happens to each head: normed if there is an `epsilon`, rotated if there are `cos`, `sin` (t, 1, D)."""

    epsilon: float | None
    cos: "Tensor | None"
    sin: "Tensor | None"

    def angles(self, s: Segment, at: slice) -> "tuple[Tensor, Tensor] | None":
        """Of these positions of a segment."""
        if self.cos is None or self.sin is None:
            return None
        here = slice(s.past + at.start, s.past + at.stop)
        return self.cos[here], self.sin[here]


@cache
def turned() -> Any:
    """flat (M, A*D), D, segments, epsilon, cos, sin as in `How` → (n, A, t, D) a segment."""
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
                _forth(s, x, s.of(inverse, 1), How(*how), outs[-1].transpose(1, 2))
            ctx.epsilon, cos, sin = how
            ctx.save_for_backward(flat if ctx.epsilon is not None else None, inverse, cos, sin)
            ctx.size, ctx.segments, ctx.shape = size, segments, flat.shape
            return tuple(outs)

        @staticmethod
        def backward(ctx: Any, *grads: "Tensor") -> tuple["Tensor | None", ...]:
            flat, inverse, cos, sin = ctx.saved_tensors
            back = grads[0].new_empty(ctx.shape)
            how = How(ctx.epsilon, cos, sin)
            for s, grad in zip(ctx.segments, grads, strict=True):
                x = None if flat is None else s.of(flat, ctx.size)
                _back(s, grad.transpose(1, 2), x, s.of(inverse, 1), how, s.of(back, ctx.size))
            return back, *[None] * 5

    return Turned.apply


def _forth(s: Segment, x: "Tensor", inverse: "Tensor", how: How, out: "Tensor") -> None:
    """x (n, t, A, D) into `out`; the inverse sizes (n, t, A, 1) are filled if it is normed."""
    for some in s.blocks(x[0, 0].numel()):
        angles = how.angles(s, some[1])
        work = x[some] if angles is None else fp32(x[some])
        if how.epsilon is not None:
            inverse[some] = inverse_size(work, how.epsilon)
            work.mul_(inverse[some])
        out[some] = work if angles is None else turn(work, *angles)


def _back(s: Segment, grad: "Tensor", x: "Tensor | None", inverse: "Tensor", how: How, out: "Tensor") -> None:
    """The gradient of `_forth`, all (n, t, A, D), into `out`."""
    for some in s.blocks(out[0, 0].numel()):
        angles = how.angles(s, some[1])
        work = grad[some] if angles is None else turn_back(fp32(grad[some]), *angles)
        if x is not None:
            work = norm_back(work, fp32(x[some]).mul_(inverse[some]), inverse[some])
        out[some] = work


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
