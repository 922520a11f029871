"""The transformers engine against the model's own full forward pass."""

from pathlib import Path

import numpy as np
import pytest

from data_contracts.errors import ModelLoadError, ResourceInsufficient
from deploy.engines import RowsFailed, prefill
from deploy.engines.transformers import TransformersEngine
from deploy.engines.weights import form_of
from tests.tiny import write_base

HEAD = list(range(7, 31))
PROMPTS = [HEAD + list(range(5, 5 + n)) for n in (3, 40, 1, 17, 17, 90)]
CODES = (70, 71, 72)


def reference(folder: Path, prompts: list[list[int]]) -> np.ndarray:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        rows = [model(torch.tensor([p])).logits[0, -1].log_softmax(-1)[list(CODES)] for p in prompts]
    return torch.stack(rows).numpy()


@pytest.mark.parametrize(("kind", "tied"), [("Qwen3", True), ("Qwen3", False), ("Qwen2", True), ("Llama", False)])
def test_scores_equal_the_full_forward_pass(tmp_path: Path, kind: str, tied: bool) -> None:
    folder = write_base(tmp_path, kind, tied)
    engine = TransformersEngine.load(folder, precision="fp32", threads=1, batch_tokens=256)

    shared = engine.score(PROMPTS, CODES, len(HEAD))
    alone = engine.score(PROMPTS, CODES, 0)

    want = reference(folder, PROMPTS)
    np.testing.assert_allclose(shared.logprobs, want, atol=1e-4)
    np.testing.assert_allclose(alone.logprobs, want, atol=1e-4)
    np.testing.assert_allclose(shared.label_mass, np.exp(want).sum(1), atol=1e-5)


def test_a_sliding_window_model_is_scored_without_a_shared_head(tmp_path: Path) -> None:
    folder = write_base(tmp_path, "Qwen2", use_sliding_window=True, sliding_window=16, max_window_layers=0)
    engine = TransformersEngine.load(folder, precision="fp32", threads=1)

    scores = engine.score(PROMPTS, CODES, len(HEAD))

    np.testing.assert_allclose(scores.logprobs, reference(folder, PROMPTS), atol=1e-4)


def test_bf16_stays_near_fp32(tmp_path: Path) -> None:
    folder = write_base(tmp_path)

    scores = TransformersEngine.load(folder, precision="bf16", threads=1).score(PROMPTS, CODES, len(HEAD))

    np.testing.assert_allclose(scores.logprobs, reference(folder, PROMPTS), atol=0.2)


def test_a_new_head_replaces_the_old_one(tmp_path: Path) -> None:
    folder = write_base(tmp_path)
    engine = TransformersEngine.load(folder, precision="fp32", threads=1)
    engine.score(PROMPTS, CODES, len(HEAD))
    others = [[p + 1 for p in prompt] for prompt in PROMPTS]

    scores = engine.score(others, CODES, len(HEAD))

    np.testing.assert_allclose(scores.logprobs, reference(folder, others), atol=1e-4)


def test_no_calls_give_no_rows(tmp_path: Path) -> None:
    scores = TransformersEngine.load(write_base(tmp_path), threads=1).score([], CODES, 24)

    assert scores.logprobs.shape == (0, 3)


@pytest.mark.parametrize("kind", ["cuda", "cpu", "numpy"])
def test_out_of_memory_halves_the_batch_and_then_names_the_setting(tmp_path: Path, kind: str) -> None:
    import torch

    errors = {
        "cuda": torch.OutOfMemoryError("CUDA out of memory"),
        "cpu": RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        "numpy": MemoryError("Unable to allocate 1.00 GiB"),
    }

    class Scarce(TransformersEngine):
        rows = 2

        def _batch(self, prompts, category_ids, skip):  # type: ignore[no-untyped-def]
            if len(prompts) > self.rows:
                raise errors[kind]
            return super()._batch(prompts, category_ids, skip)

    folder = write_base(tmp_path)
    engine = Scarce.load(folder, precision="fp32", threads=1)
    assert engine.fits_tokens is None

    scores = engine.score(PROMPTS, CODES, len(HEAD))

    np.testing.assert_allclose(scores.logprobs, reference(folder, PROMPTS), atol=1e-4)
    assert engine.fits_tokens == 256
    engine.rows = 0
    with pytest.raises(RowsFailed, match="max_call_tokens") as caught:
        engine.score(PROMPTS, CODES, len(HEAD))
    assert caught.value.failed.keys() == set(range(len(PROMPTS)))
    assert {type(why) for why in caught.value.failed.values()} == {ResourceInsufficient}


def test_pickled_weights_are_refused_with_the_command_that_converts_them(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")

    with pytest.raises(ModelLoadError, match=r"pickled .bin weights.*save_pretrained"):
        form_of(tmp_path)


def test_damaged_weights_are_a_model_load_error(tmp_path: Path) -> None:
    folder = write_base(tmp_path)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])

    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        TransformersEngine.load(folder)


def test_loading_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_base(tmp_path)
    capfd.readouterr()

    TransformersEngine.load(folder, threads=1)

    assert capfd.readouterr() == ("", "")


def test_batches_hold_every_call_once_and_the_budget() -> None:
    lengths = [3, 50, 7, 7, 200, 12, 50, 49]

    batches = prefill.by_length(lengths, 100)

    assert sorted(i for b in batches for i in b) == list(range(8))
    assert all(len(b) * max(lengths[i] for i in b) <= 100 for b in batches if len(b) > 1)
