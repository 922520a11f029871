"""What a scored side holds."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from configs.serving import ServeSettings
from configs.training import TrainSettings
from data_contracts.artifacts import PREDICTION_COLUMNS
from data_contracts.errors import ModelLoadError
from tasks import looks
from tasks.score import score
from tasks.train import fit
from tests.tiny import Bench, make_bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("score"), rows=12)


def test_rows_keep_the_order_and_columns_of_the_contract(bench: Bench) -> None:
    work = bench.work("untuned")

    scored = score(
        bench.base,
        "untuned",
        bench.splits,
        ("calibration", "gold"),
        bench.prompt,
        bench.taxonomy,
        ServeSettings(threads=1),
        work,
    )

    gold = scored.predictions["gold"]
    frame = pl.read_parquet(work.out / "gold.parquet")
    side = pl.read_parquet(bench.store.local(bench.splits.file("gold")))
    assert tuple(frame.columns) == PREDICTION_COLUMNS
    assert frame["conversation_id"].equals(side["conversation_id"])
    assert frame["category"].to_list() == side["complaint_category"].to_list()
    mass = np.exp(np.array(frame["logprobs"].to_list())).sum(axis=1)
    np.testing.assert_allclose(mass, frame["label_mass"].to_numpy(), rtol=1e-4)
    assert (gold.hop, gold.rows, gold.rows_digest) == ("untuned", 12, bench.splits.gold_digest)
    assert gold.tokens == frame["tokens"].sum() > 0
    assert scored.predictions["calibration"].key == f"{work.key}/calibration.parquet"


def test_truncation_is_counted(bench: Bench) -> None:
    work = bench.work("short")
    prompt = bench.prompt.model_copy(update={"max_call_tokens": 16})

    score(bench.base, "untuned", bench.splits, ("gold",), prompt, bench.taxonomy, ServeSettings(threads=1), work)

    assert (pl.read_parquet(work.out / "gold.parquet")["truncated"] > 0).any()


def test_a_code_of_two_tokens_is_refused_before_any_scoring(bench: Bench, tmp_path: Path) -> None:
    first, *others = bench.taxonomy.categories
    long = first.model_copy(update={"code": "AB"})
    taxonomy = bench.taxonomy.model_copy(update={"categories": (long, *others)})

    with pytest.raises(ModelLoadError, match="must be exactly one"):
        score(
            bench.base, "untuned", bench.splits, ("gold",), bench.prompt, taxonomy, ServeSettings(), bench.work("codes")
        )


def test_an_adapter_has_looked_at_gold_before_it_answers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    work = bench.work("fit")
    settings = TrainSettings(epochs=1, batch_tokens=512, rank=2, precision="fp32")
    adapter = fit(bench.splits, bench.base, bench.prompt, bench.taxonomy, settings, work)
    bench.commit(work)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tasks.score._engine", killed)
    how = (bench.prompt, bench.taxonomy, ServeSettings(threads=1))
    score_on = [("calibration",), ("gold",), ("gold",)]
    seen = []
    for i, sides in enumerate(score_on):
        with pytest.raises(KeyboardInterrupt):
            score(adapter, "adapter", bench.splits, sides, *how, bench.work(f"killed-{i}"))  # type: ignore[arg-type]
        seen.append(len(list(bench.store.keys(f"looks/{bench.splits.gold_digest}"))))

    assert seen == [0, 1, 1]
    assert looks.judged(bench.store, bench.splits.gold_digest, "another", "gate", "b") == 2
