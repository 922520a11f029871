"""A refreshed gold set: newer calls beside old ones, nobody in any version of it is trained on, and looks are not forgotten."""

from pathlib import Path

import polars as pl
import pytest

from configs.dataset import DataSettings, SplitSettings
from data_contracts.artifacts import Dataset, Side, Splits
from data_contracts.errors import BundleCorrupt, ConfigurationError, ContractViolation
from deploy.store import FolderStore
from tasks import gold, history, looks, refresh, split, stages
from tasks.refresh import Why
from tests.tasks.kept import OTHER, Row, call, keep, text

HOW = SplitSettings(gold_share=0.25, validation_share=0.25, calibration_share=0.25)
DATA = DataSettings()
WHY = Why(reason="a new tariff", by="tester")
FITTED: tuple[Side, ...] = ("train", "validation", "calibration")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def calls(start: int, count: int, day: str = "2026-01-15") -> list[Row]:
    """Two calls a customer."""
    return [call(at, customer=f"g{at // 2}", day=f"{day}T10:00:00") for at in range(start, start + count)]


def divide(store: FolderStore, dataset: Dataset, how: SplitSettings = HOW) -> tuple[Splits, dict[Side, pl.DataFrame]]:
    """Split as the pipeline does, kept by its stage key."""
    custody = split.custody(store, dataset, how)
    key = stages.stage_key("split", {"0": dataset, "1": how, "2": DATA, "3": custody}, split)
    made = stages.run(store, key, Splits, lambda work: split.split(dataset, how, DATA, custody, work)).result
    return made, {side: pl.read_parquet(store.local(made.file(side))) for side in (*FITTED, "gold")}


def plan(store: FolderStore, dataset: Dataset, why: Why = WHY, how: SplitSettings = HOW) -> refresh.Next:
    return refresh.plan(store, dataset, how, DATA, why)


def fitted(sides: dict[Side, pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([sides[side] for side in FITTED])


def test_new_gold_calls_are_of_customers_no_model_was_trained_on_and_the_old_ones_stay(store: FolderStore) -> None:
    first = keep(store, calls(0, 200), "first")
    before, old = divide(store, first)
    second = keep(store, [*calls(0, 200), *calls(1000, 200, "2026-06-15")], "second")
    made = refresh.refresh(store, plan(store, second))
    after, new = divide(store, second)

    assert made.version == 2 and made.refresh is not None and made.refresh.added > 20
    assert (made.refresh.stayed, made.refresh.retired) == (old["gold"].height, 0)
    assert after.gold_digest == made.digest != before.gold_digest
    assert (
        new["gold"].join(old["gold"], on="conversation_id", how="semi").select(old["gold"].columns).equals(old["gold"])
    )
    assert new["gold"].height == made.rows == old["gold"].height + made.refresh.added
    assert not set(new["gold"]["group"]) & {*fitted(old)["group"], *fitted(new)["group"]}


def test_calls_that_left_gold_are_never_trained_on(store: FolderStore) -> None:
    first = keep(store, [*calls(0, 100), *calls(100, 100, "2026-05-15")], "first")
    _, old = divide(store, first)
    again = [
        call(at, customer=f"g{at // 2}", day="2026-07-01T09:00:00") for at in range(0, 50)
    ]  # others never call again
    second = keep(
        store,
        [*(r | {"conversation_id": f"x{r['conversation_id']}"} for r in again), *calls(1000, 200, "2026-06-15")],
        "second",
    )
    made = refresh.refresh(store, plan(store, second, WHY.model_copy(update={"since": "2026-05-01"})))
    _, new = divide(store, second)
    less = HOW.model_copy(update={"gold_share": 0.01})  # by their hash alone they would train
    _, newest = divide(store, keep(store, [*calls(0, 200), *calls(3000, 100)], "third"), less)
    left = old["gold"].filter(pl.col("started_at") < "2026-05-01")

    assert made.refresh is not None and made.refresh.retired == left.height > 10
    assert set(left["group"]) - set(new["gold"]["group"])
    assert not set(left["conversation_id"]) & set(new["gold"]["conversation_id"])
    for sides in (new, newest):
        assert sides["gold"]["started_at"].min() >= "2026-05-01"
        assert fitted(sides).height
        assert not {*left["group"], *sides["gold"]["group"]} & set(fitted(sides)["group"])


def test_nothing_comes_that_a_model_has_read_under_other_shares(store: FolderStore) -> None:
    """With a greater gold share, customers and words of earlier training would count as gold."""
    first = keep(store, calls(0, 200), "first")
    _, old = divide(store, first)
    read = fitted(old)
    more = HOW.model_copy(update={"gold_share": 0.5})
    twins = [call(5000 + at, words=str(words) + "呀") for at, words in enumerate(read["input_text"])]
    second = keep(store, [*calls(0, 200), *calls(1000, 100), *twins], "second")
    planned = plan(store, second, how=more)
    coming = planned.calls.join(old["gold"], on="conversation_id", how="anti")

    assert coming.height and planned.trained > 20
    assert not set(coming["group"]) & set(read["group"])
    assert not [t for t in coming["input_text"] if t.removesuffix("呀") in set(read["input_text"])]


def test_looks_at_calls_that_stay_count_on_in_proportion(store: FolderStore) -> None:
    first = keep(store, calls(0, 200), "first")
    before, old = divide(store, first)
    for adapter in "abcdefgh":
        looks.answered(store, before.gold_digest, adapter)
    looks.judged(store, before.gold_digest, "a", "gate", "evidence")
    second = keep(store, [*calls(0, 200), *calls(1000, 200)], "second")
    made = refresh.refresh(store, plan(store, second))
    share = old["gold"].height / made.rows

    assert made.refresh is not None and made.refresh.looks_carried == -(-8 * old["gold"].height // made.rows)
    assert 0.3 < share < 0.7
    assert looks.of(store, made.digest) == looks.Looks(
        total=made.refresh.looks_carried, candidates=0, judged=0, carried=made.refresh.looks_carried
    )
    assert looks.judged(store, made.digest, "new", "gate", "evidence") == made.refresh.looks_carried + 1


def test_a_plan_changes_nothing_and_the_first_of_two_refreshes_counts(store: FolderStore) -> None:
    divide(store, keep(store, calls(0, 200), "first"))
    one = plan(store, keep(store, [*calls(0, 200), *calls(1000, 200)], "second"))
    other = plan(store, keep(store, [*calls(0, 200), *calls(2000, 200)], "third"))
    assert gold.version(store, "complaints") == 1

    made = refresh.refresh(store, one)
    with pytest.raises(ContractViolation, match="another refresh has just made version 2"):
        refresh.refresh(store, other)
    assert refresh.refresh(store, one) == made
    assert [g.version for g in gold.versions(store, "complaints")] == [1, 2]
    assert gold.find(store, "complaints", 2) == made


def test_the_history_says_once_who_refreshed_it_and_why_even_if_it_was_killed_before(
    store: FolderStore, tmp_path: Path
) -> None:
    divide(store, keep(store, calls(0, 200), "first"))
    made = refresh.refresh(store, plan(store, keep(store, [*calls(0, 200), *calls(1000, 200)], "second")))
    for _ in range(2):
        refresh.tell(store, tmp_path / "home", "complaints")
    (entry,) = history.read(tmp_path / "home")

    assert (entry.event.kind, entry.event.by) == ("gold_refreshed", "tester")
    assert (entry.event.detail["reason"], entry.event.detail["gold_digest"]) == ("a new tariff", made.digest)
    assert history.verify(tmp_path / "home") is None


def test_a_gold_set_with_one_label_changed_in_the_store_measures_nothing(store: FolderStore) -> None:
    dataset = keep(store, calls(0, 200), "first")
    divide(store, dataset)
    path = store.root / "gold/complaints/gold.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))

    with pytest.raises(BundleCorrupt, match="version 1 of the gold set of 'complaints' was changed"):
        divide(store, keep(store, [*calls(0, 200), *calls(1000, 20)], "second"))


def test_what_cannot_be_refreshed_says_why(store: FolderStore) -> None:
    first = keep(store, calls(0, 200), "first")
    with pytest.raises(ConfigurationError, match="has no gold set yet"):
        plan(store, first)
    divide(store, first)

    with pytest.raises(ContractViolation, match="has 0 calls that version 1"):
        plan(store, first)
    with pytest.raises(ConfigurationError, match="--reason"):
        plan(store, first, WHY.model_copy(update={"reason": " "}))
    more = [*calls(0, 200), *calls(1000, 100)]
    with pytest.raises(ConfigurationError, match="--since = 'May' is no date"):
        plan(store, keep(store, more, "second"), WHY.model_copy(update={"since": "May"}))
    with pytest.raises(ContractViolation, match="has 0 calls"):
        plan(store, keep(store, more, "again"), WHY.model_copy(update={"since": "2027-01-01"}))
    with pytest.raises(ContractViolation, match="another taxonomy"):
        plan(store, keep(store, more, "other", taxonomy=OTHER))
    with pytest.raises(ContractViolation, match="is synthetic and this dataset is real"):
        plan(store, keep(store, more, "real", real=True))


def test_a_gold_set_by_time_takes_only_customers_who_were_never_trained_on(store: FolderStore) -> None:
    by_time = HOW.model_copy(update={"gold_after": "2026-06-01"})
    first = keep(store, [*calls(0, 200), *calls(400, 40, "2026-06-15")], "first")
    _, old = divide(store, first, by_time)
    later = [call(6000 + at, customer=f"g{at}", words=text(6000 + at), day="2026-08-01T10:00:00") for at in range(60)]
    second = keep(store, [*calls(0, 200), *later, *calls(1000, 40, "2026-08-01")], "second")
    made = plan(store, second, how=by_time)
    coming = made.calls.join(old["gold"], on="conversation_id", how="anti")

    assert made.trained >= 30
    assert coming.height >= 40
    assert not set(coming["group"]) & set(fitted(old)["group"])
