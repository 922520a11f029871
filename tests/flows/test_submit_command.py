"""`submit` as a new user meets it: a foreign or broken file is answered at once, and `--fix` leads to a dataset."""

import json
import os
from pathlib import Path

import pytest

from data_contracts import samples
from tests.flows.test_command_line import tingsu
from tests.tasks.broken import PHONE, SECRET, good, table

FOREIGN = ("通话内容", "投诉类别")
MAP = "input_text=通话内容,complaint_category=投诉类别"


def foreign(folder: Path) -> Path:
    """Two columns under Chinese names, in GBK, with semicolons."""
    path = folder / "导出.csv"
    path.write_bytes(table([row[1:] for row in good()], FOREIGN, ";").encode("gbk"))
    return path


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda path: os.mkfifo(path), 2, "a pipe or a device"),
        (lambda path: path.mkdir(), 2, "it is a folder"),
        (lambda path: path.write_bytes(b"PK\x03\x04"), 3, "save the sheet as 'CSV UTF-8'"),
        (
            lambda path: path.write_bytes(table(good()).encode("gbk") + "c,后面是另一种编码,x\n".encode()),
            3,
            "two encodings",
        ),
        (lambda path: path.write_text("input_text,input_text,complaint_category\n"), 3, "stands twice"),
    ],
    ids=["pipe", "folder", "workbook", "mixed", "twice"],
)
def test_a_broken_file_is_answered_without_waiting_for_prefect(make, code: int, words: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "calls.csv")
    found = tingsu("submit", "calls.csv", home=tmp_path)

    assert found.returncode == code, found.stderr
    assert words in found.stderr
    assert "Traceback" not in found.stderr and "Prefect" not in found.stderr
    assert SECRET not in found.stderr and PHONE not in found.stderr


def test_a_foreign_file_is_told_the_option_to_paste(tmp_path: Path) -> None:
    foreign(tmp_path)
    found = tingsu("submit", "导出.csv", home=tmp_path)

    assert found.returncode == 3
    english, chinese, report = found.stderr.splitlines()[-3:]
    assert english.endswith(f"--map {MAP}") and chinese.endswith(f"--map {MAP}")  # ready to paste, at the end
    assert report.endswith("report.html")
    assert "Prefect" not in found.stderr


def test_a_mapping_may_name_columns_with_commas_and_nothing_twice(tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text(table([row[1:] for row in good()], ("text, whole", "label")))
    twice = tingsu("submit", "calls.csv", "--map", "input_text=label,input_text=label", home=tmp_path)
    wrong = tingsu("submit", "calls.csv", "--map", "input_text=text, whole,complaint_category=lable", home=tmp_path)

    assert twice.returncode == 2 and "is mapped twice" in twice.stderr
    assert wrong.returncode == 2 and "did you mean 'label'" in wrong.stderr


@pytest.mark.slow
def test_fix_mends_lists_and_submits(tmp_path: Path) -> None:
    names = {"billing_dispute": "计费争议", "refund_delay": " Refund Delay "}
    calls = [(r["input_text"], names.get(str(r["complaint_category"]), r["complaint_category"])) for r in flat(300)]
    (tmp_path / "导出.csv").write_bytes(table([list(c) for c in calls], FOREIGN, ";").encode("gbk"))
    found = tingsu("submit", "导出.csv", "--map", MAP, "--fix", "mended.csv", "--json", home=tmp_path)
    answer = json.loads(found.stdout)

    assert found.returncode == 0, found.stderr
    assert answer["name"] == "导出"
    assert answer["mended"]["rows_in"] == 300 == answer["mended"]["rows_out"] + answer["mended"]["dropped"]
    assert answer["mended"]["by_code"]["mended_category"] == sum(c[1] in names.values() for c in calls) > 0
    assert "unmasked" in found.stderr and "未脱敏" in found.stderr
    kept = [p for folder in ("store", "mlflow", "logs", "submissions") for p in (tmp_path / folder).rglob("*.csv")]
    assert not [p for p in kept if p.name.startswith("mended")]


def flat(calls: int) -> list[dict[str, object]]:
    """Generated calls as flat text."""
    made = []
    for record in samples.generate(calls, seed=11):
        turns = record.get("turns")
        if isinstance(turns, list):
            record["input_text"] = "\n".join(str(turn["text"]) for turn in turns)
        made.append(record)
    return made
