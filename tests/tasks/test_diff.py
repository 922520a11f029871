"""What two datasets differ in: call by call, and whether their categories are spread otherwise than chance would."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from deploy.store import FolderStore
from tasks import diff, shift
from tests.tasks.kept import call, keep, text


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def test_every_difference_is_counted_and_named_and_no_text_is_told(store: FolderStore) -> None:
    a = keep(store, [call(at, "a") for at in range(10)], "a")
    b = keep(
        store,
        [
            call(0, "b"),
            call(1, "a", words=text(500)),
            *(call(at, "a") for at in range(2, 8)),
            *(call(at) for at in (20, 21)),
        ],
        "b",
    )
    found = diff.diff(store, a, b)

    assert found.added == ("c00020", "c00021")
    assert found.removed == ("c00008", "c00009")
    assert [(r.conversation_id, r.before, r.after) for r in found.relabelled] == [("c00000", "a", "b")]
    assert found.reworded == ("c00001",)
    assert found.same == 6
    assert [(c.category, c.before, c.after) for c in found.categories] == [("a", 10, 8), ("b", 0, 2)]
    assert found.moved_share == pytest.approx(0.2)
    assert found.test is None and "Too few calls" in found.sentence_en and "太少" in found.sentence_zh
    assert text(3) not in json.dumps(found.model_dump(mode="json"), ensure_ascii=False)


def test_relabelling_alone_is_said_and_not_tested(store: FolderStore) -> None:
    a, b = (keep(store, [call(at, category) for at in range(50)], category) for category in "ab")
    found = diff.diff(store, a, b)

    assert len(found.relabelled) == 50
    assert found.test is None
    assert "100.0%" in found.sentence_en and "relabelled" in found.sentence_en


def test_what_relabelling_moves_is_said_before_the_removed_calls_are_tested(store: FolderStore) -> None:
    old = [call(at, "ab"[at % 2]) for at in range(300)]
    new = [call(at, "a" if at < 66 else "ab"[at % 2]) for at in range(280)]
    found = diff.diff(store, keep(store, old, "a"), keep(store, new, "b"))

    assert len(found.relabelled) == 33 and len(found.removed) == 20
    assert found.test is not None and found.test.p > diff.SURE
    labels, chance = (
        found.sentence_en.find("Relabelling 33 calls moves 11.0% by itself"),
        found.sentence_en.find("Chance"),
    )
    assert 0 < labels < chance
    assert "33 通重新标注的通话就使分布变动 11.0%" in found.sentence_zh


def test_a_dataset_and_itself_differ_in_nothing(store: FolderStore) -> None:
    a = keep(store, [call(at) for at in range(5)], "a")
    found = diff.diff(store, a, a)

    assert (found.same, found.moved_share, found.test) == (5, 0.0, None)
    assert found.sentence_en == "Both hold the same conversations under the same categories."


@pytest.mark.parametrize(("share", "sentence"), [(0.5, "Chance alone"), (0.8, "not by chance")])
def test_added_calls_are_tested_against_those_there_were(store: FolderStore, share: float, sentence: str) -> None:
    old = [call(at) for at in range(400)]
    added = [call(1000 + at, "a" if at < 200 * share else "b") for at in range(200)]
    found = diff.diff(store, keep(store, old, "a"), keep(store, [*old, *added], "b"))

    assert sentence in found.sentence_en
    assert found.test is not None and (found.test.p < 0.001) == (share == 0.8)


def frame(categories: list[str], groups: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"complaint_category": categories, "group": groups})


def test_one_customer_who_calls_forty_times_is_no_evidence() -> None:
    first = frame(["a", "b"] * 100, [f"x{i}" for i in range(200)])
    strangers = frame(["a"] * 40, [f"y{i}" for i in range(40)])
    insistent = frame(["a"] * 40, ["y"] * 40)

    alone, together = shift.test(first, strangers), shift.test(first, insistent)
    assert alone is not None and alone.p < 1e-6
    assert together is None


def test_the_test_keeps_its_level_on_calls_of_one_distribution() -> None:
    rng = np.random.default_rng(3)
    rejected = 0
    for _ in range(300):
        draws = [rng.choice(["a", "b", "c", "d"], size=n, p=[0.6, 0.3, 0.08, 0.02]).tolist() for n in (300, 150)]
        one, other = (frame(d, [f"{which}{i}" for i in range(len(d))]) for which, d in enumerate(draws))
        found = shift.test(one, other)
        assert found is not None
        rejected += found.p < 0.05

    assert 3 <= rejected <= 27  # 15 are expected; 99.9 % of binomial draws lie within


def test_rare_categories_are_tested_as_one_and_nothing_is_made_of_few_calls() -> None:
    rare = [*"abcdefghij"] * 3
    found = shift.test(
        frame(["x"] * 300 + rare, [f"p{i}" for i in range(330)]),
        frame(["x"] * 300 + rare, [f"q{i}" for i in range(330)]),
    )

    assert found is not None and found.degrees == 1
    assert shift.test(frame(["a"], ["p"]), frame(["b"], ["q"])) is None
    assert shift.test(frame(["a"] * 50, ["p"] * 50), frame([], [])) is None
    assert shift.distance(np.array([0, 0]), np.array([1, 0])) == 0.0
