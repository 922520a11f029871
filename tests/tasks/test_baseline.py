"""The TF-IDF yardstick."""

from pathlib import Path

import numpy as np
import polars as pl

from configs.training import BaselineSettings
from data_contracts.artifacts import PREDICTION_COLUMNS
from tasks.baseline import fit
from tests.tiny import Bench, make_bench


def predictions(bench: Bench) -> pl.DataFrame:
    work = bench.work("baseline")
    sides = fit(bench.splits, bench.taxonomy, BaselineSettings(), work).predictions
    assert set(sides) == {"calibration", "gold"}
    assert (sides["gold"].hop, sides["gold"].side, sides["gold"].tokens) == ("baseline", "gold", 0)
    return pl.read_parquet(work.out / "gold.parquet")


def test_it_learns_and_speaks_in_probabilities(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)

    frame = predictions(bench)

    logprobs = np.array(frame["logprobs"].to_list())
    truth = [bench.taxonomy.index[key] for key in frame["category"]]
    assert tuple(frame.columns) == PREDICTION_COLUMNS
    assert (logprobs.argmax(axis=1) == truth).all()
    np.testing.assert_allclose(np.exp(logprobs).sum(axis=1), 1, atol=1e-4)
    assert set(frame["label_mass"]) == {1.0}


def test_a_category_without_training_calls_gets_a_floor(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    side = bench.store.local(bench.splits.file("train"))
    pl.read_parquet(side).filter(pl.col("complaint_category") != "none").write_parquet(side)
    (side.parent / ".files.json").unlink()

    frame = predictions(bench)

    missing = np.array(frame["logprobs"].to_list())[:, bench.taxonomy.index["none"]]
    assert np.isfinite(missing).all()
    assert (missing < -10).all()
