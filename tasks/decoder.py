"""A decoder of the Llama family run for its answer positions only, with as few passes over memory as there can be.

What transformers computes for Qwen3, Qwen2 and Llama, and its gradient, for training on CPU, where half of the time goes
into everything but matrix products if it is done operation by operation. The shared head and the calls go through every
product together, products of one input are one, norms, rotations and activations pass over memory once,
and the last layer's output is made at the answer positions alone.

`M` positions (the head's, then each call's), `H` hidden, `N` calls, `P` head and `T` call positions, `A` heads of size `D`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.engines import prefill
from tasks import attention, lora
from tasks.heads import Part, Segment, merged, turned
from tasks.passes import gated, norm, weighted

if TYPE_CHECKING:
    from torch import Tensor


class Frame(NamedTuple):
    """What all layers share: the segments, which keys each segment's queries see (t, past + t), and rotary (cos, sin)."""

    segments: list[Segment]
    biases: list["Tensor"]
    turns: tuple["Tensor", ...]


KNOWN = ("Qwen3ForCausalLM", "Qwen2ForCausalLM", "LlamaForCausalLM")


def suits(model: Any) -> bool:
    """Whether `answer_hidden` computes what this model does: a known architecture on CPU, plain LoRA on every layer."""
    config, decoder = model.config, prefill.decoder_of(model)
    return (
        type(model).__name__ in KNOWN
        and model.device.type == "cpu"
        and config.hidden_act == "silu"
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and not decoder.gradient_checkpointing
        and all(lora.is_plain(module) for layer in decoder.layers for module in _linears(layer))
    )


def answer_hidden(model: Any, block: prefill.Padded, head: Sequence[int] = ()) -> "Tensor":
    """Hidden state at each answer position, as `prefill.answer_hidden` gives it: (N, H). The ids continue `head`."""
    import torch

    decoder, p, (n, t) = prefill.decoder_of(model), len(head), block.ids.shape
    segments = [Segment(0, 1, p, 0)] if p else []
    segments.append(Segment(p, n, t, p))
    ids = torch.cat([torch.tensor(head, dtype=torch.long), block.ids.flatten()])
    x = decoder.embed_tokens(ids)
    turns = tuple(part[0][:, None].float() for part in decoder.rotary_emb(x, torch.arange(p + t)[None]))
    biases = [attention.causal_bias(s.t, s.past + s.t, x) for s in segments]
    answers = p + torch.arange(n) * t + block.answer_at
    for layer in decoder.layers:
        at = answers if layer is decoder.layers[-1] else None
        x = _layer(layer, x, Frame(segments, biases, turns), at)
    return _norm(decoder.norm, x)


def _layer(layer: Any, x: "Tensor", frame: Frame, at: "Tensor | None") -> "Tensor":
    """x (M, H) → (M, H), or with `at` (N,) only these positions of it: (N, H)."""
    query, key, value, out, gate, up, down = _linears(layer)
    into, out, wide, down = (lora.join(modules) for modules in ([query, key, value], [out], [gate, up], [down]))
    mixed = _attend(layer.self_attn, into(_norm(layer.input_layernorm, x, into.room)), into.rows, frame, out.room)
    if at is not None:
        x, mixed = x[at], mixed[at]
    x = x + out(mixed)
    return x + down(gated()(wide(_norm(layer.post_attention_layernorm, x, wide.room)), down.room))


def _attend(module: Any, flat: "Tensor", columns: Sequence[slice], frame: Frame, room: int) -> "Tensor":
    """Queries, keys and values, at these columns of flat → (M, A*D + room).

    The calls see the head, each its own positions, and no padding.
    """
    import torch

    (q_epsilon, q_turns), (k_epsilon, k_turns) = (_turns(module, n, frame.turns) for n in ("q_norm", "k_norm"))
    of_query, of_key, of_value = columns
    parts = [
        Part(of_query, q_epsilon, *(turn * module.scaling for turn in q_turns)),
        Part(of_key, k_epsilon, *k_turns),
        Part(of_value),
    ]
    found = turned()(flat, module.head_dim, frame.segments, parts)
    count = len(frame.segments)
    query, key, value = (found[i * count : (i + 1) * count] for i in range(3))
    mixed = []
    for s, q, k, v, bias in zip(frame.segments, query, key, value, frame.biases, strict=True):
        if s.past:
            k, v = (torch.cat([old[0].expand(s.n, -1, -1, -1), new], 2) for old, new in ((key, k), (value, v)))
        mixed.append(attention.causal(q, k, v, bias))
    return merged()(frame.segments, room, *mixed)


def _turns(module: Any, name: str, turns: tuple["Tensor", ...]) -> tuple[float | None, tuple["Tensor", ...]]:
    """The epsilon of an attention module's norm, if it has it, and (cos, sin) with the norm's weight in them."""
    found = getattr(module, name, None)
    return (found.variance_epsilon, weighted(found.weight, *turns)) if found is not None else (None, turns)


def _linears(layer: Any) -> list[Any]:
    of, mlp = layer.self_attn, layer.mlp
    return [of.q_proj, of.k_proj, of.v_proj, of.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj]


def _norm(module: Any, x: "Tensor", room: int = 0) -> "Tensor":
    return norm()(x, module.weight, module.variance_epsilon, room)
