"""Datasets on S3 while it is busy, slow, cut off or wrong: a merge, an export and a refresh end as on a good day, or say so and
leave nothing half."""

from pathlib import Path

import polars as pl
import pytest

from configs.dataset import DataSettings
from data_contracts.artifacts import Dataset
from data_contracts.errors import BundleCorrupt, StoreUnavailable
from deploy.s3 import S3Store
from tasks import catalog, export, gold, refresh, unite
from tests.faulty_s3 import Fault, Way
from tests.tasks.kept import call, keep
from tests.tasks.test_refresh import HOW, WHY, calls, divide

FETCH, SEND = r"^GET /[^?]*/calls\.parquet", r"^PUT .*/calls\.parquet"
LISTING = r"^GET /[^?]*/\.files\.json"


@pytest.fixture
def there(way: Way, s3_url: str, tmp_path: Path) -> S3Store:
    """The store on a good line."""
    store = S3Store(f"s3://lines/{tmp_path.name}", s3_url, tmp_path / "there")
    store.client.create_bucket(Bucket="lines")
    return store


@pytest.fixture
def here(way: Way, there: S3Store, tmp_path: Path) -> S3Store:
    """The same store from another machine, on a line of which the test says what is wrong."""
    return S3Store(f"s3://lines/{tmp_path.name}", way.url, tmp_path / "here", read_timeout_s=1)


def two(store: S3Store) -> list[Dataset]:
    return [
        keep(store, [call(at) for at in range(30)], "june"),
        keep(store, [call(at) for at in range(20, 60)], "july"),
    ]


def spoil(way: Way, *faults: Fault) -> None:
    way.faults[:] = faults


def test_a_merge_and_an_export_on_a_bad_line_are_what_they_are_on_a_good_one(
    way: Way, there: S3Store, here: S3Store, tmp_path: Path
) -> None:
    parts = two(there)
    faults = [
        *(Fault(FETCH, "busy"), Fault(FETCH, "cut"), Fault(FETCH, "change"), Fault(FETCH, "slow", seconds=1.5)),
        *(Fault(LISTING, "cut"), Fault(LISTING, "change")),
        *(Fault(SEND, "busy"), Fault(SEND, "lost"), Fault(SEND, "digest")),
    ]
    spoil(way, *faults)
    merged = unite.unite(here, parts, "both").dataset
    met, way.faults[:] = list(way.met), [Fault(FETCH, "cut"), Fault(FETCH, "change")]
    export.export(S3Store(here.url, way.url, tmp_path / "third"), merged, tmp_path / "both.jsonl")

    assert {kind.split()[0] for kind in met} == {"busy", "cut", "change", "slow", "lost", "digest"}
    assert not [fault for fault in faults if fault.times]
    assert catalog.calls_of(there, merged)["conversation_id"].to_list() == [f"c{at:05}" for at in range(60)]
    assert pl.read_ndjson(tmp_path / "both.jsonl")["conversation_id"].to_list() == [f"c{at:05}" for at in range(60)]


@pytest.mark.parametrize("kind", ["busy", "cut", "change"])
def test_what_never_comes_through_is_said_and_nothing_half_is_left(
    way: Way, there: S3Store, here: S3Store, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # botocore's pauses between its tries
    parts = two(there)
    spoil(way, Fault(FETCH, kind, 999))  # type: ignore[arg-type]

    with pytest.raises((StoreUnavailable, BundleCorrupt), match=r"s3://lines|calls"):
        unite.unite(here, parts, "both")
    with pytest.raises((StoreUnavailable, BundleCorrupt), match=r"s3://lines|calls"):
        export.export(here, parts[0], tmp_path / "june.csv")
    assert [d.name for d in catalog.listed(there)] == ["june", "july"]
    assert not (tmp_path / "june.csv").exists() and not list(tmp_path.glob(".tmp-*"))
    spoil(way, Fault(SEND, "busy", 999))
    with pytest.raises(StoreUnavailable):
        unite.unite(here, parts, "both")
    assert [d.name for d in catalog.listed(there)] == ["june", "july"]
    spoil(way)
    assert unite.unite(here, parts, "both").dataset.accepted == 60


def test_a_gold_set_is_refreshed_on_a_bad_line_with_what_other_datasets_tell_of_its_customers(
    way: Way, there: S3Store, here: S3Store
) -> None:
    divide(there, keep(there, calls(0, 200), "first"), HOW)
    second = keep(there, [*calls(0, 200), *calls(1000, 100)], "second")
    spoil(
        way, Fault(FETCH, "cut"), Fault(r"^GET /[^?]*/gold\.parquet", "change"), Fault(r"^PUT .*/gold\.parquet", "lost")
    )
    spoil(way, *way.faults, Fault(r"^PUT .*/links\.parquet", "lost"), Fault(r"^GET /[^?]*/links\.parquet", "busy"))
    made = refresh.refresh(here, refresh.plan(here, second, HOW, DataSettings(), WHY))

    assert len(way.met) >= 3
    assert gold.rows(there, made).height == made.rows and gold.versions(there, "complaints")[-1] == made
