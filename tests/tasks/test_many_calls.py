"""Datasets of more calls than are held at a time are merged, compared and exported as if they were held whole."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from data_contracts.artifacts import Dataset
from deploy.store import FolderStore
from tasks import catalog, diff, export, unite
from tasks.calls import ROWS
from tests.tasks.kept import TAXONOMY, Row, call, keep

CALLS = ROWS + 5000


def rows(numbers: range, customer: str) -> Iterator[Row]:
    """Every seventh call is by somebody unknown; every hundredth is of another category in each dataset."""
    for at in numbers:
        category = customer if at % 100 == 0 else "ab"[at % 2]
        yield call(at * 7919 % 99991, category, f"{customer}{at // 2}" if at % 7 else "", f"第{at}通")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    return FolderStore(tmp_path_factory.mktemp("many") / "store")


@pytest.fixture(scope="module")
def parts(store: FolderStore) -> tuple[Dataset, Dataset]:
    """An older one and a newer one, which share most calls, under other customers."""
    older = keep(store, list(rows(range(CALLS), "a")), "older")
    return older, keep(store, list(rows(range(4000, CALLS + 4000), "b")), "newer")


def test_a_merge_is_what_it_would_be_at_once(store: FolderStore, parts: tuple[Dataset, Dataset]) -> None:
    made = unite.unite(store, parts, "both", newest_wins=True)
    older, newer = (catalog.calls_of(store, one) for one in parts)
    wanted = pl.concat([newer, older.join(newer, on="conversation_id", how="anti")]).sort("conversation_id")
    calls = catalog.calls_of(store, made.dataset)
    shared = older.join(newer, on="conversation_id")

    assert made.merging.repeated == shared.height == CALLS - 4000
    assert (
        made.merging.relabelled
        == shared.filter(pl.col("complaint_category") != pl.col("complaint_category_right")).height
    )
    assert calls.drop("group").equals(wanted.drop("group"))
    assert catalog.identify(calls, catalog.Kind("complaints", True, TAXONOMY)) == made.dataset.id
    groups = dict(calls.select("conversation_id", "group").iter_rows())
    one_customer = shared.filter(pl.col("group") != pl.col("group_right")).select("group", "group_right").unique()
    assert one_customer.height > 10_000
    assert not set(one_customer["group_right"]) & set(groups.values()), "a customer goes by one of two names"
    assert made.dataset.groups == len(set(groups.values()))


def test_a_difference_counts_every_call(store: FolderStore, parts: tuple[Dataset, Dataset]) -> None:
    found = diff.diff(store, *parts)

    assert (len(found.added), len(found.removed)) == (4000, 4000)
    assert found.same + len(found.relabelled) + len(found.reworded) == CALLS - 4000
    assert len(found.relabelled) > 100 and not found.reworded


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_an_export_holds_every_call_once_and_in_order(
    store: FolderStore, parts: tuple[Dataset, Dataset], tmp_path: Path, kind: str
) -> None:
    out = tmp_path / f"out.{kind}"
    read = {"csv": pl.read_csv, "jsonl": pl.read_ndjson, "parquet": pl.read_parquet}[kind]

    assert export.export(store, parts[0], out) == CALLS
    table = read(out, infer_schema_length=None) if kind != "parquet" else read(out)
    calls = catalog.calls_of(store, parts[0])
    assert table["conversation_id"].to_list() == calls["conversation_id"].to_list()
    assert table["input_text"].to_list() == calls["input_text"].to_list()
    assert table["customer_id"].null_count() == sum(at % 7 == 0 for at in range(CALLS))
