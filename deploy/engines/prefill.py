"""One prefill a call: hidden states of the decoder, gathered at the answer position, times the output embedding.

Shapes: `N` calls, `T` tokens, `H` hidden, `V` vocabulary. Nothing here is ever (N, T, V). Batches are padded on the
right: a causal decoder cannot see the padding from an earlier position, so no attention mask is needed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

SHARE_FROM_TOKENS = 16
"""A head shorter than this is not worth a prefill of its own."""


class Padded(NamedTuple):
    """ids (N, T) without the shared head, padded on the right; answer_at (N,) index into T of each last token."""

    ids: "Tensor"
    answer_at: "Tensor"


def pad(prompts: Sequence[Sequence[int]], skip: int = 0) -> Padded:
    """Prompts without their first `skip` ids, as one block."""
    import numpy as np
    import torch

    lengths = np.array([len(p) - skip for p in prompts], dtype=np.int64)
    block = np.zeros((len(prompts), int(lengths.max(initial=0))), dtype=np.int64)
    for row, prompt in zip(block, prompts, strict=True):
        row[: len(prompt) - skip] = prompt[skip:]
    return Padded(torch.from_numpy(block), torch.from_numpy(lengths - 1))


def by_length(lengths: Sequence[int], budget: int, round_to: int = 1) -> list[list[int]]:
    """Indices in batches of similar length, longest first; rows x longest is at most `budget`, or it is one row."""
    batches: list[list[int]] = []
    width = 0
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not batches or (len(batches[-1]) + 1) * width > budget:
            batches.append([])
            width = -(-lengths[i] // round_to) * round_to
        batches[-1].append(i)
    return batches


def decoder_of(model: Any) -> Any:
    """The module that turns token ids into hidden states, without the output embedding."""
    decoder = model.get_decoder()
    return decoder if decoder is not model else getattr(model, model.base_model_prefix)


def shares_head(model: Any, head_tokens: int) -> bool:
    """Whether the keys and values of the head may be computed once: every layer attends to everything before it."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    layers = DynamicCache(config=model.config).layers
    return head_tokens >= SHARE_FROM_TOKENS and all(type(layer) is DynamicLayer for layer in layers)


def run_head(model: Any, head: "Tensor") -> list[tuple["Tensor", "Tensor"]]:
    """Keys and values of each layer for the head: head (1, T) → (1, heads, T, head size) twice a layer."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    decoder_of(model)(input_ids=head, past_key_values=cache, use_cache=True)
    return [(layer.keys, layer.values) for layer in cache.layers]


def answer_hidden(model: Any, block: Padded, head: Sequence[tuple["Tensor", "Tensor"]] = ()) -> "Tensor":
    """Hidden state at each answer position: (N, H). With `head`, the ids continue it."""
    import torch

    decoder, rows = decoder_of(model), len(block.ids)
    if head:
        past = _widen(model, head, rows)
        hidden = decoder(input_ids=block.ids, past_key_values=past, use_cache=True).last_hidden_state
    else:
        hidden = decoder(input_ids=block.ids, use_cache=False).last_hidden_state
    return hidden[torch.arange(rows, device=hidden.device), block.answer_at.to(hidden.device)]


def answer_logits(model: Any, hidden: "Tensor") -> "Tensor":
    """Logits over the whole vocabulary, fp32, scaled as the model's own forward does: (N, H) → (N, V)."""
    logits = model.get_output_embeddings()(hidden).float()
    config = model.config.get_text_config(decoder=True)
    logits = logits * (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else (logits / cap).tanh() * cap


def next_logits(model: Any, ids: Sequence[int], cache: Any) -> "Tensor":
    """Logits (V,) after `ids`, which continue what the cache holds, and are in it afterwards."""
    import torch

    block = torch.tensor([list(ids)], device=model.device)
    hidden = decoder_of(model)(input_ids=block, past_key_values=cache, use_cache=True).last_hidden_state
    return answer_logits(model, hidden[:, -1])[0]


def _widen(model: Any, head: Sequence[tuple["Tensor", "Tensor"]], rows: int) -> Any:
    from transformers import DynamicCache

    wide = [(k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)) for k, v in head]
    return DynamicCache(wide, config=model.config)
