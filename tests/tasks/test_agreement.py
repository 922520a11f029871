"""Calls that several annotators labelled: the majority counts, who disagrees is told, and agreement is measured."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from configs.dataset import DataSettings
from data_contracts import samples, taxonomy
from data_contracts.artifacts import Dataset
from deploy.store import FolderStore
from tasks import accept, agreement, catalog, show

SETTINGS = DataSettings(min_rows=50, min_rows_per_category=5)
Ballot = tuple[str, str | None, str]  # call, annotator, category


def ballots(*cells: Ballot) -> pl.DataFrame:
    table = pl.DataFrame(cells, schema=["conversation_id", "annotator", "complaint_category"], orient="row")
    return table.with_row_index("row", offset=1).with_columns(pl.col("row").cast(pl.Int64), has_id=pl.lit(True))


def told(*cells: Ballot) -> list[tuple[str, int]]:
    """Of each row what it is to another, and to which; empty for a row that counts."""
    found = agreement.votes(ballots(*cells)).sort("row").drop("row").to_dicts()
    return [next(((name, row) for name, row in each.items() if row is not None), ("", 0)) for each in found]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([("c", "x", "a"), ("c", "y", "a")], [("", 0), ("agrees_with", 1)]),
        ([("c", "x", "a"), ("c", "y", "b")], [("disagrees_with", 2), ("disagrees_with", 1)]),
        ([("c", "x", "b"), ("c", "y", "a"), ("c", "z", "a")], [("outvoted_by", 2), ("", 0), ("agrees_with", 2)]),
        (
            [("c", "x", "a"), ("c", "y", "b"), ("c", "z", "d")],
            [("disagrees_with", 2), ("disagrees_with", 1), ("disagrees_with", 1)],
        ),
        ([("c", "x", "a"), ("c", "x", "b"), ("c", "y", "a")], [("", 0), ("same_id_as", 1), ("agrees_with", 1)]),
        ([("c", "x", "a"), ("c", "x", "a")], [("", 0), ("same_id_as", 1)]),
        ([("c", "x", "a"), ("c", None, "a")], [("", 0), ("same_id_as", 1)]),
        ([("c", None, "a"), ("c", None, "b")], [("", 0), ("same_id_as", 1)]),
        ([("c", "x", "a"), ("d", "y", "b")], [("", 0), ("", 0)]),
    ],
    ids=["agree", "disagree", "majority", "three ways", "one twice", "only one", "one unnamed", "unnamed", "two calls"],
)
def test_rows_of_one_call_are_votes_where_all_name_their_annotator(
    cells: Sequence[Ballot], expected: list[tuple[str, int]]
) -> None:
    assert told(*cells) == expected


def test_calls_without_ids_are_known_by_their_text(tmp_path: Path) -> None:
    texts = [f"第{at}个话费问题我要投诉你们多扣了钱" for at in range(70)]
    keys = taxonomy.load().keys[:2]
    records: list[dict[str, object]] = [
        {"input_text": t, "complaint_category": keys[(at + (who == "乙" and at < 10)) % 2], "annotator": who}
        for who in "甲乙"
        for at, t in enumerate(texts)
    ]
    dataset = submit(tmp_path, records)
    shown = show.show(FolderStore(tmp_path / "store"), dataset)

    assert (dataset.accepted, dataset.rejected) == (60, 80)
    assert shown.by_code == {"annotators_agree": 60, "annotators_disagree": 20}


def test_kappa_is_cohen_s() -> None:
    """The textbook table: 20 both yes, 15 both no, 5 and 10 apart; raw 0.70, kappa 0.40."""
    said = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    cells = [(f"c{at}", who, what) for at, both in enumerate(said) for who, what in zip("pq", both, strict=True)]
    found = agreement.measure(ballots(*cells), {"y", "n"})

    assert found is not None and found.kappa == pytest.approx(0.4)
    assert (found.calls, found.annotators, found.disputed) == (50, 2, 15)
    assert found.raw_share == pytest.approx(0.7)


def test_the_interval_of_kappa_is_what_resampling_the_calls_gives() -> None:
    said = (
        [("y", "y")] * 40
        + [("y", "n")] * 15
        + [("n", "y")] * 9
        + [("n", "n")] * 30
        + [("z", "z")] * 20
        + [("z", "y")] * 6
    )
    table = pl.DataFrame(said, schema=["complaint_category", "complaint_category_b"], orient="row")
    found = agreement.cohens(table)
    assert found is not None
    resampled = [agreement.cohens(table.sample(table.height, with_replacement=True, seed=at)) for at in range(600)]
    spread = pl.Series([one[0] for one in resampled if one]).std()

    assert found[1] == pytest.approx(1.96 * float(str(spread)), rel=0.1)


def test_every_two_annotators_have_their_kappa_and_the_categories_they_are_apart_over() -> None:
    """x and y as in the textbook; z labelled nine of the calls, too few for a kappa."""
    said = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    cells: list[Ballot] = [
        (f"c{at}", who, what) for at, both in enumerate(said) for who, what in zip("xy", both, strict=True)
    ]
    cells += [(f"c{at}", "z", "n") for at in range(9)]
    found = agreement.measure(ballots(*cells), {"y", "n"})
    assert found is not None
    most, *few = found.pairs

    assert (most.rows, most.calls, most.apart) == ((1, 2), 50, (("n", "y", 15),))
    assert most.kappa == pytest.approx(0.4) and most.low == pytest.approx(0.151, abs=0.01)
    assert most.high == pytest.approx(0.649, abs=0.01)
    assert {(pair.calls, pair.kappa, pair.low) for pair in few} == {(9, None, None)}
    assert few[0].apart == (("n", "y", 9),)


def test_too_few_shared_calls_have_no_kappa_and_single_labels_no_agreement() -> None:
    few = agreement.measure(ballots(("c", "x", "a"), ("c", "y", "a")), {"a"})

    assert few is not None and few.kappa is None and few.raw_share == 1.0
    assert agreement.measure(ballots(("c", "x", "a"), ("d", "y", "a")), {"a"}) is None


def submit(folder: Path, records: list[dict[str, object]]) -> Dataset:
    path = folder / "calls.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    store = FolderStore(folder / "store")
    return accept.submit(path, taxonomy.load(), {}, "calls", SETTINGS, store, folder / "out")


def test_a_file_by_two_annotators_is_accepted_with_what_they_agree_on(tmp_path: Path) -> None:
    records = [dict(r) for r in samples.generate(80, seed=6)]
    keys = taxonomy.load().keys
    second = [r | {"annotator": "王丽"} for r in records]
    for r in second[:20]:
        r["complaint_category"] = keys[(keys.index(str(r["complaint_category"])) + 1) % len(keys)]
    dataset = submit(tmp_path, [*(r | {"annotator": "张三"} for r in records), *second])
    store = FolderStore(tmp_path / "store")
    shown = show.show(store, dataset)
    kept = set(catalog.calls_of(store, dataset)["conversation_id"])

    assert (dataset.rows, dataset.accepted, dataset.rejected) == (160, 60, 100)
    assert shown.by_code == {"annotators_agree": 60, "annotators_disagree": 40}
    assert kept == {str(r["conversation_id"]) for r in records[20:]}
    assert shown.agreement is not None and shown.agreement.raw_share == 0.75 and shown.agreement.disputed == 20
    rows = list(csv.DictReader((tmp_path / "out/rejects.csv").read_text(encoding="utf-8-sig").splitlines()))
    told = next(r for r in rows if r["row"] == "1")
    assert (told["code"], told["column"]) == ("annotators_disagree", "annotator")
    assert "see row 81" in told["reason_en"] and "第 81 行" in told["reason_zh"]
    said = "".join(
        p.read_text(encoding="utf-8") for p in (tmp_path / "out").rglob("*") if p.suffix in (".html", ".json", ".csv")
    )
    assert "in 75% of the comparisons they agree" in said and "75% 一致" in said
    assert "王丽" not in said and "张三" not in said
    report = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "A · B" in report and "首见于行 1 · 81" in report and " ↔ " in report
