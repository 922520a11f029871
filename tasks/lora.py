"""LoRA's linear layer with as few passes over the activations as there can be: what peft computes, fused.

peft adds the scaled product of the low-rank matrices in separate passes forward and backward; on CPU with small hidden
sizes those passes cost more than the products. Here each is added by the product itself.

`M` positions, `I` inputs, `O` outputs, `R` rank.
"""

from collections.abc import Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def fuse(model: Any) -> int:
    """Fuse each plain LoRA layer of a peft model; how many. Those with dropout, or over a quantized weight, stay."""
    from torch import nn

    fused = 0
    for module in model.modules():
        if type(getattr(module, "base_layer", None)) is not nn.Linear or set(module.lora_A) != {"default"}:
            continue
        if type(module.lora_dropout["default"]) is nn.Identity and not module.use_dora.get("default"):
            module.forward = partial(_forward, module)
            fused += 1
    return fused


def is_fused(module: Any) -> bool:
    """Whether `fuse` took this layer."""
    return isinstance(module.forward, partial) and module.forward.func is _forward


def products(modules: Sequence[Any], x: "Tensor") -> tuple["Tensor", ...]:
    """What each of these fused layers makes of the same input: x (M, I) → (M, O) a layer."""
    parts = [
        (m.base_layer.weight, m.base_layer.bias, m.lora_A["default"].weight, m.lora_B["default"].weight)
        for m in modules
    ]
    scales = tuple(float(m.scaling["default"]) for m in modules)
    return tuple(_function().apply(x.to(parts[0][0].dtype), scales, *(tensor for part in parts for tensor in part)))


def _forward(module: Any, x: "Tensor", *_: Any, **__: Any) -> "Tensor":
    (out,) = products([module], x.reshape(-1, x.shape[-1]))
    return out.view(*x.shape[:-1], -1)


@cache
def _function() -> Any:
    import torch

    class Fused(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
        """x (M, I); for each layer its frozen weight (O, I) and bias, and low (R, I) and high (O, R), which learn in fp32.

        The low sides are one product. Saved for backward: x, the low-rank values and the weights, nothing of size O.
        """

        @staticmethod
        def forward(ctx: Any, x: "Tensor", scales: tuple[float, ...], *parts: "Tensor") -> tuple["Tensor", ...]:
            weights, biases, lows, highs = (parts[i::4] for i in range(4))
            low, highs = torch.cat(lows).to(x.dtype), tuple(high.to(x.dtype) for high in highs)
            inner = x @ low.t()
            outs = []
            for weight, bias, high, scale, part in zip(
                weights, biases, highs, scales, _split(inner, highs), strict=True
            ):
                outs.append(torch.nn.functional.linear(x, weight, bias).addmm_(part, high.t(), alpha=scale))
            ctx.save_for_backward(x, low, inner, *weights, *highs)
            ctx.scales = scales
            return tuple(outs)

        @staticmethod
        def backward(ctx: Any, *grads: "Tensor") -> tuple["Tensor | None", ...]:
            x, low, inner, *rest = ctx.saved_tensors
            weights, highs = rest[: len(grads)], rest[len(grads) :]
            back = torch.cat([(g @ h).mul_(s) for g, h, s in zip(grads, highs, ctx.scales, strict=True)], dim=1)
            d_low = _products_of_columns(back, x).float().split([h.shape[1] for h in highs])
            learned: list[Tensor | None] = []
            for grad, scale, part, of_low in zip(grads, ctx.scales, _split(inner, highs), d_low, strict=True):
                learned += [None, None, of_low, _products_of_columns(part, grad).t().float().mul_(scale)]
            d_x = None
            if ctx.needs_input_grad[0]:
                d_x = back @ low
                for grad, weight in zip(grads, weights, strict=True):
                    d_x.addmm_(grad, weight)
            return d_x, None, *learned

    return Fused


def _products_of_columns(narrow: "Tensor", wide: "Tensor") -> "Tensor":
    """narrow (M, R), wide (M, O) → (R, O). The narrow one is turned: its copy is small, the product twice as fast."""
    return narrow.t().contiguous() @ wide


def _split(inner: "Tensor", highs: Sequence["Tensor"]) -> Sequence["Tensor"]:
    parts: Sequence[Tensor] = inner.split([high.shape[1] for high in highs], dim=1)
    return parts
