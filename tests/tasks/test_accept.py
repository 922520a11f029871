"""Submitting: from a file to a content-addressed dataset, or to a refusal with everything needed to mend the file."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest

from configs.dataset import DataSettings
from data_contracts import samples, taxonomy
from data_contracts.artifacts import Dataset
from data_contracts.errors import ConfigurationError, ContractViolation
from data_contracts.taxonomy import Category, Taxonomy
from deploy.store import FolderStore, sha256_file
from tasks import accept, catalog, clean
from tasks.calls import COLUMNS

SETTINGS = DataSettings(min_rows=50, min_rows_per_category=5)
TWO = Taxonomy(
    name="two",
    none_key="0",
    categories=(Category(key="0", code="A", name_zh="好评"), Category(key="1", code="B", name_zh="差评")),
)


def write(path: Path, records: Iterable[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


def submit(path: Path, folder: Path, words: Taxonomy | None = None, **mapping: str) -> Dataset:
    store = FolderStore(folder / "store")
    return accept.submit(path, words or taxonomy.load(), mapping, path.stem, SETTINGS, store, folder / "out")


def calls(folder: Path, dataset: Dataset) -> pl.DataFrame:
    return pl.read_parquet(folder / "store" / dataset.key / "calls.parquet")


def test_generated_calls_become_a_dataset(tmp_path: Path) -> None:
    dataset = submit(write(tmp_path / "calls.jsonl", samples.generate(120, seed=5)), tmp_path)
    stored = tmp_path / "store" / dataset.key
    table = calls(tmp_path, dataset)

    assert (dataset.rows, dataset.accepted, dataset.rejected) == (120, 120, 0)
    assert dataset.synthetic
    assert tuple(table.columns) == COLUMNS
    assert sum(dataset.categories.values()) == table.height
    assert Dataset.model_validate_json((stored / "manifest.json").read_text()) == dataset
    assert Taxonomy.model_validate_json((stored / "taxonomy.json").read_text()).digest == dataset.taxonomy_digest
    assert (stored / "report" / "report.html").is_file()
    assert (stored / "report" / "data_docs" / "index.html").is_file()


def test_the_same_calls_in_any_order_are_the_same_dataset_and_nothing_is_rewritten(tmp_path: Path) -> None:
    records = list(samples.generate(80, seed=6))
    first = submit(write(tmp_path / "one.jsonl", records), tmp_path)
    manifest = tmp_path / "store" / first.key / "manifest.json"
    before = manifest.stat().st_mtime_ns
    again = submit(write(tmp_path / "two.jsonl", reversed(records)), tmp_path)

    assert again == first
    assert manifest.stat().st_mtime_ns == before
    assert len(catalog.listed(FolderStore(tmp_path / "store"))) == 1


def test_no_planted_value_reaches_store_report_docs_or_refusal(tmp_path: Path) -> None:
    made = list(samples.generate_with_truth(150, seed=7))
    planted = {p.value for _, truth in made for p in truth.planted if len(p.value) > 3}
    records = [record for record, _ in made]
    owners = {str(record["customer_id"]) for record in records}
    for at in range(60):  # rejected rows, with personal data in every other column as well
        value = f"1381234{at:04d}"
        planted.add(value)
        records[at] |= {
            "complaint_category": f"打给{value}",
            "conversation_id": value,
            "region": value,
            "started_at": value,
        }
    with pytest.raises(ContractViolation) as refused:
        submit(write(tmp_path / "bad.jsonl", records), tmp_path)
    submit(write(tmp_path / "good.jsonl", records[60:]), tmp_path)

    written = [p for place in ("out", "store") for p in (tmp_path / place).rglob("*") if p.is_file()]
    texts = {p: p.read_bytes().decode("utf-8", "replace") for p in written if p.suffix != ".parquet"}
    texts |= {p: pl.read_parquet(p).write_csv() for p in written if p.suffix == ".parquet"}
    assert len(texts) > 20
    leaks = [(p.name, v) for p, text in texts.items() for v in planted | owners if v in text]
    assert leaks == []
    assert [v for v in planted if v in str(refused.value)] == []


def test_a_refused_file_leaves_its_answer_and_nothing_in_the_store(tmp_path: Path) -> None:
    records = [r | {"complaint_category": "=billing"} for r in samples.generate(60, seed=8)]
    with pytest.raises(ContractViolation) as caught:
        submit(write(tmp_path / "calls.jsonl", records), tmp_path)
    out = tmp_path / "out"

    assert str(out / "rejects.csv") in str(caught.value) and str(out / "report.html") in str(caught.value)
    assert "unknown_category ×60" in str(caught.value)
    rows = list(csv.DictReader((out / "rejects.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert [int(row["row"]) for row in rows] == list(range(1, 61))
    assert "'billing_dispute'" in rows[0]["reason_en"] and rows[0]["remedy_zh"]
    assert pl.read_parquet(out / "rejects.parquet").height == 60
    assert "已退回" in (out / "report.html").read_text(encoding="utf-8")
    assert json.loads((out / "summary.json").read_text())["rejected"] == 60
    assert catalog.listed(FolderStore(tmp_path / "store")) == []


def test_a_file_named_after_a_person_s_number_leaves_it_nowhere(tmp_path: Path) -> None:
    path = write(tmp_path / "13812345678.jsonl", samples.generate(80, seed=6))
    dataset = accept.submit(
        path, taxonomy.load(), {}, "calls", SETTINGS, FolderStore(tmp_path / "store"), tmp_path / "out"
    )

    assert [(p.kind, p.digest) for p in dataset.parents] == [("file", sha256_file(path))]
    written = [p for place in ("out", "store") for p in (tmp_path / place).rglob("*") if p.is_file()]
    assert [p for p in written if b"13812345678" in p.read_bytes()] == []


def test_a_foreign_file_of_text_and_number_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    rows = [f"第{at}家店的菜{'很好吃' if at % 2 else '太难吃'}我{at * 7}分钟才等到,{1 - at % 2}" for at in range(90)]
    path.write_text("\n".join(["text,label", *rows, rows[0]]), encoding="gbk")
    dataset = submit(path, tmp_path, TWO, input_text="text", complaint_category="label")
    table = calls(tmp_path, dataset)

    assert (dataset.rows, dataset.accepted, dataset.rejected) == (91, 90, 1)
    assert dataset.categories == {"0": 45, "1": 45}
    assert not dataset.synthetic
    assert set(table["confidence_score"]) == {1.0}
    assert table["conversation_id"].str.starts_with("text-").all()


def test_calls_that_nobody_labelled_are_checked_as_raw_ones_and_nothing_is_kept(tmp_path: Path) -> None:
    records = list(samples.generate(80, seed=41, labelled=False))
    records[3]["turns"] = [turn for turn in records[3]["turns"] if turn["speaker"] == "agent"]  # type: ignore[attr-defined]
    path, store = write(tmp_path / "raw.jsonl", records), FolderStore(tmp_path / "store")
    found = accept.check(path, taxonomy.load(), {}, SETTINGS, store, tmp_path / "out")

    assert (found["is_raw"], found["passed"], found["accepted"], found["quarantined"]) == (True, True, 79, 1)
    assert [f["code"] for f in found["findings"] if f["severity"] == "quarantine"] == ["no_customer"]
    assert found["warnings"] == [] and found["dataset_id"] is None
    assert "可以接受" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert catalog.listed(store) == []


def test_labelled_calls_are_checked_as_submit_would(tmp_path: Path) -> None:
    records = [r | {"complaint_category": "Billing Dispute"} for r in samples.generate(60, seed=8)]
    path, store = write(tmp_path / "calls.jsonl", records), FolderStore(tmp_path / "store")
    found = accept.check(path, taxonomy.load(), {}, SETTINGS, store, tmp_path / "out")

    assert (found["passed"], found["by_code"]) == (False, {"category_spelling": 60})
    assert found["spellings"] == [{"written": "Billing Dispute", "means": "billing_dispute", "rows": 60}]


def test_rows_that_are_only_warned_of_are_listed_as_the_rejected_ones_are(tmp_path: Path) -> None:
    records = list(samples.generate(80, seed=12))
    twin = records[10] | {"conversation_id": "twin", "customer_id": None}
    twin["turns"] = [*records[10]["turns"][:-1], records[10]["turns"][-1] | {"text": "好的谢谢再见啊"}]  # type: ignore[misc]
    dataset = submit(write(tmp_path / "calls.jsonl", [*records, twin]), tmp_path)
    out, kept = tmp_path / "out", tmp_path / "store" / dataset.key / "report"
    listed = pl.read_parquet(out / "warnings.parquet")
    sheet = list(csv.DictReader((kept / "warnings.csv").read_text(encoding="utf-8-sig").splitlines()))
    summary, report = json.loads((out / "summary.json").read_text()), (out / "report.html").read_text(encoding="utf-8")

    assert dataset.accepted == 81
    assert listed.columns == pl.read_parquet(out / "rejects.parquet").columns
    assert listed.filter(pl.col("code") == "near_duplicate")["row"].to_list() == [81]
    assert [row["row"] for row in sheet] == [str(row) for row in listed["row"]] and all(r["remedy_zh"] for r in sheet)
    assert summary["warned"] == listed["row"].n_unique()
    assert summary["files"]["warnings"] == ["warnings.csv", "warnings.parquet"]
    assert all(f'href="{name}"' in report for names in summary["files"].values() for name in names)


def test_columns_that_nobody_reads_are_named_and_those_that_look_like_data_are_not(tmp_path: Path) -> None:
    records = [
        {
            "input_text": f"第{at}次打来说网速慢",
            "label": "a",
            "complaint_category": TWO.keys[at % 2],
            "客户编号": f"k{at}",
        }
        | {"13812345678": "x", "我昨天就打过电话了，你们怎么还没处理": "y"}
        for at in range(60)
    ]
    submit(write(tmp_path / "calls.jsonl", records), tmp_path, TWO)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    told = next(w for w in summary["warnings"] if "not read" in w["en"])

    assert summary["ignored_columns"] == ["'label'", "'客户编号'", "column 5", "column 6"]
    assert "'label'" in told["en"] and told["en"].endswith("--map customer_id=客户编号")
    assert told["zh"].endswith("--map customer_id=客户编号")
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "未读取" in report and "138" not in report and "昨天" not in report


def rows(*cells: tuple[str, str | None, str]) -> pl.DataFrame:
    """Conversation id (empty for none), customer, text."""
    table = pl.DataFrame(cells, schema=["conversation_id", "customer_id", "input_text"], orient="row")
    table = table.with_columns(pl.col("conversation_id").replace("", None), complaint_category=pl.lit("0"))
    numbered = table.with_row_index("row", offset=1).with_columns(problem=pl.lit(None, pl.String))
    return clean.prepare(numbered, 1000).frame


def test_a_group_is_the_customer_else_the_conversation_else_the_near_duplicates() -> None:
    text = "宽带断了三天还没有人来修理，我每天都在打电话催你们处理这个事情到底什么时候能好"
    frame = rows(
        ("a", "u1", "你好啊"), ("b", "u1", "再见啊"), ("c", None, "再见啊"), ("", None, text), ("", None, text + "呀")
    )
    table = accept.group(frame, 0.9)
    groups = dict(table.select("conversation_id", "group").iter_rows())
    alone = [group for name, group in groups.items() if name.startswith("text-")]

    assert groups["a"] == groups["b"] != groups["c"]
    assert len(set(alone)) == 1
    assert "u1" not in table.write_csv()


def test_a_group_of_near_duplicates_keeps_its_name_in_any_order() -> None:
    text = "宽带断了三天还没有人来修理，我每天都在打电话催你们处理这个事情到底什么时候能好"
    cells: list[tuple[str, str | None, str]] = [("", None, text + tail) for tail in ("呀", "啊", "吧", "")]

    assert accept.group(rows(*cells), 0.9)["group"].unique().to_list() == (
        accept.group(rows(*reversed(cells)), 0.9)["group"].unique().to_list()
    )


def test_a_dataset_is_found_by_prefix_and_the_newest_by_default(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    made = submit(write(tmp_path / "calls.jsonl", samples.generate(60, seed=9)), tmp_path)

    assert catalog.find(store, made.id[:8], "other") == made
    assert catalog.find(store, "latest", "complaints") == catalog.find(store, None, "complaints") == made
    with pytest.raises(ConfigurationError, match="no dataset of family 'other'"):
        catalog.find(store, None, "other")
    with pytest.raises(ConfigurationError, match=made.id[:12]):
        catalog.find(store, "zzz", "complaints")
    with pytest.raises(ConfigurationError, match=f"there is no dataset ''.*{made.id[:12]}"):
        catalog.find(store, "", "complaints")
