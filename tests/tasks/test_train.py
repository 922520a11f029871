"""Training: what it learns, and what it keeps."""

import io
import json
import shutil
from pathlib import Path

import pytest

from configs.training import TrainSettings
from data_contracts.errors import ConfigurationError
from deploy.store import sha256_file
from tasks import train
from tasks.batches import Batches, category_weights
from tasks.progress import Line, Meter
from tasks.trainer import exhausted, macro_f1
from tests.tiny import Bench, make_bench

WEIGHTS = "adapter_model.safetensors"
QUICK = TrainSettings(
    epochs=2, learning_rate=5e-3, rank=4, batch_tokens=256, dropout=0.1, checkpoint_steps=3, precision="fp32"
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("train"), rows=36)


def fit(bench: Bench, name: str, settings: TrainSettings = QUICK):  # type: ignore[no-untyped-def]
    work = bench.work(name)
    shutil.rmtree(work.out)
    work.out.mkdir()
    return train.fit(bench.splits, bench.base, bench.prompt, bench.taxonomy, settings, work), work


def test_lora_learns_a_repetitive_task(bench: Bench) -> None:
    adapter, work = fit(bench, "learn", QUICK.model_copy(update={"epochs": 6, "dropout": 0.0, "patience": 6}))

    assert adapter.history[-1]["loss"] < adapter.history[0]["loss"] / 2
    assert adapter.metrics["validation_macro_f1"] > 0.6
    assert {p.name for p in (work.out / "adapter").iterdir()} == {"adapter_config.json", WEIGHTS}
    files = {side: work.store.local(bench.splits.file(side)) for side in ("train", "validation")}
    assert adapter.trained_on == {side: sha256_file(path) for side, path in files.items()}


def test_a_finished_run_that_was_not_recorded_is_not_trained_again(bench: Bench) -> None:
    settings = QUICK.model_copy(update={"epochs": 8, "learning_rate": 1e-9, "patience": 1})
    first, _ = fit(bench, "stop", settings)

    again, _ = fit(bench, "stop", settings)

    assert first.metrics["epochs"] == 2
    assert (again.digest, again.metrics["steps"]) == (first.digest, 0)


def test_gradient_checkpointing_trains_without_a_shared_head(bench: Bench) -> None:
    adapter, _ = fit(bench, "recompute", QUICK.model_copy(update={"epochs": 1, "gradient_checkpointing": True}))

    assert adapter.metrics["steps"] > 0


def test_another_architecture_with_its_own_output_embedding_trains(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, rows=6, kind="Llama", tied=False)

    adapter, _ = fit(bench, "llama", QUICK.model_copy(update={"epochs": 1}))

    modules = json.loads((bench.work("llama").out / "adapter/adapter_config.json").read_text())["target_modules"]
    assert adapter.metrics["steps"] > 0
    assert "lm_head" not in modules


def test_qlora_without_cuda_is_refused_with_what_to_set_instead(bench: Bench) -> None:
    with pytest.raises(ConfigurationError, match=r"train\.method=lora"):
        fit(bench, "qlora", QUICK.model_copy(update={"method": "qlora"}))


def test_batches_are_as_many_in_every_epoch_and_hold_every_call_once() -> None:
    lengths = [17 * i % 90 + 1 for i in range(200)]
    batches = Batches(lengths, 512, seed=3)

    orders = []
    for epoch in range(4):
        batches.set_epoch(epoch)
        order = list(batches)
        assert len(order) == len(batches)
        assert sorted(i for b in order for i in b) == list(range(200))
        assert all(len(b) * max(lengths[i] for i in b) <= 512 for b in order)
        orders.append(order)
    assert orders[0] != orders[1]
    batches.set_epoch(0)
    assert list(batches) == orders[0]


def test_category_weights_average_to_one_over_calls() -> None:
    weights = category_weights([90, 10, 0], 0.5)

    assert weights[2] == 0
    assert (90 * weights[0] + 10 * weights[1]) / 100 == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(3)


def test_macro_f1_counts_categories_that_occur() -> None:
    assert macro_f1([0, 0, 1, 1], [0, 0, 1, 0]) == pytest.approx((0.8 + 2 / 3) / 2)
    assert macro_f1([], []) == 0


def test_patience_counts_epochs_since_the_best() -> None:
    history = [{"eval_macro_f1": v} for v in (0.5, 0.7, 0.6, 0.7)]

    assert exhausted(history, 2)
    assert not exhausted(history, 3)
    assert not exhausted([], 1)


def test_progress_is_whole_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()

    Line(stream, Meter(tokens=1000, steps=1)).show(1, 10, [0.5], now=True)

    assert stream.getvalue().endswith(" s left\n")
    assert "macro-F1 0.500" in stream.getvalue()
