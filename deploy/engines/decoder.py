"""A decoder of the Llama family run for its answer positions only, with as few passes over memory as there can be.

What transformers computes for Qwen3, Qwen2 and Llama, on CPU, where half of the time goes into everything but matrix products
if it is done operation by operation. Products of one input are one, norms, rotations and activations pass over memory
once, and the last layer's output is made at the answer positions alone. It serves and it trains: how layers of one input
multiply and how heads attend is given (`Ways`), and every pass has its gradient.

`M` positions (the head's if it is run too, then each call's), `H` hidden, `N` calls, `P` head and `T` call positions, `A` query and
`K` key heads of size `D`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.engines import linears, prefill
from deploy.engines.heads import Part, Segment, merged, turned
from deploy.engines.linears import Joined
from deploy.engines.passes import gated, norm, weighted

if TYPE_CHECKING:
    from torch import Tensor

KeysValues = tuple["Tensor", "Tensor"]
"""Of one layer, for the head: (1, K, P, D) each."""


class Between(NamedTuple):
    """What is done between products, called as the functions of these names in `passes` and `heads`."""

    norm: Callable[..., "Tensor"]
    gated: Callable[..., "Tensor"]
    turned: Callable[..., Sequence["Tensor"]]
    merged: Callable[..., "Tensor"]


@cache
def by_blocks() -> Between:
    """A few rows at a time, forward and backward."""
    return Between(norm(), gated(), turned(), merged())


class Ways(NamedTuple):
    """`join`: layers of one input → what multiplies them. `attend`: query (n, A, t, D), already scaled, key and value (n, K, s, D)
    and bias (t, s) → (n, A, t, D)."""

    join: Callable[[Sequence[Any]], Joined]
    attend: Callable[["Tensor", "Tensor", "Tensor", "Tensor"], "Tensor"]
    between: Callable[[], Between] = by_blocks


def attend(query: "Tensor", key: "Tensor", value: "Tensor", bias: "Tensor") -> "Tensor":
    """torch's own kernel, the fastest there is forward."""
    import torch

    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias, scale=1.0, enable_gqa=True
    )


SERVING = Ways(linears.join, attend)
KNOWN = ("Qwen3ForCausalLM", "Qwen2ForCausalLM", "LlamaForCausalLM")


@dataclass(frozen=True)
class Frame:
    """What all layers share: the segments, which keys each segment's queries see (t, past + t), and rotary (cos, sin).

    The keys and values of a head that is not run here are `kept`, a pair a layer; `made` gets those of one that is, as the first
    segment.
    """

    ways: Ways
    segments: list[Segment]
    runs_head: bool
    biases: list["Tensor"]
    turns: tuple["Tensor", ...]
    kept: Sequence[KeysValues] = ()
    made: list[KeysValues] = field(default_factory=list)


def suits(model: Any) -> bool:
    """Whether this computes what the model does: a known architecture on CPU."""
    config, decoder = model.config, prefill.decoder_of(model)
    return (
        type(model).__name__ in KNOWN
        and model.device.type == "cpu"
        and config.hidden_act == "silu"
        and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
        and not decoder.gradient_checkpointing
    )


def answer_hidden(
    model: Any,
    block: prefill.Padded,
    head: Sequence[int] = (),
    ways: Ways = SERVING,
    kept: Sequence[KeysValues] = (),
) -> "Tensor":
    """Hidden state at each answer position, as `prefill.answer_hidden` gives it: (N, H).

    The ids continue `head`, which is run with them, or the one whose keys and values were `kept`.
    """
    import torch

    p, (n, t) = len(head), block.ids.shape
    past = kept[0][0].shape[2] if kept else p
    segments = [Segment(0, 1, p, 0)] if p else []
    segments.append(Segment(p, n, t, past))
    ids = torch.cat([torch.tensor(head, dtype=torch.long), block.ids.flatten()])
    answers = p + torch.arange(n) * t + block.answer_at
    return _run(model, ids, _frame(model, segments, bool(p), ways, kept), answers)


def run_head(model: Any, head: Sequence[int], ways: Ways = SERVING) -> list[KeysValues]:
    """Keys and values of each layer for the head."""
    import torch

    frame = _frame(model, [Segment(0, 1, len(head), 0)], True, ways)
    _run(model, torch.tensor(head), frame, torch.tensor([len(head) - 1]))
    return frame.made


def causal_bias(t: int, s: int, like: "Tensor") -> "Tensor":
    """For queries that are the last `t` of `s` positions: 0 where one sees a key, else minus infinity; (t, s)."""
    import torch

    return bias_of(torch.ones(t, s, dtype=torch.bool, device=like.device).tril(s - t), like)


def bias_of(seen: "Tensor", like: "Tensor") -> "Tensor":
    """0 where seen, else minus infinity."""
    import torch

    return torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill(~seen, -torch.inf)


def _frame(model: Any, segments: list[Segment], runs_head: bool, ways: Ways, kept: Sequence[KeysValues] = ()) -> Frame:
    import torch

    decoder, like = prefill.decoder_of(model), model.get_input_embeddings().weight
    longest = max(s.past + s.t for s in segments)
    turns = tuple(part[0][:, None].float() for part in decoder.rotary_emb(like, torch.arange(longest)[None]))
    biases = [causal_bias(s.t, s.past + s.t, like) for s in segments]
    return Frame(ways, segments, runs_head, biases, turns, kept)


def _run(model: Any, ids: "Tensor", frame: Frame, answers: "Tensor") -> "Tensor":
    decoder = prefill.decoder_of(model)
    x = decoder.embed_tokens(ids)
    for number, layer in enumerate(decoder.layers):
        at = answers if layer is decoder.layers[-1] else None
        x = _layer(layer, x, frame, number, at)
    return _norm(frame, decoder.norm, x)


def products(layer: Any) -> tuple[list[Any], ...]:
    """The linear layers of a layer, those of one input together: into the heads, out of them, wide, down."""
    of, mlp = layer.self_attn, layer.mlp
    return [of.q_proj, of.k_proj, of.v_proj], [of.o_proj], [mlp.gate_proj, mlp.up_proj], [mlp.down_proj]


def _layer(layer: Any, x: "Tensor", frame: Frame, number: int, at: "Tensor | None") -> "Tensor":
    """x (M, H) → (M, H), or with `at` (N,) only these positions of it: (N, H)."""
    of = layer.self_attn
    into, out, wide, down = (frame.ways.join(layers) for layers in products(layer))
    mixed = _attend(of, into(_norm(frame, layer.input_layernorm, x, into.room)), into.rows, frame, number, out.room)
    if at is not None:
        x, mixed = x[at], mixed[at]
    x = x + out(mixed)
    inner = wide(_norm(frame, layer.post_attention_layernorm, x, wide.room))
    return x + down(frame.ways.between().gated(inner, down.room))


def _attend(module: Any, flat: "Tensor", columns: Sequence[slice], frame: Frame, number: int, room: int) -> "Tensor":
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
    found = frame.ways.between().turned(flat, module.head_dim, frame.segments, parts)
    count = len(frame.segments)
    query, key, value = (found[i * count : (i + 1) * count] for i in range(3))
    if frame.runs_head:
        frame.made.append((key[0], value[0]))
    mixed = []
    for s, q, k, v, bias in zip(frame.segments, query, key, value, frame.biases, strict=True):
        if s.past:
            before = (frame.kept or frame.made)[number]
            k, v = (torch.cat([old.expand(s.n, -1, -1, -1), new], 2) for old, new in zip(before, (k, v), strict=True))
        mixed.append(frame.ways.attend(q, k, v, bias))
    return frame.ways.between().merged(frame.segments, room, *mixed)


def _turns(module: Any, name: str, turns: tuple["Tensor", ...]) -> tuple[float | None, tuple["Tensor", ...]]:
    """The epsilon of an attention module's norm, if it has it, and (cos, sin) with the norm's weight in them."""
    found = getattr(module, name, None)
    return (found.variance_epsilon, weighted(found.weight, *turns)) if found is not None else (None, turns)


def _norm(frame: Frame, module: Any, x: "Tensor", room: int = 0) -> "Tensor":
    return frame.ways.between().norm(x, module.weight, module.variance_epsilon, room)
