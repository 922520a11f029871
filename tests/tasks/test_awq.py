"""AWQ: unpacked as packed, made of our own calls where LMDeploy's environment is, refused with the way to it elsewhere."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from configs.training import QuantizeSettings
from data_contracts.artifacts import Model
from data_contracts.errors import ConfigurationError, EngineUnavailable
from deploy.engines import weights
from deploy.tokenizer import Tokens
from tasks import awq
from tests.tasks.test_merge_quantize import logprobs, merged
from tests.tiny import Bench, make_bench, write_base

PACKED = (0, 2, 4, 6, 1, 3, 5, 7)  # LMDeploy's `WeightOnlyQLinear`: which of eight outputs goes to which four bits
GROUP = 128
FITS = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64, "initializer_range": 0.05}
LMDEPLOY = os.environ.get("TINGSU_LMDEPLOY_PYTHON", "")


def pack(values: np.ndarray) -> np.ndarray:
    """(I, O) of 0 … 15 → (I, O / 8) int32."""
    packed = np.zeros((values.shape[0], values.shape[1] // 8), dtype=np.uint32)
    for at, output in enumerate(PACKED):
        packed |= values[:, output::8].astype(np.uint32) << np.uint32(4 * at)
    return packed.view(np.int32)


def quantized(weight: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A weight (O, I) rounded to int4 in groups of inputs, as AWQ stores it, and what it then is."""
    grouped = weight.T.reshape(-1, GROUP, weight.shape[0])
    low, high = grouped.min(1, keepdims=True), grouped.max(1, keepdims=True)
    scales = ((high - low) / 15).astype(np.float16).astype(np.float32)
    zeros = np.round(-low / scales).clip(0, 15)
    values = (np.round(grouped / scales) + zeros).clip(0, 15)
    stored = {
        "qweight": pack(values.reshape(weight.T.shape)),
        "qzeros": pack(zeros[:, 0]),
        "scales": scales[:, 0].astype(np.float16),
    }
    return stored, ((values - zeros) * scales).reshape(weight.T.shape).T


def test_packed_weights_load_as_what_was_packed(tmp_path: Path) -> None:
    import torch
    from safetensors.numpy import load_file, save_file

    folder = write_base(tmp_path / "awq", **FITS)
    stored = dict(load_file(folder / "model.safetensors"))
    want = {}
    for name in [k for k in stored if k.endswith("proj.weight")]:
        parts, want[name] = quantized(stored.pop(name))
        stored |= {name.replace("weight", part): np.ascontiguousarray(values) for part, values in parts.items()}
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    how = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm", "zero_point": True}
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": how}))

    model = weights.load_model(folder, "fp32")

    assert weights.form_of(folder) == "awq"
    assert len(want) == 14
    for name, values in want.items():
        np.testing.assert_allclose(model.get_parameter(name).detach().numpy(), values, atol=1e-6, err_msg=name)
    with torch.inference_mode():
        assert torch.isfinite(model(torch.tensor([[5, 6, 7]])).logits).all()


def settings(python: str = "") -> QuantizeSettings:
    return QuantizeSettings(forms=("int8", "awq"), lmdeploy_python=python)


def test_without_an_environment_the_refusal_says_how_to_make_one(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", **FITS)

    awq.check(QuantizeSettings(), base)
    with pytest.raises(ConfigurationError, match=r"python3 -m venv .*requirements\.txt.*quantize\.lmdeploy_python"):
        awq.check(settings(), base)
    with pytest.raises(ConfigurationError, match=r"has no Python, and lmdeploy \d"):
        awq.check(settings(str(tmp_path / "nowhere/python")), base)
    with pytest.raises(ConfigurationError, match=r"has no lmdeploy, and lmdeploy \d"):
        awq.check(settings("/usr/bin/env"), base)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_size": 192, "intermediate_size": 512}, "hidden_size 192"),
        ({"hidden_size": 256, "intermediate_size": 500}, "intermediate_size 500"),
        ({**FITS, "head_dim": 24}, "head_dim 96"),
        ({**FITS, "kind": "Gemma2"}, "AWQ of a Gemma2ForCausalLM"),
    ],
)
def test_a_model_that_awq_does_not_fit_is_refused(tmp_path: Path, config: dict[str, object], message: str) -> None:
    base = write_base(tmp_path / "base", **config)  # type: ignore[arg-type]

    with pytest.raises(ConfigurationError, match=f"{message}.*leave 'awq' out of quantize.forms"):
        awq.check(settings(), base)


def test_blocks_are_whole_prompts_end_to_end(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, rows=6)
    tokens = Tokens.load(Path(bench.base.path))
    calls = ["客户：宽带断了两天"] * 20
    prompts = [i for call in calls for i in bench.prompt.encode(call, tokens).ids]

    made = awq.blocks(calls, bench.prompt, tokens)

    assert {len(block) for block in made} == {awq.BLOCK_TOKENS}
    assert [i for block in made for i in block] == prompts[: len(made) * awq.BLOCK_TOKENS]
    assert awq.blocks(calls[:1], bench.prompt, tokens) == [prompts[: len(prompts) // 20]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Model, np.ndarray]:
    bench = make_bench(tmp_path_factory.mktemp("awq"), **FITS)
    model, _, want = merged(bench)
    return bench, model, want


@pytest.mark.slow
@pytest.mark.skipif(not LMDEPLOY, reason="TINGSU_LMDEPLOY_PYTHON names no interpreter with LMDeploy")
def test_lmdeploy_makes_weights_that_answer_nearly_as_the_merged_model(
    trained: tuple[Bench, Model, np.ndarray],
) -> None:
    bench, model, want = trained
    awq.check(settings(LMDEPLOY), Path(bench.base.path))
    work = bench.work("awq")
    files = [bench.store.local(bench.splits.key) / f"{side}.parquet" for side in ("gold", "calibration", "validation")]
    kept = {file: file.read_bytes() for file in files}
    for file, data in kept.items():
        file.write_bytes(bytes(len(data)))  # none of AWQ's business: reading one fails

    made = awq.quantize(model, bench.splits, bench.prompt, Path(LMDEPLOY), work)

    for file, data in kept.items():
        file.write_bytes(data)
    bench.commit(work)
    folder = bench.store.local(made.key)
    assert weights.form_of(folder) == made.form == "awq"
    assert made.size_mb < model.size_mb
    assert not [p.name for p in folder.rglob("*") if p.suffix in (".bin", ".pt", ".pth", ".pkl")]
    off = np.abs(logprobs(bench, made, "awq") - want)  # random weights are the worst for 4 bits: 0.11 of each is lost
    assert off.max() < 1.5 and off.mean() < 0.4


@pytest.mark.slow
@pytest.mark.skipif(not LMDEPLOY, reason="TINGSU_LMDEPLOY_PYTHON names no interpreter with LMDeploy")
def test_what_lmdeploy_cannot_do_is_one_sentence_with_its_last_line(
    trained: tuple[Bench, Model, np.ndarray],
) -> None:
    bench, model, _ = trained
    source = bench.store.local(model.key)
    (source / "config.json").write_text('{"model_type": "gpt_bigcode", "architectures": ["GPTBigCodeForCausalLM"]}')

    with pytest.raises(EngineUnavailable, match=r"could not make AWQ weights \(exit 1\)"):
        awq.quantize(model, bench.splits, bench.prompt, Path(LMDEPLOY), bench.work("refused"))
