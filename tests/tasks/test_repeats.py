"""Rows against each other and against gold: near-duplicates, contradictions, and what will not be trained on."""

from pathlib import Path

import polars as pl
import pytest

from configs.dataset import DataSettings, SplitSettings
from data_contracts import samples, taxonomy
from data_contracts.artifacts import Dataset
from deploy.store import FolderStore
from tasks import accept, clean, near, repeats, split
from tasks.stages import Work
from tests.tasks.test_accept import write

TEXT = "宽带断了三天还没有人来修理，我每天都在打电话催你们处理这个事情到底什么时候能好"
OTHER = "上个月的账单里多了一笔我没有订过的视频会员费用，请你们马上退给我并且道歉"
NAMES = ("conversation_id", "customer_id", "input_text", "complaint_category", "started_at")


def found(*cells: tuple[str, str | None, str, str, str | None]) -> dict[str, list[int | None]]:
    """Columns of findings; rows count from 1."""
    table = pl.DataFrame(cells, schema=list(NAMES), orient="row").with_row_index("row", offset=1)
    numbered = table.with_columns(pl.col("row").cast(pl.Int64), problem=pl.lit(None, pl.String))
    return repeats.together(clean.prepare(numbered, 1000).frame, 0.9).to_dict(as_series=False)


def test_calls_with_ids_that_say_nearly_the_same_are_found_and_so_are_their_labels() -> None:
    told = found(("a", None, TEXT, "x", None), ("b", None, TEXT + "呀", "y", None), ("c", None, OTHER, "x", None))

    assert told["near_same_as"] == [None, 1, None]
    assert told["near_conflict"] == [2, 1, None]
    assert told["same_id_as"] == [None] * 3


def test_punctuation_and_label_alike_are_no_contradiction() -> None:
    told = found(("a", None, TEXT, "x", None), ("b", None, TEXT.replace("，", "。"), "x", None))

    assert told["near_same_as"] == [None, 1] and told["near_conflict"] == [None, None]


@pytest.mark.parametrize(
    ("first", "second", "is_told"),
    [
        ("2026-03-01 10:00:00", "2026-03-01 18:00:00", True),
        ("2026-03-01 23:00:00", "2026-03-02 01:00:00", True),
        ("2026-03-01 10:00:00", "2026-03-09 10:00:00", False),
        (None, "2026-03-09 10:00:00", True),
    ],
)
def test_one_customer_with_two_labels_is_told_of_where_it_may_be_one_matter(
    first: str | None, second: str, is_told: bool
) -> None:
    mine = (("a", "u1", TEXT, "x", first), ("b", "u1", OTHER, "y", second))
    told = found(*mine, ("c", "u2", OTHER[:20], "x", second), ("d", "u3", TEXT[:15], "y", first))

    assert set(told["customer_conflict"][:2]) == ({1, 2} if is_told else {None})
    assert told["customer_conflict"][2:] == [None, None]


def test_what_split_keeps_out_of_training_because_of_gold_is_told_at_submission(tmp_path: Path) -> None:
    records = list(samples.generate(400, seed=21))
    store = FolderStore(tmp_path / "store")
    settings = DataSettings(min_rows=50, min_rows_per_category=2)

    def submit(name: str, rows: list[dict[str, object]]) -> Dataset:
        path = write(tmp_path / f"{name}.jsonl", rows)
        return accept.submit(path, taxonomy.load(), {}, name, settings, store, tmp_path / name)

    def divide(dataset: Dataset) -> dict[str, int]:
        for part in ("out", "scratch"):
            (tmp_path / dataset.name / part).mkdir()
        work = Work(
            store, f"stages/{dataset.name}", tmp_path / dataset.name / "out", tmp_path / dataset.name / "scratch"
        )
        split.split(dataset, SplitSettings(), settings, split.Custody(), work)
        counts: dict[str, int] = pl.read_json(work.out / split.COUNTS)["dropped"].to_list()[0]
        return counts

    divide(submit("first", records))
    again = [r | {"conversation_id": f"n{at}", "customer_id": f"n{at}"} for at, r in enumerate(records)]
    fresh = list(samples.generate(200, seed=22))
    dropped = divide(submit("second", again + fresh))
    said = pl.read_json(tmp_path / "second" / "summary.json")["findings"].to_list()[0]
    (near,) = [f for f in said if f["code"] == "gold_text"]

    assert 0 < dropped["near_gold"] <= near["rows"] <= dropped["near_gold"] + dropped["reserved_for_gold"]


def test_a_call_without_customer_and_id_is_sketched_once_and_grouped_as_if_it_were_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = list(samples.generate(90, seed=5))
    for at, record in enumerate(records):
        if at % 3:
            del record["conversation_id"], record["customer_id"]
    path = write(tmp_path / "calls.jsonl", records)
    counted: list[int] = []
    sketch, limits = near.sketch, DataSettings(min_rows=20, min_rows_per_category=2)

    def counting(texts: pl.Series) -> near.Sketches:
        counted.append(len(texts))
        return sketch(texts)

    monkeypatch.setattr(near, "sketch", counting)
    once = accept.submit(path, taxonomy.load(), {}, "a", limits, FolderStore(tmp_path / "a"), tmp_path / "out")
    sketched_once = sum(counted)
    monkeypatch.setattr(near.Sketched, "keep", lambda *given: None)
    anew = accept.submit(path, taxonomy.load(), {}, "a", limits, FolderStore(tmp_path / "b"), tmp_path / "out")

    assert sketched_once == 90 and sum(counted) == 90 + 90 + 60
    assert once.id == anew.id
