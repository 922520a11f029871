"""Causal attention with a backward pass that suits CPUs, for training; no scores are kept from forward to backward.

torch's own CPU kernel is fast forward and slow backward in bf16 (measured, forward and backward of calls of 200 tokens:
114 ms against 53 ms here with heads of 32, 106 against 44 with heads of 128). Scores are made again in backward, a few
heads at a time so that they stay in the cache.

`N` calls, `A` query heads, `K` key heads, `G` = A / K, `T` query and `S` key positions, `D` head size.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from deploy.engines import decoder

if TYPE_CHECKING:
    from torch import Tensor

NAME = "tingsu_causal"
CACHED_SCORES = 2**19
"""Scores worked on at a time: 1 MB in bf16 (the fastest of 2**18 to 2**21, measured)."""


def use(model: Any) -> None:
    """Switch a model to this attention where it is the faster one: on CPU, if the architecture allows a choice."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def attend(
    module: Any, query: "Tensor", key: "Tensor", value: "Tensor", attention_mask: "Tensor | None", **options: Any
) -> tuple["Tensor", None]:
    """As transformers calls it: query (N, A, T, D), key and value (N, K, S, D) → (N, T, A, D).

    The mask is taken from the first row: calls are padded on the right, where no earlier position sees it.
    """
    t, s = query.shape[2], key.shape[2]
    if attention_mask is None:
        bias = decoder.causal_bias(t, s, query)
    else:
        bias = decoder.bias_of(attention_mask[0, 0, :, :s], query)
    scaled = query * (options.get("scaling") or query.shape[3] ** -0.5)
    return causal(scaled, key, value, bias).transpose(1, 2), None


def causal(query: "Tensor", key: "Tensor", value: "Tensor", bias: "Tensor") -> "Tensor":
    """query (N, A, T, D), already scaled, key and value (N, K, S, D), bias (T, S) → (N, A, T, D)."""
    n, heads, t, d = query.shape
    keys, s = key.shape[1], key.shape[2]
    flat = query.reshape(n * keys, heads // keys * t, d)
    out = _function().apply(flat, key.reshape(n * keys, s, d), value.reshape(n * keys, s, -1), bias)
    return out.view(n, heads, t, -1)


@cache
def _function() -> Any:
    import torch

    class Causal(torch.autograd.Function):
        """q (NK, GT, D), k and v (NK, S, D), bias (T, S) → (NK, GT, D)."""

        @staticmethod
        def forward(ctx: Any, q: "Tensor", k: "Tensor", v: "Tensor", bias: "Tensor") -> "Tensor":
            out = v.new_empty(len(q), q.shape[1], v.shape[2])
            for c in _chunks(q, k):
                torch.bmm(_shares(q[c], k[c], bias), v[c], out=out[c])
            ctx.save_for_backward(q, k, v, bias)
            return out

        @staticmethod
        def backward(ctx: Any, *grads: "Tensor") -> tuple["Tensor | None", ...]:
            q, k, v, bias = ctx.saved_tensors
            grad = grads[0].contiguous()
            dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
            for c in _chunks(q, k):
                shares = _shares(q[c], k[c], bias)
                torch.bmm(shares.transpose(1, 2), grad[c], out=dv[c])
                ds = torch.bmm(grad[c], v[c].transpose(1, 2))
                ds = torch._softmax_backward_data(ds, shares, -1, ds.dtype)
                torch.bmm(ds, k[c], out=dq[c])
                torch.bmm(ds.transpose(1, 2), q[c], out=dk[c])
            return dq, dk, dv, None

    return Causal


def _chunks(q: "Tensor", k: "Tensor") -> list[slice]:
    step = max(1, CACHED_SCORES // (q.shape[1] * k.shape[1]))
    return [slice(i, i + step) for i in range(0, len(q), step)]


def _shares(q: "Tensor", k: "Tensor", bias: "Tensor") -> "Tensor":
    """What share of its attention each position gives to each: (…, GT, S)."""
    import torch

    scores = torch.bmm(q, k.transpose(1, 2))
    grouped = scores.view(len(q), -1, *bias.shape)
    grouped += bias
    return torch.softmax(scores, dim=-1)
