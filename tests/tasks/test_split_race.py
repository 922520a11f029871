"""Custody when another process freezes the gold set between the question and the split."""

from pathlib import Path

import polars as pl

from data_contracts.artifacts import Splits
from deploy.store import FolderStore
from tasks import split, stages
from tests.tasks.kept import call, keep
from tests.tasks.test_refresh import DATA, FITTED, HOW, divide


def test_a_gold_set_frozen_meanwhile_keeps_its_customers_other_names_out(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    golden = next(f"p{i}" for i in range(999) if split.side_of(f"p{i}", HOW) == "gold")
    alias = next(f"q{i}" for i in range(999) if split.side_of(f"q{i}", HOW) == "train")
    base = [call(at, customer=f"g{at // 2}") for at in range(80)]
    a = keep(store, [*base, call(500, customer=golden)], "a")
    keep(store, [call(500, customer=alias), call(501, customer="z1")], "tells")
    b = keep(store, [*base[:-2], call(600, customer=alias), call(601, customer=alias)], "b")
    stale = split.custody(store, b, HOW)  # asked before the other process froze its gold set
    divide(store, a)

    made = stages.run(store, "stages/split/x", Splits, lambda work: split.split(b, HOW, DATA, stale, work)).result

    read = pl.concat([pl.read_parquet(store.local(made.file(s))) for s in FITTED])
    assert alias not in read["group"].to_list()


def test_the_key_of_a_split_is_the_same_before_and_after_its_gold_set_is_there(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    a = keep(store, [call(at, customer=f"g{at // 2}") for at in range(80)], "a")
    before = split.custody(store, a, HOW)
    divide(store, a)
    after = split.custody(store, a, HOW)

    keys = [stages.stage_key("split", {"3": each}, split) for each in (before, after)]
    assert keys[0] == keys[1]
