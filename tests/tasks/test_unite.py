"""Merging datasets: every conversation once, under one category and one customer, whatever the order and however often."""

from pathlib import Path

import polars as pl
import pytest

from configs.dataset import DataSettings, SplitSettings
from data_contracts.artifacts import Dataset
from data_contracts.errors import BundleCorrupt, ConfigurationError, ContractViolation
from deploy.store import FolderStore
from tasks import catalog, split, unite
from tasks.stages import Work
from tests.tasks.kept import OTHER, call, keep, text


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def test_a_merge_holds_every_call_once_and_names_its_parents(store: FolderStore) -> None:
    june, july = (
        keep(store, [call(at) for at in range(6)], "june"),
        keep(store, [call(at) for at in range(4, 9)], "july"),
    )
    made = unite.unite(store, [july, june], "both")
    calls = catalog.calls_of(store, made.dataset)

    assert calls["conversation_id"].to_list() == [f"c{at:05}" for at in range(9)]
    assert (made.merging.calls, made.merging.repeated, made.merging.relabelled) == (11, 2, 0)
    assert (made.dataset.accepted, made.dataset.categories, made.dataset.groups) == (9, {"a": 5, "b": 4}, 9)
    assert [(p.kind, p.digest, p.name) for p in made.dataset.parents] == [
        ("dataset", june.id, "june"),
        ("dataset", july.id, "july"),
    ]
    assert (
        catalog.identify(calls, catalog.Kind("complaints", True, catalog.taxonomy_of(store, june))) == made.dataset.id
    )
    assert unite.merging_of(store, made.dataset) == made.merging


def test_merged_again_in_any_order_it_is_the_same_dataset(store: FolderStore) -> None:
    parts = [keep(store, [call(at) for at in range(start, start + 5)], f"n{start}") for start in (0, 3, 6)]
    first = unite.unite(store, parts, "all")
    again = unite.unite(store, parts[::-1], "other name")
    step = unite.unite(store, [unite.unite(store, parts[:2], "two").dataset, parts[2]], "in steps")

    assert first.is_new
    assert not again.is_new and again.dataset == first.dataset
    assert not step.is_new and step.dataset == first.dataset
    assert [d.name for d in catalog.listed(store)].count("all") == 1


def test_a_dataset_that_holds_the_other_already_is_the_answer(store: FolderStore) -> None:
    some, all_ = keep(store, [call(1)], "some"), keep(store, [call(1), call(2)], "all")

    assert unite.unite(store, [some, all_], "x").dataset == all_


def test_a_conversation_under_two_categories_is_refused_and_named_in_both_languages(store: FolderStore) -> None:
    old = keep(store, [call(at, "a") for at in range(8)], "old")
    new = keep(store, [call(at, "b" if at < 7 else "a") for at in range(8)], "new")
    with pytest.raises(ContractViolation) as refused:
        unite.unite(store, [old, new], "both")

    assert str(refused.value).startswith(
        "7 conversations have another category in another dataset: c00000: b / a; c00001"
    )
    assert "--prefer newest" in str(refused.value)
    assert "7 通通话在不同数据集中类别不同" in str(refused.value)
    assert len(catalog.listed(store)) == 2


def test_preferred_the_newest_dataset_decides_category_and_text(store: FolderStore) -> None:
    old = keep(store, [call(1, "a"), call(2, "a")], "old")
    new = keep(store, [call(1, "b", words=text(77))], "new")
    made = unite.unite(store, [old, new], "both", newest_wins=True)
    calls = catalog.calls_of(store, made.dataset)

    assert made.merging.relabelled == 1
    assert calls["complaint_category"].to_list() == ["b", "a"]
    assert calls["input_text"].to_list() == [text(77), text(2)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"taxonomy": OTHER}, "differ in taxonomy"),
        ({"family": "june"}, "differ in family"),
        ({"real": True}, "differ in synthetic"),
    ],
)
def test_what_does_not_belong_together_is_not_merged(
    store: FolderStore, change: dict[str, object], sentence: str
) -> None:
    one = keep(store, [call(1)], "one")
    other = keep(store, [call(2)], "other", **change)  # type: ignore[arg-type]

    with pytest.raises(ContractViolation, match=sentence):
        unite.unite(store, [one, other], "both")


def test_a_dataset_changed_in_the_store_is_not_read(store: FolderStore) -> None:
    one, other = keep(store, [call(1)], "one"), keep(store, [call(2)], "other")
    path = store.root / one.key / "calls.parquet"
    path.write_bytes(path.read_bytes().replace(b"c00001", b"c00009"))

    with pytest.raises(BundleCorrupt, match=rf"dataset {one.id[:12]} \(one\) was changed in the store"):
        unite.unite(store, [one, other], "both")


def test_a_name_is_kept_without_what_personal_data_somebody_wrote_into_it(store: FolderStore) -> None:
    made = unite.unite(store, [keep(store, [call(1)], "one"), keep(store, [call(2)], "other")], "六月\n13812345678 的")

    assert "13812345678" not in made.dataset.name and "\n" not in made.dataset.name
    assert made.dataset.name.startswith("六月")


def test_one_dataset_twice_is_no_merge(store: FolderStore) -> None:
    one = keep(store, [call(1)], "one")

    with pytest.raises(ConfigurationError, match="two or more different datasets"):
        unite.unite(store, [one, one], "both")
    with pytest.raises(ConfigurationError, match="--name NAME"):
        unite.unite(store, [one, keep(store, [call(2)], "other")], " ")


def test_a_customer_known_by_several_ids_is_one_customer_of_the_merge(store: FolderStore) -> None:
    """c1 is by `old` in one dataset, by `new` in another, by nobody in a third; each of them made another call too."""
    parts = [
        keep(store, [call(1, customer="old"), call(2, customer="old")], "one"),
        keep(store, [call(1, customer="new"), call(3, customer="new")], "two"),
        keep(store, [call(1), call(4)], "three"),
    ]
    made = unite.unite(store, parts, "all")
    groups = dict(catalog.calls_of(store, made.dataset).select("conversation_id", "group").iter_rows())

    assert groups["c00001"] == groups["c00002"] == groups["c00003"] == "new"
    assert groups["c00004"] not in ("old", "new")


def test_customers_of_the_gold_set_stay_out_of_training_in_a_merge_even_under_another_id(
    store: FolderStore, tmp_path: Path
) -> None:
    def divide(dataset: Dataset, name: str) -> dict[str, pl.DataFrame]:
        out, how = tmp_path / name, SplitSettings(gold_share=0.25, validation_share=0.25, calibration_share=0.25)
        out.mkdir()
        work = Work(store=store, key=f"stages/split/{name}", out=out, scratch=tmp_path / f"scratch-{name}")
        split.split(dataset, how, DataSettings(), split.custody(store, dataset, how), work)
        return {s: pl.read_parquet(out / f"{s}.parquet") for s in ("train", "validation", "calibration", "gold")}

    first = keep(store, [call(at, customer=f"g{at // 2}") for at in range(120)], "first")
    frozen = divide(first, "one")["gold"]
    renamed = [call(int(n[1:]), customer=f"renamed-{g}") for n, g in frozen.select("conversation_id", "group").rows()]
    others = [call(1000 + at, customer=str(row["group"])) for at, row in enumerate(renamed)]
    second = keep(store, [*renamed, *others], "second")
    merged = unite.unite(store, [first, second], "both")

    for name, dataset in (
        ("two", merged.dataset),
        (
            "three",
            unite.unite(store, [second, keep(store, [call(at) for at in range(2000, 2100)], "more")], "x").dataset,
        ),
    ):
        sides = divide(dataset, name)
        assert sides["gold"].equals(frozen)
        fitted = {c for side in ("train", "validation", "calibration") for c in sides[side]["conversation_id"]}
        assert fitted
        assert not fitted & {str(row["conversation_id"]) for row in [*renamed, *others]}
