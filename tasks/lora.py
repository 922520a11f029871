"""LoRA's linear layers with as few passes over the activations as there can be: what peft computes, fused.

peft adds the scaled product of the low-rank matrices in separate passes forward and backward; on CPU those passes cost more
than the products. Here layers of one input are one product, and their low-rank sides are more columns of it: the input has
its low-rank values behind its own, the frozen weight has the scaled high sides behind its own.

`M` positions, `I` inputs, `O` outputs of all the layers, `R` rank, `K` columns of room: all ranks, rounded up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from deploy.engines import decoder, linears, prefill

if TYPE_CHECKING:
    from torch import Tensor

ALIGNED = 32
"""Room comes in so many columns: a row of bf16 then starts at a cache line if it did without the room."""


def is_plain(layer: Any) -> bool:
    """Whether `join` computes what this layer does: LoRA over a linear layer, without dropout, DoRA or quantization."""
    from torch import nn

    return (
        type(getattr(layer, "base_layer", None)) is nn.Linear
        and set(layer.lora_A) == {"default"}
        and type(layer.lora_dropout["default"]) is nn.Identity
        and not layer.use_dora.get("default")
    )


def suits(model: Any) -> bool:
    """Whether our own pass trains this model: it runs it, and every layer has plain LoRA."""
    layers = prefill.decoder_of(model).layers
    every = (module for layer in layers for together in decoder.products(layer) for module in together)
    return decoder.suits(model) and all(map(is_plain, every))


@dataclass(frozen=True)
class Joined:
    """Layers of one input as one; the layers' own weights are views of this `weight` (O, I + K).

    `rows` and `ranks`: which of the O and which of the K are each layer's.
    """

    layers: tuple[Any, ...]
    weight: "Tensor"
    bias: "Tensor | None"
    inputs: int
    rows: tuple[slice, ...]
    ranks: tuple[slice, ...]

    @property
    def room(self) -> int:
        """K."""
        return int(self.weight.shape[1]) - self.inputs

    def __call__(self, x: "Tensor") -> "Tensor":
        """x (M, I + K), whose room is filled here, → (M, O)."""
        lows, highs = ([getattr(m, side)["default"].weight for m in self.layers] for side in ("lora_A", "lora_B"))
        product: Tensor = _function().apply(x, self, *lows, *highs)
        return product

    def low(self, lows: Sequence["Tensor"]) -> "Tensor":
        """Every layer's low side (R, I) as one: (K, I)."""
        low = self.weight.new_zeros(self.room, self.inputs)
        for part, ranks in zip(lows, self.ranks, strict=True):
            low[ranks] = part
        return low

    def take(self, highs: Sequence["Tensor"]) -> None:
        """Lay every layer's high side (O, R) into the weight, scaled."""
        tail = self.weight[:, self.inputs :]
        for high, rows, ranks, scale in zip(highs, self.rows, self.ranks, self.scales, strict=True):
            tail[rows, ranks] = high * scale

    @property
    def scales(self) -> tuple[float, ...]:
        """What each layer multiplies its low-rank product with."""
        return tuple(float(layer.scaling["default"]) for layer in self.layers)


def join(layers: Sequence[Any]) -> Joined:
    """Plain layers that get the same input, as one; done once, and found again by the first of them."""
    known: Joined | None = layers[0].__dict__.get("joined")
    if known is not None and known.layers == tuple(layers):
        return known
    frozen = [layer.base_layer for layer in layers]
    ranks = linears.slices([layer.lora_A["default"].out_features for layer in layers])
    room = -(-ranks[-1].stop // ALIGNED) * ALIGNED
    weight, bias, rows = linears.lay(frozen, room)
    made = Joined(tuple(layers), weight, bias, frozen[0].in_features, rows, ranks)
    layers[0].__dict__["joined"] = made
    return made


@cache
def _function() -> Any:
    import torch

    class Product(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
        """x (M, I + K), the joined layers, low (R, I) and then high (O, R) of each, which learn in fp32 → (M, O)."""

        @staticmethod
        def forward(ctx: Any, x: "Tensor", layers: Joined, *learned: "Tensor") -> "Tensor":
            low = layers.low(learned[: len(layers.rows)])
            layers.take(learned[len(layers.rows) :])
            own, room = x.split([layers.inputs, layers.room], dim=1)
            room.copy_(own @ low.t())
            ctx.save_for_backward(x, low)
            ctx.layers = layers
            return torch.nn.functional.linear(x, layers.weight, layers.bias)

        @staticmethod
        def backward(ctx: Any, *grads: "Tensor") -> tuple["Tensor | None", ...]:
            (x, low), layers, (grad,) = ctx.saved_tensors, ctx.layers, grads
            if ctx.needs_input_grad[0]:
                d_x = grad @ layers.weight
                d_own, d_room = d_x.split([layers.inputs, layers.room], dim=1)
                d_own.addmm_(d_room, low)
            else:
                d_x, d_room = None, grad @ layers.weight[:, layers.inputs :]
            d_low = (d_room.t().contiguous() @ x)[:, : layers.inputs]
            d_high = x[:, layers.inputs :].t().contiguous() @ grad
            parts = list(zip(layers.rows, layers.ranks, layers.scales, strict=True))
            lows = [d_low[ranks].float() for _, ranks, _ in parts]
            highs = [d_high[ranks, rows].t().float().mul_(scale) for rows, ranks, scale in parts]
            return d_x, None, *lows, *highs

    return Product
