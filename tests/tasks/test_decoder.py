"""Our own pass through the decoder against transformers and peft: the same values, the same gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch

from deploy.engines import decoder, passes, prefill
from deploy.engines.transformers import TransformersEngine
from tasks import lora
from tasks.trainer import WAYS
from tests.tasks.test_attention import HEAD, PROMPTS, gradients, load
from tests.tiny import write_base

KINDS = ["Qwen3", "Qwen2", "Llama"]


def ours(model: Any, skip: int) -> dict[str, torch.Tensor]:
    base = model.get_base_model()
    assert lora.suits(base)
    hidden = decoder.answer_hidden(base, prefill.pad(PROMPTS, skip), PROMPTS[0][:skip], ways=WAYS)
    prefill.answer_logits(base, hidden).square().mean().backward()
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("cached", [passes.CACHED, 1], ids=["at once", "row by row"])
@pytest.mark.parametrize("skip", [0, HEAD])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_those_of_transformers_and_peft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, skip: int, cached: int
) -> None:
    folder = write_base(tmp_path, kind)
    theirs = gradients(load(folder), 0)
    monkeypatch.setattr(passes, "CACHED", cached)

    for name, grad in ours(load(folder), skip).items():
        torch.testing.assert_close(grad, theirs[name], atol=1e-5, rtol=1e-3)


def test_a_base_that_answered_first_is_trained_alike(tmp_path: Path) -> None:
    folder = write_base(tmp_path)
    model = load(folder)
    base = model.get_base_model()
    block, codes = PROMPTS, (70, 71, 72)
    first = TransformersEngine(base, ways=WAYS).score(block, codes, HEAD)
    again = TransformersEngine(base).score(block, codes, HEAD)
    grads = ours(model, HEAD)

    torch.testing.assert_close(torch.tensor(first.logprobs), torch.tensor(again.logprobs), atol=1e-4, rtol=1e-4)
    for name, grad in ours(load(folder), HEAD).items():
        torch.testing.assert_close(grads[name], grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_is_about_as_near_to_fp32_as_transformers_and_peft_are_in_bf16(tmp_path: Path, kind: str) -> None:
    mine, theirs = [], []
    for seed in range(3):  # one model's rounding may be lucky
        folder = write_base(tmp_path / str(seed), kind, seed=seed)
        exact = gradients(load(folder), 0)
        with torch.autocast("cpu", torch.bfloat16):
            theirs.append(error(gradients(load(folder, dtype=torch.bfloat16), 0), exact))
            mine.append(error(ours(load(folder, dtype=torch.bfloat16), HEAD), exact))

    assert sum(mine) < 1.5 * sum(theirs)
    assert max(theirs) < 0.1


def error(found: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> float:
    """Distance of all gradients together, relative to their length."""
    off, size = (
        torch.cat([g.flatten() for g in all_]) for all_ in ([found[n] - exact[n] for n in exact], exact.values())
    )
    return float(off.norm() / size.norm())


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_was_trained_here_answers_as_before_when_called_as_usual(tmp_path: Path, kind: str) -> None:
    model = load(write_base(tmp_path, kind))
    base, block = model.get_base_model(), prefill.pad(PROMPTS)
    before = prefill.answer_hidden(base, block)
    ours(model, 0)
    after = prefill.answer_hidden(base, block)

    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
        {"hidden_act": "gelu"},
    ],
    ids=["sliding window", "another activation"],
)
def test_what_it_would_not_compute_alike_is_left_to_transformers(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = load(write_base(tmp_path, **changes))

    assert not lora.suits(model.get_base_model())


def test_dropout_and_recomputed_activations_are_left_to_transformers(tmp_path: Path) -> None:
    folder = write_base(tmp_path)
    dropping, recomputing = load(folder, dropout=0.1), load(folder)
    recomputing.gradient_checkpointing_enable()

    assert not lora.suits(dropping.get_base_model())
    assert not lora.suits(recomputing.get_base_model())
