"""A submission, a merge, a refresh of the gold set and an export killed by SIGKILL at any write: nothing of it is seen, or all of it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from configs.dataset import DataSettings, SplitSettings
from data_contracts import samples, taxonomy
from deploy.s3 import S3Store
from deploy.store import FolderStore, Store
from tasks import accept, catalog, export, gold, refresh, unite
from tasks.refresh import Why
from tests import killer, s3_server
from tests.killer import Plan
from tests.tasks.kept import call, keep
from tests.tasks.test_refresh import calls, divide

WRITES = r"^(open w|os\.|shutil\.).*/store"
EXPORTS = r"^(open w|os\.link|os\.rename|os\.remove) \S*/exported/"
REQUESTS = r"^http\.client\.send (PUT|POST) "
SETTINGS = DataSettings(min_rows=50, min_rows_per_category=5)
HOW = SplitSettings(gold_share=0.25, validation_share=0.25, calibration_share=0.25)


def opened(root: Path, url: str) -> Store:
    """The store of a test, as another process would open it: its cache is its own."""
    if not url:
        return FolderStore(root)
    os.environ.update(s3_server.CREDENTIALS)  # the process that is killed has the environment of the first of them all
    return S3Store(f"s3://killed/{root.parent.name}", url, root.parent / "cache")


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str, str]:
    """Root, address, and what is killed before: writes to the folder, or requests to S3."""
    if request.param == "folder":
        return tmp_path / "store", "", WRITES
    for name, value in s3_server.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    url = str(request.getfixturevalue("s3_url"))
    S3Store("s3://killed", url, tmp_path / "none").client.create_bucket(Bucket="killed")
    return tmp_path / "store", url, REQUESTS


def merge(root: Path, url: str) -> None:
    store = opened(root, url)
    unite.unite(store, [catalog.find(store, name, "complaints") for name in ("june", "july")], "both")


def renew(root: Path, url: str) -> None:
    store = opened(root, url)
    why = Why(reason="newer calls", by="tester")
    refresh.refresh(store, refresh.plan(store, catalog.find(store, "second", "complaints"), HOW, DataSettings(), why))


def export_june(root: Path, url: str) -> None:
    """Unless an attempt before got so far that the file is there."""
    out, store = root.parent / "exported" / "june.csv", opened(root, url)
    if not out.exists():
        export.export(store, catalog.find(store, "june", "complaints"), out)


def submit(root: Path, url: str) -> None:
    path, out = root.parent / "calls.jsonl", root.parent / "answer"
    accept.submit(path, taxonomy.load(), {}, "calls", SETTINGS, opened(root, url), out)


def at_every(
    place: tuple[Path, str, str],
    tmp_path: Path,
    do: Callable[[Path, str], None],
    seen: Callable[[Store], bool],
    least: int,
) -> None:
    """Kill `do` before its first event, then before its second …; `seen` says whether all is there, or fails."""
    root, url, events = place
    nth, states = 0, []
    while not states or states[-1] != 0:
        nth += 1
        states.append(killer.run(do, root, url, plan=Plan(events, nth)))
        store = opened(root, url)
        assert seen(store) or states[-1] == -9, f"it ended, and nothing is there after event {nth}"
        assert states[-1] in (-9, 0)
    assert len(states) > least
    assert seen(opened(root, url))


@pytest.mark.slow
def test_a_merge_killed_before_any_write_is_whole_or_not_there(place: tuple[Path, str, str], tmp_path: Path) -> None:
    store = opened(*place[:2])
    parts = [
        keep(store, [call(at) for at in range(30)], "june"),
        keep(store, [call(at) for at in range(20, 60)], "july"),
    ]

    def seen(store: Store) -> bool:
        found = [d for d in catalog.listed(store) if d.name == "both"]
        assert [d for d in catalog.listed(store) if d.name != "both"] == parts
        for dataset in found:
            store.verify(dataset.key)
            assert catalog.calls_of(store, dataset).height == 60
        return bool(found)

    at_every(place, tmp_path, merge, seen, least=4)


@pytest.mark.slow
def test_a_refresh_killed_before_any_write_is_whole_or_not_there(place: tuple[Path, str, str], tmp_path: Path) -> None:
    store = opened(*place[:2])
    assert isinstance(store, FolderStore | S3Store)
    divide(store, keep(store, calls(0, 200), "first"), HOW)  # type: ignore[arg-type]
    keep(store, [*calls(0, 200), *calls(1000, 100)], "second")

    def seen(store: Store) -> bool:
        newest = gold.versions(store, "complaints")[-1]
        store.verify(newest.key)
        assert gold.rows(store, newest).height == newest.rows
        return newest.version == 2

    at_every(place, tmp_path, renew, seen, least=3)


def test_an_export_killed_before_any_write_is_whole_or_not_there(place: tuple[Path, str, str], tmp_path: Path) -> None:
    (tmp_path / "exported").mkdir()
    keep(opened(*place[:2]), [call(at) for at in range(300)], "june")

    def seen(_: Store) -> bool:
        out = tmp_path / "exported" / "june.csv"
        for left in out.parent.iterdir():  # what a killed one leaves is hidden, and nobody else's to read
            assert left == out or (left.name.startswith(".tmp-") and left.stat().st_mode & 0o77 == 0)
        if out.exists():
            assert pl.read_csv(out)["conversation_id"].to_list() == [f"c{at:05}" for at in range(300)]
        return out.exists()

    at_every((*place[:2], EXPORTS), tmp_path, export_june, seen, least=2)


SUBMITS = {  # what is written right before: folder, S3
    "the taxonomy": (r"^open w .*/\.scratch/datasets/.*/taxonomy\.json", r"send PUT .*/datasets/\w+/\w+/taxonomy"),
    "the report": (r"^shutil\.copyfile .*/\.scratch/datasets/.*/report\.html", r"send PUT .*/report/report\.html"),
    "the list of files": (r"^os\.rename .*/\.files\.json", r"send PUT .*/datasets/\w+/\.files\.json"),
    "the dataset": (r"^os\.rename .*/\.scratch/\S+ \S+/store/datasets/\w+$", ""),
}


@pytest.mark.parametrize(
    "before", [pytest.param(b, marks=[] if b == "the list of files" else pytest.mark.slow) for b in SUBMITS]
)
def test_a_submission_killed_in_its_writes_is_not_there_and_then_is_whole(
    place: tuple[Path, str, str], tmp_path: Path, before: str
) -> None:
    root, url, _ = place
    pattern = SUBMITS[before][bool(url)]
    if not pattern:
        pytest.skip("on S3 a dataset appears with its list of files")
    records = samples.generate(80, seed=6)
    (tmp_path / "calls.jsonl").write_text(
        "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8"
    )

    assert killer.run(submit, root, url, plan=Plan(pattern)) == -9
    assert catalog.listed(opened(root, url)) == []
    assert killer.run(submit, root, url) == 0
    store = opened(root, url)
    (dataset,) = catalog.listed(store)
    store.verify(dataset.key)
    assert catalog.calls_of(store, dataset).height == dataset.accepted == 80
    assert store.part(dataset.key, "report/report.html")
