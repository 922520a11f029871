"""LoRA's linear layer with as few passes over the activations as there can be: what peft computes, fused.

peft adds the scaled product of the low-rank matrices in separate passes forward and backward; on CPU with small hidden
sizes those passes cost more than the products. Here each is added by the product itself.

`M` positions, `I` inputs, `O` outputs, `R` rank.
"""

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


def _forward(module: Any, x: "Tensor", *_: Any, **__: Any) -> "Tensor":
    base, low, high = module.base_layer, module.lora_A["default"], module.lora_B["default"]
    rows = x.reshape(-1, x.shape[-1]).to(base.weight.dtype)
    out = _function().apply(rows, base.weight, base.bias, low.weight, high.weight, module.scaling["default"])
    return out.view(*x.shape[:-1], -1)


@cache
def _function() -> Any:
    import torch

    class Fused(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
        """x (M, I), weight (O, I), low (R, I), high (O, R) → (M, O). The weight is frozen; low and high are fp32."""

        @staticmethod
        def forward(
            ctx: Any, x: "Tensor", weight: "Tensor", bias: "Tensor | None", low: "Tensor", high: "Tensor", scale: float
        ) -> "Tensor":
            a, b = low.to(x.dtype), high.to(x.dtype)
            inner = x @ a.t()
            out = torch.nn.functional.linear(x, weight, bias)
            ctx.save_for_backward(x, weight, a, b, inner)
            ctx.scale = scale
            return out.addmm_(inner, b.t(), alpha=scale)

        @staticmethod
        def backward(ctx: Any, *grads: "Tensor") -> tuple["Tensor | None", ...]:
            x, weight, a, b, inner = ctx.saved_tensors
            grad = grads[0]
            back = (grad @ b).mul_(ctx.scale)
            d_high = (grad.t() @ inner).float().mul_(ctx.scale)
            d_low = (back.t() @ x).float()
            d_x = (grad @ weight).addmm_(back, a) if ctx.needs_input_grad[0] else None
            return d_x, None, None, d_low, d_high, None

    return Fused
