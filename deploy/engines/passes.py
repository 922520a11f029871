"""What a decoder does between its products, each a function that works through a few rows at a time, forward and backward.

Plain torch makes an fp32 copy of every activation and passes over it six to ten times; here these passes stay in the
cache of a core. Intermediate values are fp32 whatever the tensors are.

`M` positions, `H` hidden, `I` inner size; `n` rows of `t` positions; `A` heads of size `D`.
"""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

CACHED = 2**19
"""Numbers worked on at a time: 2 MB in fp32, a core's second-level cache (the fastest of 2**17 to 2**21, measured)."""


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices of rows that hold about `CACHED` numbers each."""
    step = max(1, CACHED // width)
    return (slice(i, min(i + step, rows)) for i in range(0, rows, step))


def fp32(x: "Tensor") -> "Tensor":
    """A copy to work on in place."""
    import torch

    return x.to(torch.float32, copy=True)


def inverse_size(x: "Tensor", epsilon: float) -> "Tensor":
    """1 over the root mean square along the last dimension, kept as 1."""
    import torch

    size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return size.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()


def norm_back(grad: "Tensor", normed: "Tensor", inverse: "Tensor") -> "Tensor":
    """Gradient of a value from that of its normed one, weight already multiplied in; works on `grad` in place."""
    import torch

    shared = torch.linalg.vecdot(grad, normed).unsqueeze(-1).div_(-grad.shape[-1])
    return grad.addcmul_(normed, shared).mul_(inverse)


def turn(x: "Tensor", cos: "Tensor", sin: "Tensor") -> "Tensor":
    """Rotate x (…, D), fp32, as rotary embeddings do: `x cos + rotate_half(x) sin`."""
    half = x.shape[-1] // 2
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return out


def turn_back(grad: "Tensor", cos: "Tensor", sin: "Tensor") -> "Tensor":
    """The transpose of `turn`."""
    half = grad.shape[-1] // 2
    out = grad * cos
    out[..., :half].addcmul_(grad[..., half:], sin[..., half:])
    out[..., half:].addcmul_(grad[..., :half], sin[..., :half], value=-1)
    return out


def weighted(weight: "Tensor", cos: "Tensor", sin: "Tensor") -> tuple["Tensor", "Tensor"]:
    """(cos, sin) that turn `x` as these turn `weight * x`: a pass over the angles in place of one over the activations."""
    return cos * weight, sin * weight.roll(len(weight) // 2)


@cache
def norm() -> Any:
    """RMSNorm: x (M, H), frozen weight (H,), epsilon, room → (M, H + room), the room for whoever takes it to fill."""
    import torch

    class Norm(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: "Tensor", weight: "Tensor", epsilon: float, room: int) -> "Tensor":
            wide = x.new_empty(len(x), x.shape[1] + room)
            out = wide[:, : x.shape[1]]
            inverse = x.new_empty(len(x), 1, dtype=torch.float32)
            for rows in blocks(*x.shape):
                work = fp32(x[rows])
                inverse[rows] = inverse_size(work, epsilon)
                out[rows] = work.mul_(inverse[rows])
                out[rows].mul_(weight)
            ctx.save_for_backward(x, weight, inverse)
            return wide

        @staticmethod
        def backward(ctx: Any, *grads: "Tensor") -> tuple["Tensor | None", ...]:
            x, weight, inverse = ctx.saved_tensors
            grad, back = grads[0][:, : x.shape[1]], torch.empty_like(x)
            for rows in blocks(*x.shape):
                normed = fp32(x[rows]).mul_(inverse[rows])
                back[rows] = norm_back(fp32(grad[rows]).mul_(weight), normed, inverse[rows])
            return back, None, None, None

    return Norm.apply


@cache
def gated() -> Any:
    """SwiGLU: gate and up side by side (M, 2 I), room → silu(gate) * up (M, I + room)."""
    import torch

    silu = torch.nn.functional.silu

    class Gated(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, both: "Tensor", room: int) -> "Tensor":
            gate, up = both.chunk(2, dim=1)
            wide = both.new_empty(len(up), up.shape[1] + room)
            for rows in blocks(*up.shape):
                torch.mul(silu(gate[rows]), up[rows], out=wide[rows, : up.shape[1]])
            ctx.save_for_backward(both)
            return wide

        @staticmethod
        def backward(ctx: Any, *grads: "Tensor") -> tuple["Tensor", None]:
            (both,) = ctx.saved_tensors
            back = torch.empty_like(both)
            (gate, up), (back_gate, back_up) = both.chunk(2, dim=1), back.chunk(2, dim=1)
            for rows in blocks(*up.shape):
                grad = grads[0][rows, : up.shape[1]]
                torch.mul(silu(gate[rows]), grad, out=back_up[rows])
                back_gate[rows] = torch.ops.aten.silu_backward(grad * up[rows], gate[rows])
            return back, None

    return Gated.apply
