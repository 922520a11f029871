"""Our attention against torch's: the same values, the same gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch

from deploy.engines import prefill
from tasks import attention
from tests.tiny import write_base

PROMPTS = [list(range(5, 5 + n)) for n in (40, 33, 64)]
HEAD = 24


def load(folder: Path, dropout: float = 0.0, dtype: torch.dtype = torch.float32) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    for name, weight in model.named_parameters():
        if name.endswith(("q_norm.weight", "k_norm.weight")):  # made as ones, which hide a weight at the wrong place
            weight.data.copy_(1 - (torch.arange(len(weight)) % 3) / 4)
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(model, config)


def gradients(model: Any, skip: int) -> dict[str, torch.Tensor]:
    base = model.get_base_model()
    head = prefill.run_head(base, torch.tensor([PROMPTS[0][:skip]])) if skip else ()
    hidden = prefill.answer_hidden(base, prefill.pad(PROMPTS, skip), head)
    prefill.answer_logits(base, hidden).square().mean().backward()
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("skip", [0, HEAD])
@pytest.mark.parametrize("kind", ["Qwen3", "Qwen2", "Llama"])
def test_gradients_equal_those_of_torch(tmp_path: Path, kind: str, skip: int) -> None:
    folder = write_base(tmp_path, kind)
    theirs = gradients(load(folder), skip)
    model = load(folder)

    attention.use(model.get_base_model())

    assert model.get_base_model().config._attn_implementation == attention.NAME
    for name, grad in gradients(model, skip).items():
        torch.testing.assert_close(grad, theirs[name], atol=1e-5, rtol=1e-3)


def test_gradients_through_a_shared_head_equal_those_of_whole_prompts(tmp_path: Path) -> None:
    folder = write_base(tmp_path)

    shared, whole = gradients(load(folder), HEAD), gradients(load(folder), 0)

    for name, grad in shared.items():
        torch.testing.assert_close(grad, whole[name], atol=1e-5, rtol=1e-3)


def test_many_heads_are_worked_through_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_base(tmp_path)
    want = gradients(load(folder), 0)
    model = load(folder)
    attention.use(model.get_base_model())
    monkeypatch.setattr(attention, "CACHED_SCORES", 1)

    got = gradients(model, 0)

    for name, grad in got.items():
        torch.testing.assert_close(grad, want[name], atol=1e-5, rtol=1e-3)
