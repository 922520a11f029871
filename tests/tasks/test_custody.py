"""Whatever is submitted, merged, refreshed and trained on, in whatever order: nobody in the gold set was ever trained on."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from configs.dataset import DataSettings, SplitSettings
from data_contracts.artifacts import Dataset, Side
from data_contracts.errors import ContractViolation
from deploy.store import FolderStore
from tasks import catalog, gold, refresh, show, split, unite
from tasks.calls import own_group
from tasks.refresh import Why
from tests.tasks.kept import Row, call, keep, text
from tests.tasks.test_refresh import HOW, divide, fitted

MORE_GOLD = HOW.model_copy(update={"gold_share": 0.5})
EARLY, LATE, BETWEEN = "2026-01-15T10:00:00", "2026-06-15T10:00:00", "2026-05-01"
BASE = [
    call(at, customer=f"base{at // 2}", day=(EARLY, LATE)[at // 2 % 2]) for at in range(60)
]  # so that every side has calls
BASE += [
    call(1000 + at, "ab"[at % 2], f"customer{at // 2}", text(2000 + at % 70) + "呀", LATE) for at in range(0, 70, 2)
]  # whom the arrivals know by other names
LENGTH = len(text(0))
NAMES = ("customer", "alias", "")


def arrival(drawn: Sequence[tuple[int, int, int, int]]) -> list[Row]:
    """Calls of a dataset. A call's customer and words follow from its number; the dataset knows the customer under either of two
    names or not at all, and the recogniser ends the words in one of three ways. Some calls say what a call of the base says."""
    rows = {}
    for number, name, ending, twin in drawn:
        customer = f"{NAMES[name]}{number // 2}" if NAMES[name] else ""
        words = text(number % 60 if twin == 0 else 2000 + number % 70) + "呀啊吧"[:ending]
        rows[number] = call(1000 + number, "ab"[number % 2], customer, words, (EARLY, LATE)[number % 3 > 0])
    return list(rows.values())


arrivals = st.lists(
    st.tuples(st.integers(0, 99), st.integers(0, 2), st.integers(0, 2), st.integers(0, 5)), min_size=8, max_size=40
)
refreshes = st.one_of(st.none(), st.tuples(st.sampled_from([HOW, MORE_GOLD]), st.sampled_from([None, BETWEEN])))
steps = st.lists(st.tuples(arrivals, st.booleans(), refreshes), min_size=2, max_size=5)


class World:
    """A family, and what its models were ever trained on."""

    def __init__(self, store: FolderStore) -> None:
        self.store = store
        self.trained: list[pl.DataFrame] = []
        self.sides: dict[str, Side] = {}

    def customers(self) -> dict[str, str]:
        """Every name of a customer in any dataset, and one that stands for all of them, by pairs and until nothing changes."""
        known = [catalog.calls_of(self.store, one, ("conversation_id", "group")) for one in catalog.listed(self.store)]
        names: dict[str, set[str]] = {}
        for conversation, group in pl.concat(known).iter_rows():
            names.setdefault(conversation, set()).add(group)
        least = {group: group for groups in names.values() for group in groups}
        is_done = False
        while not is_done:
            is_done = True
            for groups in names.values():
                smallest = min(least[group] for group in groups)
                is_done &= all(least[group] == smallest for group in groups)
                least.update(dict.fromkeys(groups, smallest))
        return least

    def train(self, dataset: Dataset) -> None:
        """Split as a retrain does; no call it learns from belongs to any version of the gold set."""
        _, sides = divide(self.store, dataset)
        learned, own = fitted(sides), catalog.calls_of(self.store, dataset)
        today, customers = dict(own.select("conversation_id", "group").iter_rows()), self.customers()
        self.trained.append(learned)
        for one in gold.versions(self.store, "complaints"):
            assert_strangers(learned, gold.rows(self.store, one), today, customers)
        for side in ("train", "validation", "calibration"):
            for group in sides[side]["group"]:
                assert self.sides.setdefault(group, side) == side
            others = pl.concat([frame for other, frame in sides.items() if other != side])
            assert_strangers(sides[side], others, today)

    def refresh(self, dataset: Dataset, how: SplitSettings, since: str | None) -> None:
        """No call that joins belongs to anything that was learned from before."""
        before = gold.newest(self.store, "complaints")
        assert before is not None
        why = Why(reason="newer calls", by="tester", since=since)
        try:
            planned = refresh.plan(self.store, dataset, how, DataSettings(), why)
        except ContractViolation as refused:
            assert "that version" in str(refused)
            return
        refresh.refresh(self.store, planned)
        came = planned.calls.join(gold.rows(self.store, before), on="conversation_id", how="anti")
        assert came.height
        for learned in self.trained:
            assert_strangers(learned, came, {}, self.customers())


def assert_strangers(
    some: pl.DataFrame,
    others: pl.DataFrame,
    today: Mapping[str, str],
    customers: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """No conversation, customer or words in common; a customer goes also by the name that a dataset has `today` for one of the
    conversations, and by all names that stand for one of the `customers`."""
    assert not set(some["conversation_id"]) & set(others["conversation_id"])
    assert not names(some, today, customers) & names(others, today, customers)
    assert not {t[:LENGTH] for t in some["input_text"]} & {t[:LENGTH] for t in others["input_text"]}


def names(frame: pl.DataFrame, today: Mapping[str, str], customers: Mapping[str, str]) -> set[str]:
    known = {*frame["group"], *(today[name] for name in frame["conversation_id"] if name in today)}
    return known | {customers[name] for name in known if name in customers}


@settings(max_examples=25, deadline=None, phases=(Phase.reuse, Phase.generate))  # to shrink a failure takes minutes
@given(steps)
def test_no_customer_conversation_or_text_is_ever_on_two_sides(
    drawn: list[tuple[list[tuple[int, int, int, int]], bool, tuple[SplitSettings, str | None] | None]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(FolderStore(Path(folder)))
        dataset = keep(world.store, BASE, "base")
        world.train(dataset)
        for at, (rows, is_merged, refreshed) in enumerate(drawn):
            newest = {row["conversation_id"]: row for row in (*BASE, *arrival(rows))}
            came = keep(world.store, list(newest.values()), f"n{at}")
            if is_merged and came != dataset:
                came = unite.unite(world.store, [dataset, came], "all", newest_wins=True).dataset
            dataset = came
            if refreshed is not None:
                world.refresh(dataset, *refreshed)
            world.train(dataset)


def test_a_customer_who_was_trained_on_without_a_name_does_not_join_gold_when_the_name_is_known(tmp_path: Path) -> None:
    """In June nobody knows who made a call; it is trained on. In July it turns out to be the call of a customer of the gold side."""
    world = World(FolderStore(tmp_path))
    customers = [f"zhang{at}" for at in range(200) if split.side_of(f"zhang{at}", HOW) == "gold"][:30]
    anonymous = [call(3000 + at) for at, _ in enumerate(customers)]
    world.train(keep(world.store, [*BASE, *anonymous], "june"))
    trained = set(world.trained[0]["group"])
    known = [call(3000 + at, customer=who) for at, who in enumerate(customers)]
    again = [call(4000 + at, customer=who) for at, who in enumerate(customers)]
    july = keep(world.store, [*BASE, *known, *again], "july")
    planned = refresh.plan(world.store, july, HOW, DataSettings(), Why(reason="newer calls", by="tester"))
    joined = {row["conversation_id"] for row in planned.calls.iter_rows(named=True)}
    read = [at for at, row in enumerate(anonymous) if own_group(str(row["conversation_id"])) in trained]

    assert len(read) > 10 and planned.trained >= 2 * len(read)
    assert not {f"c{4000 + at:05}" for at in read} & joined
    assert joined & {f"c{4000 + at:05}" for at in range(len(customers)) if at not in read}


def test_a_second_id_that_only_another_dataset_reveals_keeps_a_gold_customer_out_of_training(tmp_path: Path) -> None:
    """May knows them by one id, June tells that a second one is theirs, July has calls under the second alone, August under a third."""
    store = FolderStore(tmp_path)
    world = World(store)
    world.train(keep(store, BASE, "may"))
    frozen = gold.rows(store, gold.versions(store, "complaints")[0])
    second = {str(name): f"second-{group}" for name, group in frozen.select("conversation_id", "group").iter_rows()}
    told = [call(int(name[1:]), customer=other) for name, other in second.items()]
    june = [*told, *(call(5000 + at, customer=other) for at, other in enumerate(second.values()))]
    third = [call(5000 + at, customer=f"third{at}") for at, _ in enumerate(second)]
    july = keep(store, [*BASE, *(call(6000 + at, customer=other) for at, other in enumerate(second.values()))], "july")
    before = split.custody(store, july, HOW)
    keep(store, june, "june")
    keep(store, third, "third")
    after = split.custody(store, july, HOW)
    august = keep(store, [*BASE, *(call(7000 + at, customer=f"third{at}") for at, _ in enumerate(second))], "august")
    _, sides = divide(store, july)
    _, later = divide(store, august)

    assert before.aliases == () and len(frozen) > 5
    assert set(after.aliases) >= {*second.values(), *(f"third{at}" for at, _ in enumerate(second))}
    assert not {*second.values()} & {*fitted(sides)["group"]}
    assert not [group for group in fitted(later)["group"] if group.startswith("third")]
    assert split.custody(store, july, HOW) == after  # nothing new, so nothing is split again
    told = show.custody(store, july)
    assert told and told.held_out >= len(second)


def test_ids_that_are_numbers_of_rows_make_everybody_a_gold_customer_and_the_refusal_says_so(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    divide(store, keep(store, [call(at, customer=f"may{at // 2}") for at in range(200)], "may"))
    june = keep(store, [call(at, customer=f"june{(at + 1) // 2}", words=text(9000 + at)) for at in range(200)], "june")

    with pytest.raises(ContractViolation, match="are these ids numbers of rows, make them unique"):
        divide(store, june)
