"""Exported calls: under the contract's names, whole or not at all, and harmless in a spreadsheet."""

import csv
import json
import stat
from pathlib import Path

import polars as pl
import pytest

from configs.dataset import DataSettings
from data_contracts import samples, taxonomy
from data_contracts.artifacts import Dataset
from data_contracts.errors import ConfigurationError
from deploy.store import FolderStore
from tasks import accept, catalog, export
from tests.tasks.kept import call, keep

NAMES = ["conversation_id", "customer_id", "input_text", "complaint_category", "confidence_score", "started_at"]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def dataset(store: FolderStore) -> Dataset:
    rows = [call(1, customer="someone"), call(2, words='=HYPERLINK("http://x","看")'), call(3, words="＝1+1，\n第二行")]
    return keep(store, rows, "three")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_format_holds_the_calls_under_the_contract_s_names(
    store: FolderStore, dataset: Dataset, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / f"out.{kind}"
    read = {"csv": pl.read_csv, "jsonl": pl.read_ndjson, "parquet": pl.read_parquet}[kind]

    assert export.export(store, dataset, out) == 3
    table = read(out)
    assert table.columns == [*NAMES, "channel", "region", "synthetic"]
    assert table["customer_id"].to_list() == ["someone", None, None]
    assert table["complaint_category"].to_list() == ["b", "a", "b"]
    assert table["synthetic"].to_list() == [True] * 3
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == [out.name, "store"]


def test_csv_opens_as_utf_8_in_a_spreadsheet_and_runs_nothing(
    store: FolderStore, dataset: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    export.export(store, dataset, out)

    assert out.read_bytes().startswith(b"\xef\xbb\xbf")
    with out.open(encoding="utf-8-sig", newline="") as f:
        texts = [row["input_text"] for row in csv.DictReader(f)]
    assert texts[1] == '\'=HYPERLINK("http://x","看")'
    assert texts[2] == "'＝1+1，\n第二行"


def test_jsonl_holds_the_words_as_they_are(store: FolderStore, dataset: Dataset, tmp_path: Path) -> None:
    export.export(store, dataset, tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()

    assert json.loads(lines[2])["input_text"] == "＝1+1，\n第二行"


def test_nothing_is_overwritten_unless_that_is_said(store: FolderStore, dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    with pytest.raises(ConfigurationError, match="--force"):
        export.export(store, dataset, out)
    assert out.read_text() == "mine"

    export.export(store, dataset, out, force=True)
    assert out.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("folder.csv", "is a folder"),
        ("out.xlsx", r"allowed: \.csv"),
        ("out", "allowed"),
        ("none/out.csv", "there is no folder"),
    ],
)
def test_a_place_that_cannot_be_is_named(
    store: FolderStore, dataset: Dataset, tmp_path: Path, name: str, sentence: str
) -> None:
    (tmp_path / "folder.csv").mkdir()

    with pytest.raises(ConfigurationError, match=sentence):
        export.export(store, dataset, tmp_path / name)


def test_what_was_exported_is_accepted_again_and_stays_synthetic(store: FolderStore, tmp_path: Path) -> None:
    settings = DataSettings(min_rows=50, min_rows_per_category=5)
    path = tmp_path / "calls.jsonl"
    path.write_text(
        "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in samples.generate(80, seed=6)), encoding="utf-8"
    )
    first = accept.submit(path, taxonomy.load(), {}, "first", settings, store, tmp_path / "answer")
    export.export(store, first, tmp_path / "again.csv")
    again = accept.submit(tmp_path / "again.csv", taxonomy.load(), {}, "again", settings, store, tmp_path / "answer")
    columns = ("conversation_id", "input_text", "complaint_category", "started_at", "channel", "region")

    assert again.synthetic and again.accepted == first.accepted and again.groups == first.groups
    assert catalog.calls_of(store, again, columns).equals(catalog.calls_of(store, first, columns))
