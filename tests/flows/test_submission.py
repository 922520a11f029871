"""What a submission leaves for others to see: an artifact for Prefect's page, and an answer that is never an old one."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from configs.dataset import DataSettings
from configs.sources import load
from data_contracts import samples, taxonomy
from flows.session import Session
from flows.submit import Kept, Submission, keep
from tasks import catalog, gold
from tasks.calls import content_digest
from tests.flows.stack import lay_database
from tests.flows.test_command_line import tingsu
from tests.tasks.broken import PHONE, SECRET, good, table


def artifacts(home: Path) -> list[tuple[str, str]]:
    """Key and text of each, from Prefect's own database."""
    with closing(sqlite3.connect(home / "prefect/prefect.db")) as database:
        found = database.execute("SELECT key, data FROM artifact WHERE type = 'markdown' ORDER BY created").fetchall()
    return [(str(key), str(json.loads(data))) for key, data in found]


def test_a_refused_file_is_an_artifact_with_the_sentence_the_counts_and_what_to_do(tmp_path: Path) -> None:
    rows = [
        [name, words, "billing_dispute" if at < 5 else "Billing-Dispute"] for at, (name, words, _) in enumerate(good())
    ]
    (tmp_path / f"王小明{PHONE}.csv").write_text(table(rows), encoding="utf-8")
    lay_database(tmp_path)
    found = tingsu(
        "submit",
        f"王小明{PHONE}.csv",
        "--set",
        "data.min_rows=10",
        "--json",
        home=tmp_path,
        env={"PREFECT_HOME": str(tmp_path / "prefect")},
    )
    assert found.returncode == 3, found.stderr
    said = json.loads(found.stdout)
    assert (said["passed"], said["rejected"], said["quarantined"]) == (False, 15, 0)
    assert "rejects.csv, submit again" in found.stderr and "quarantine.csv" not in found.stderr
    assert said["refusals"][0]["reason_en"] in found.stderr and said["refusals"][0]["reason_zh"] in found.stderr
    ((key, told),) = artifacts(tmp_path)

    assert key == "refused-complaints"
    assert "refused 已退回" in told and "rejects.csv" in told
    assert "20 rows = 5 accepted + 0 quarantined + 15 rejected" in told
    assert (
        "mend the rows in rejects.csv and quarantine.csv" in told
        and "请按 rejects.csv 和 quarantine.csv 逐行修改后重新提交" in told
    )
    assert "| reject | 15 | `category_spelling` |" in told and "一次改好所有此类行" in told
    assert PHONE not in told and SECRET not in told


def test_what_prefect_records_of_a_submission_holds_nobodys_number_and_is_its_owners_alone(tmp_path: Path) -> None:
    column = f"会话编号{PHONE}"
    names = (column, "input_text", "complaint_category")
    (tmp_path / f"投诉_{PHONE}_高敏.csv").write_text(table(good()[:5], names), encoding="utf-8")
    lay_database(tmp_path)
    (tmp_path / "prefect/prefect.db").chmod(0o644)
    words = ("--map", f"conversation_id={column}", "--name", f"投诉 {PHONE}", "--set", "data.min_rows=10")
    own = {"PREFECT_HOME": str(tmp_path / "prefect")}
    found = tingsu("submit", f"投诉_{PHONE}_高敏.csv", *words, home=tmp_path, env=own)
    assert found.returncode == 3 and "is refused" in found.stderr and PHONE not in found.stderr, found.stderr

    written = {path: path.read_bytes() for path in (tmp_path / "prefect").rglob("*") if path.is_file()}
    assert [path.name for path, content in written.items() if PHONE.encode() in content] == []
    with closing(sqlite3.connect(tmp_path / "prefect/prefect.db")) as database:
        ((parameters,),) = database.execute("SELECT parameters FROM flow_run").fetchall()
        (failed,) = database.execute("SELECT message FROM flow_run_state WHERE type = 'FAILED'").fetchall()
    assert set(json.loads(parameters)) >= {"file", "mapping", "name"} and "is refused" in failed[0]
    assert (tmp_path / "prefect/prefect.db").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def session(tmp_path: Path) -> Session:
    settings = load("tiny")
    small = DataSettings(min_rows=10, min_rows_per_category=2)
    return Session(settings.model_copy(update={"data": small}), tmp_path / "home")


def submitted(session: Session, path: Path) -> tuple[Kept, bool, dict[str, object]]:
    """What was kept, whether it was checked anew, and the answer."""
    before = {*session.store.keys("stages/accept")}
    kept = keep(session, Submission(file=str(path), name="calls", taxonomy=taxonomy.load(), mapping={}))
    is_new = {*session.store.keys("stages/accept")} != before
    return kept, is_new, json.loads((Path(kept.answer) / "summary.json").read_text(encoding="utf-8"))


def test_an_identical_file_is_checked_anew_once_a_gold_set_or_a_setting_says_something_else(
    session: Session, tmp_path: Path
) -> None:
    path = tmp_path / "calls.jsonl"
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in samples.generate(60, seed=3))
    path.write_text("".join(lines), encoding="utf-8")
    first, _, said = submitted(session, path)
    again, is_new, same = submitted(session, path)
    calls = catalog.calls_of(session.store, first.dataset)
    some = calls.filter(pl.col("group") == calls["group"][0])
    gold.freeze(session.store, gold.made(content_digest(some), some.height, first.dataset), some, tmp_path / "scratch")
    after, was_checked, with_gold = submitted(session, path)
    strict = session.settings.data.model_copy(update={"severities": {"gold_customer": "quarantine"}})
    other = Session(session.settings.model_copy(update={"data": strict}), session.home)

    assert (again, is_new, same) == (first, False, said)
    assert said["gold_is_frozen"] is False and "gold_customer" not in str(said["findings"])
    assert was_checked and with_gold["gold_is_frozen"] is True and "gold_customer" in str(with_gold["findings"])
    assert after.dataset == first.dataset  # the calls are what they were
    assert submitted(other, path)[2]["quarantined"] == some.height
    assert submitted(session, path)[2] == with_gold  # the latest answer is not the one for these settings
