"""Splits: what is apart stays apart, whatever order datasets arrive in, and the gold set never changes."""

import hashlib
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.dataset import DataSettings, SplitSettings
from data_contracts.artifacts import SIDES, Dataset, Splits
from data_contracts.errors import ConfigurationError, ContractViolation
from deploy.store import FolderStore
from tasks import gold, near, split
from tasks.calls import CALLS, COLUMNS, content_digest
from tasks.split import Custody
from tasks.stages import Work

DATA = DataSettings()
EVEN = SplitSettings(gold_share=0.25, validation_share=0.25, calibration_share=0.25)
WORDS = "话费宽带退款投诉客服流量套餐合约信号师傅账单扣钱营业厅取消处理三天没有人来修一直说明天"
Row = dict[str, object]


def call(name: str, group: str, text: str, category: str = "a", started_at: str | None = None) -> Row:
    values = (name, group, text, category, 1.0, started_at, None, None)
    return dict(zip(COLUMNS, values, strict=True))


def text(seed: int) -> str:
    """Forty characters that share no 5-gram with those of another seed, almost surely."""
    return "".join(chr(0x4E00 + (seed * 7919 + at * 104729 + (seed * at * at) % 997) % 6000) for at in range(40))


def many(groups: int, start: int = 0) -> list[Row]:
    return [call(f"c{at}", f"g{at // 2}", text(at), "ab"[at % 2]) for at in range(start, start + 2 * groups)]


def put(folder: Path, rows: Sequence[Row], name: str, taxonomy: str = "t", family: str = "complaints") -> Dataset:
    store, key = FolderStore(folder / "store"), f"datasets/{name}"
    schema = {c: pl.Float64 if c == "confidence_score" else pl.String for c in COLUMNS}
    frame = pl.DataFrame(list(rows), schema=schema)
    frame.write_parquet(store.scratch(key) / CALLS)
    store.commit(store.scratch(key), key)
    return Dataset(
        id=name * 8,
        key=key,
        name=name,
        family=family,
        rows=len(rows),
        accepted=len(rows),
        rejected=0,
        categories=dict(frame["complaint_category"].value_counts().iter_rows()),
        groups=frame["group"].n_unique(),
        synthetic=True,
        taxonomy_digest=taxonomy,
        created_at="2026-01-01T00:00:00+00:00",
    )


def divide(folder: Path, dataset: Dataset, how: SplitSettings = EVEN) -> tuple[Splits, dict[str, pl.DataFrame]]:
    out, scratch = folder / "stages" / dataset.name, folder / "scratch" / dataset.name
    out.mkdir(parents=True)
    scratch.mkdir(parents=True)
    work = Work(store=FolderStore(folder / "store"), key=f"stages/split/{dataset.name}", out=out, scratch=scratch)
    made = split.split(dataset, how, DATA, Custody(version=gold.version(work.store, dataset.family)), work)
    return made, {side: pl.read_parquet(out / f"{side}.parquet") for side in SIDES}


def assert_apart(sides: dict[str, pl.DataFrame]) -> None:
    groups = [set(sides[side]["group"]) for side in SIDES]
    assert sum(map(len, groups)) == len(set().union(*groups))
    texts = [(side, its) for side in SIDES for its in near.shingles(sides[side]["input_text"])]
    close = [(a, b) for a, t in texts for b, u in texts if a < b and near.jaccard(t, u) >= DATA.near_duplicate_jaccard]
    assert close == []


def test_sides_share_no_group_and_no_words_and_lose_nothing_else(tmp_path: Path) -> None:
    made, sides = divide(tmp_path, put(tmp_path, many(60), "one"))

    assert_apart(sides)
    assert made.counts == {side: frame.height for side, frame in sides.items()}
    assert sum(made.counts.values()) == 120
    assert made.file("gold").endswith("/gold.parquet")


group_ids = st.integers(0, 25)
variants = st.integers(0, 2)
datasets = st.lists(
    st.lists(st.tuples(group_ids, st.integers(0, 60), variants, st.booleans()), min_size=1, max_size=40),
    min_size=1,
    max_size=3,
)


@settings(max_examples=15, deadline=None)
@given(datasets)
def test_whatever_arrives_in_whatever_order_gold_stays_and_nothing_near_it_trains(
    arrivals: list[list[tuple[int, int, int, bool]]],
) -> None:
    base = many(24, start=1000)  # so that every side has calls
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        golds = []
        for at, arrival in enumerate(arrivals):
            extra = [
                call(f"d{at}-{n}", f"g{500 + g}", text(seed) + "呀啊吧"[:variant], "ab"[flag])
                for n, (g, seed, variant, flag) in enumerate(arrival)
            ]
            made, sides = divide(folder, put(folder, base + extra, f"set{at}"))
            assert_apart(sides)
            assert sum(made.counts.values()) <= len(base) + len(extra) + made.counts["gold"]
            golds.append((made.gold_digest, sides["gold"].rows()))

    assert all(a == b for a, b in pairwise(golds))


@given(st.text(min_size=1))
def test_a_group_has_one_side_for_ever(group: str) -> None:
    more_gold = SplitSettings(gold_share=0.3, validation_share=0.25, calibration_share=0.25)

    assert split.side_of(group, EVEN) == split.side_of(group, EVEN)
    assert split.side_of(group, EVEN) != "gold" or split.side_of(group, more_gold) == "gold"


def test_shares_are_kept_in_expectation() -> None:
    sides = [split.side_of(str(at), SplitSettings()) for at in range(20_000)]

    assert abs(sides.count("gold") / 20_000 - 0.2) < 0.01
    assert abs(sides.count("validation") / 20_000 - 0.1) < 0.01
    assert abs(sides.count("calibration") / 20_000 - 0.1) < 0.01


def test_a_later_dataset_keeps_the_gold_set_and_what_belongs_to_it_never_trains(tmp_path: Path) -> None:
    first, before = divide(tmp_path, put(tmp_path, many(60), "one"))
    frozen = before["gold"].to_dicts()
    stranger = next(g for g in map(str, range(99)) if split.side_of(g, EVEN) == "train")
    copy = call("copy", stranger, str(frozen[0]["input_text"]) + "呀")
    same = call("same", str(frozen[0]["group"]), text(9999))
    second, after = divide(tmp_path, put(tmp_path, [*many(60), *many(60, 400), copy, same], "two"))

    assert second.gold_digest == first.gold_digest
    assert after["gold"].equals(before["gold"])
    assert second.dropped_near_gold == 1
    assert not {"copy", "same"} & {name for frame in after.values() for name in frame["conversation_id"]}
    found = gold.find(FolderStore(tmp_path / "store"), "complaints", 1)
    assert found is not None and found.dataset_id == "one" * 8


AS_EVER = {  # sides of the same calls as they have always been: train, validation, calibration, gold, counts.json
    "one": ("c3ac918b", "2680d3fb", "4bb45e90", "c89f3085", "c5de6a72"),
    "two": ("f0eea100", "308eb477", "dd57cac6", "c89f3085", "31165c14"),
    "late": ("ffb57b98", "0685d432", "1f68a59c", "607af8fe", "a8917789"),
}


def test_the_same_calls_have_the_same_sides_for_ever(tmp_path: Path) -> None:
    rows = [
        call(
            f"c{at:06}",
            f"g{at // 3 if at % 5 else at}",
            text(at - 1) if at % 11 == 0 else text(at // 2) + "呀" if at % 7 == 0 else text(at),
            "abc"[at % 3],
            f"2026-0{1 + at // 3 % 6}-01T10:00:00",
        )
        for at in range(600)
    ]
    late = EVEN.model_copy(update={"gold_after": "2026-05-15"})
    for name, own, how in (("one", rows[:300], EVEN), ("two", rows, EVEN), ("late", rows, late)):
        family = "late" if name == "late" else "complaints"
        _, sides = divide(tmp_path, put(tmp_path, own, name, family=family), how)
        counts = hashlib.sha256((tmp_path / f"stages/{name}/counts.json").read_bytes()).hexdigest()

        assert tuple(d[:8] for d in (*(content_digest(sides[side]) for side in SIDES), counts)) == AS_EVER[name]


def test_gold_of_another_taxonomy_is_refused(tmp_path: Path) -> None:
    divide(tmp_path, put(tmp_path, many(60), "one"))

    with pytest.raises(ContractViolation, match="another taxonomy"):
        divide(tmp_path, put(tmp_path, many(60), "two", taxonomy="other"))


def test_families_have_gold_sets_of_their_own(tmp_path: Path) -> None:
    one, _ = divide(tmp_path, put(tmp_path, many(60), "one"))
    two, _ = divide(tmp_path, put(tmp_path, many(60, 500), "two", taxonomy="other", family="foreign"))

    assert one.gold_digest != two.gold_digest


def test_by_time_gold_is_what_came_later_and_its_customers_train_never(tmp_path: Path) -> None:
    months = [f"2026-0{1 + at // 2 % 6}-15T10:00:00+08:00" for at in range(120)]
    rows = [r | {"started_at": months[at], "group": f"g{at % 70}"} for at, r in enumerate(many(60))]
    how = EVEN.model_copy(update={"gold_after": "2026-06-01"})
    _, sides = divide(tmp_path, put(tmp_path, rows, "one"), how)

    assert_apart(sides)
    assert sides["gold"].height == 20
    assert sides["gold"]["started_at"].min() >= "2026-06"
    assert max(sides[s]["started_at"].max() for s in SIDES if s != "gold") < "2026-06"


def test_a_bad_date_and_a_dataset_too_small_to_split_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="gold_after"):
        divide(tmp_path, put(tmp_path, many(60), "one"), EVEN.model_copy(update={"gold_after": "June"}))
    with pytest.raises(ContractViolation, match="more customers"):
        divide(tmp_path, put(tmp_path, many(1), "two"))


def sketch(texts: list[str]) -> near.Sketches:
    return near.sketch(pl.Series(texts, dtype=pl.String))


def any_near(texts: list[str], against: list[str]) -> list[bool]:
    return near.any_near(sketch(texts), sketch(against), 0.9).tolist()


def test_near_duplicates_are_found_through_punctuation_and_speakers() -> None:
    one = "客户：宽带断了三天，没有人来修。\n客服：您好，马上为您处理这个故障问题"
    other = "宽带断了三天没有人来修！您好马上为您处理这个故障问题"

    assert near.jaccard(*near.shingles(pl.Series([one, other]))) == 1.0
    assert any_near([other], [one]) == [True]
    assert any_near([text(1)], [one]) == [False]
    assert any_near([one], []) == [False]
    assert near.clusters(sketch([text(1), one, text(2), other]), 0.9) == [0, 1, 2, 1]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(WORDS, min_size=20, max_size=60), min_size=2, max_size=12), st.data())
def test_minhash_misses_no_pair_at_the_threshold(texts: list[str], data: st.DataObject) -> None:
    changed = [t[: data.draw(st.integers(18, len(t)))] for t in texts]
    known = list(near.shingles(pl.Series(texts)))
    exact = [any(near.jaccard(its, own) >= 0.9 for own in known) for its in near.shingles(pl.Series(changed))]

    assert any_near(changed, texts) == exact


def test_real_calls_are_never_judged_on_synthetic_gold(tmp_path: Path) -> None:
    divide(tmp_path, put(tmp_path, many(120), "a"))
    real = put(tmp_path, many(120, start=500), "b").model_copy(update={"synthetic": False})

    with pytest.raises(ContractViolation, match="is synthetic and this dataset is real"):
        divide(tmp_path, real)
