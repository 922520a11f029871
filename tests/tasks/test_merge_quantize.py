"""Every form of the model answers as the one it was made from, and loads back without pickle."""

import json
from pathlib import Path

import numpy as np
import pytest

from configs.serving import ServeSettings
from configs.training import TrainSettings
from data_contracts.artifacts import Form, Hop, Model
from data_contracts.errors import ConfigurationError, ModelLoadError
from deploy.engines.weights import form_of
from tasks import merge, quantize, score, train
from tests.tiny import Bench, make_bench

FP32 = ServeSettings(precision="fp32", threads=1)


QUICK = TrainSettings(epochs=1, learning_rate=5e-3, rank=4, batch_tokens=256, precision="fp32")


def merged(
    bench: Bench, serve: ServeSettings = FP32, settings: TrainSettings = QUICK
) -> tuple[Model, np.ndarray, np.ndarray]:
    """A trained adapter merged, with the gold log-probabilities of adapter and merged model."""
    work = bench.work("train")
    adapter = train.fit(bench.splits, bench.base, bench.prompt, bench.taxonomy, settings, work)
    bench.commit(work)
    work = bench.work("merge")
    model = merge.merge(adapter, work)
    bench.commit(work)
    return model, logprobs(bench, adapter, "adapter", serve), logprobs(bench, model, "merged", serve)


def logprobs(bench: Bench, model, hop: Hop, serve: ServeSettings = FP32) -> np.ndarray:  # type: ignore[no-untyped-def]
    import polars as pl

    work = bench.work(f"score-{hop}")
    sides = score.score(model, hop, bench.splits, ("gold",), bench.prompt, bench.taxonomy, serve, work)
    bench.commit(work)
    return np.array(pl.read_parquet(bench.store.local(sides.predictions["gold"].key))["logprobs"].to_list())


def make(bench: Bench, model: Model, form: Form) -> Model:
    work = bench.work(f"quantize-{form}")
    made = quantize.quantize(model, form, work)
    bench.commit(work)
    return made


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("qwen3"))


@pytest.fixture(scope="module")
def trained(qwen3: Bench) -> tuple[Model, np.ndarray, np.ndarray]:
    return merged(qwen3)


def test_the_merged_model_answers_as_the_adapter(trained: tuple[Model, np.ndarray, np.ndarray]) -> None:
    _, adapter, merged = trained

    np.testing.assert_allclose(merged, adapter, atol=2e-4)


@pytest.mark.parametrize("form", ["int8", "gguf-q8_0"])
def test_a_quantized_form_answers_nearly_as_the_merged_model(
    qwen3: Bench, trained: tuple[Model, np.ndarray, np.ndarray], form: Form
) -> None:
    model, _, want = trained

    made = make(qwen3, model, form)

    folder = qwen3.store.local(made.key)
    assert form_of(folder) == form
    assert made.size_mb < model.size_mb
    assert not [p.name for p in folder.rglob("*") if p.suffix in (".bin", ".pt", ".pkl")]
    np.testing.assert_allclose(logprobs(qwen3, made, form), want, atol=0.15)


@pytest.mark.parametrize(("kind", "tied"), [("Qwen2", True), ("Llama", False)])
def test_other_architectures_go_through_every_form(tmp_path: Path, kind: str, tied: bool) -> None:
    bench = make_bench(tmp_path, rows=6, kind=kind, tied=tied)
    model, _, want = merged(bench)

    for form in ("int8", "gguf-q8_0"):
        got = logprobs(bench, make(bench, model, form), form)
        np.testing.assert_allclose(got, want, atol=0.15)


def test_the_gguf_file_is_one_others_can_read(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    bench = make_bench(tmp_path, rows=6, head_dim=128)  # transformers reads no other size from a qwen3 GGUF
    model, _, _ = merged(bench)
    folder = bench.store.local(make(bench, model, "gguf-q8_0").key)
    prompt = torch.tensor([list(range(5, 40))])

    theirs = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", dtype=torch.float32)

    ours = AutoModelForCausalLM.from_pretrained(bench.store.local(model.key), dtype=torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(theirs(prompt).logits, ours(prompt).logits, atol=0.3, rtol=0)


def test_a_form_that_does_not_exist_for_the_architecture_names_the_setting(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, rows=6)
    model, _, _ = merged(bench)
    config = bench.store.local(model.key) / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_type": "gpt_bigcode"}))

    with pytest.raises(ConfigurationError, match=r"gpt_bigcode.*quantize\.forms"):
        quantize.quantize(model, "gguf-q8_0", bench.work("bad"))


def test_an_adapter_of_another_base_is_a_model_load_error(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, rows=6)
    settings = TrainSettings(epochs=1, rank=4, batch_tokens=256, precision="fp32")
    work = bench.work("train")
    adapter = train.fit(bench.splits, bench.base, bench.prompt, bench.taxonomy, settings, work)
    bench.commit(work)
    (tmp_path / "other").mkdir()
    other = make_bench(tmp_path / "other", rows=6, hidden_size=64).base

    with pytest.raises(ModelLoadError, match="does not fit"):
        merge.merge(adapter.model_copy(update={"base": other}), bench.work("merge"))


@pytest.mark.gpu
def test_qlora_learns_on_four_bits_and_merges_onto_the_whole_base(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, rows=36, hidden_size=128, intermediate_size=256, head_dim=32)
    settings = TrainSettings(method="qlora", epochs=6, learning_rate=5e-3, rank=4, batch_tokens=1024, dropout=0.0)
    model, adapter, whole = merged(bench, ServeSettings(), settings)

    assert form_of(bench.store.local(model.key)) == "merged"
    assert (adapter.argmax(axis=1) == whole.argmax(axis=1)).mean() > 0.8
    np.testing.assert_allclose(whole, adapter, atol=1.0)
