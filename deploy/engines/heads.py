"""From products to heads and back: normed, rotated and laid out for attention in one pass each way.

`M` positions in segments of `n` rows of `t`; `A` heads of size `D`.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.engines.passes import blocks, fp32, inverse_size, norm_back, turn, turn_back

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


class Part(NamedTuple):
    """Columns of a product, and what happens to each head there: rotated if there are `cos`, `sin` (t, 1, D), before that
    normed if there is an `epsilon` too."""

    columns: slice
    epsilon: float | None = None
    cos: "Tensor | None" = None
    sin: "Tensor | None" = None

    def angles(self, s: Segment, at: slice) -> "tuple[Tensor, Tensor] | None":
        """Of these positions of a segment."""
        if self.cos is None or self.sin is None:
            return None
        here = slice(s.past + at.start, s.past + at.stop)
        return self.cos[here], self.sin[here]


@cache
def turned() -> Any:
    """flat (M, O), D, segments, parts → (n, A, t, D) of each segment, part after part."""
    import torch

    class Turned(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any, flat: "Tensor", size: int, segments: Sequence[Segment], parts: Sequence[Part]
        ) -> tuple["Tensor", ...]:
            inverse = flat.new_empty(len(flat), flat.shape[1] // size, dtype=torch.float32)
            outs = []
            for part in parts:
                for s in segments:
                    x = s.of(flat[:, part.columns], size)
                    outs.append(flat.new_empty(s.n, x.shape[2], s.t, size))
                    _forth(s, x, s.of(_heads(inverse, part, size), 1), part, outs[-1].transpose(1, 2))
            ctx.save_for_backward(flat, inverse)
            ctx.how = size, segments, parts
            return tuple(outs)

        @staticmethod
        def backward(ctx: Any, *grads: "Tensor") -> tuple["Tensor | None", ...]:
            (flat, inverse), (size, segments, parts) = ctx.saved_tensors, ctx.how
            back, each = torch.empty_like(flat), iter(grads)
            for part in parts:
                for s in segments:
                    x, out = (s.of(of[:, part.columns], size) for of in (flat, back))
                    _back(s, next(each).transpose(1, 2), x, s.of(_heads(inverse, part, size), 1), part, out)
            return back, None, None, None

    return Turned.apply


def _heads(inverse: "Tensor", part: Part, size: int) -> "Tensor":
    """A part's of what there is one of a head."""
    return inverse[:, part.columns.start // size : part.columns.stop // size]


def _forth(s: Segment, x: "Tensor", inverse: "Tensor", part: Part, out: "Tensor") -> None:
    """x (n, t, A, D) into `out`; the inverse sizes (n, t, A, 1) are filled if it is normed."""
    for some in s.blocks(x[0, 0].numel()):
        angles = part.angles(s, some[1])
        if angles is None:
            out[some] = x[some]
            continue
        work = fp32(x[some])
        if part.epsilon is not None:
            inverse[some] = inverse_size(work, part.epsilon)
            work.mul_(inverse[some])
        out[some] = turn(work, *angles)


def _back(s: Segment, grad: "Tensor", x: "Tensor", inverse: "Tensor", part: Part, out: "Tensor") -> None:
    """The gradient of `_forth`, all (n, t, A, D), into `out`."""
    for some in s.blocks(out[0, 0].numel()):
        angles = part.angles(s, some[1])
        if angles is None:
            out[some] = grad[some]
            continue
        work = turn_back(fp32(grad[some]), *angles)
        if part.epsilon is not None:
            work = norm_back(work, fp32(x[some]).mul_(inverse[some]), inverse[some])
        out[some] = work


@cache
def merged() -> Any:
    """(n, A, t, D) of each segment, room → (M, A*D + room): the way back after attention."""
    import torch

    class Merged(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, segments: Sequence[Segment], room: int, *parts: "Tensor") -> "Tensor":
            _, heads, _, size = parts[0].shape
            wide = parts[0].new_empty(sum(s.n * s.t for s in segments), heads * size + room)
            for s, part in zip(segments, parts, strict=True):
                s.of(wide[:, : heads * size], size).copy_(part.transpose(1, 2))
            ctx.how = segments, size, heads * size
            return wide

        @staticmethod
        def backward(ctx: Any, *grads: "Tensor") -> tuple["Tensor | None", ...]:
            segments, size, width = ctx.how
            flat = grads[0][:, :width]
            return None, None, *(s.of(flat, size).transpose(1, 2).contiguous() for s in segments)

    return Merged.apply
