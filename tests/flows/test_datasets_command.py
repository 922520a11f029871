"""`datasets` as a person uses it: what was accepted is listed, shown, compared, merged and exported."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from data_contracts.artifacts import Dataset
from deploy.store import FolderStore
from tasks import gold, history, looks
from tests.flows.test_command_line import tingsu
from tests.tasks.kept import call, keep
from tests.tasks.test_refresh import calls, divide


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With `june` and `july` (twice, of one name), which share ten calls and differ in the category of one of them."""
    home = tmp_path_factory.mktemp("home")
    store = FolderStore(home / "store")
    keep(store, [call(at) for at in range(40)], "june")
    keep(store, [call(at) for at in range(5)], "july")
    keep(store, [call(30, "b"), *(call(at) for at in range(31, 80))], "july")
    return home


@pytest.fixture(scope="module")
def made(home: Path) -> dict[str, Dataset]:
    """The newest dataset of each name."""
    return {d["name"]: Dataset.model_validate(d) for d in answer("list", home=home)}


def answer(*words: str, home: Path) -> Any:
    found = tingsu("datasets", *words, "--json", home=home)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_a_list_has_them_all_and_a_name_means_its_newest(home: Path, made: dict[str, Dataset]) -> None:
    assert [d["name"] for d in answer("list", home=home)] == ["june", "july", "july"]
    assert answer("show", "july", home=home)["dataset"]["id"] == made["july"].id
    assert answer("show", made["june"].id[:9], home=home)["dataset"]["name"] == "june"


def test_an_id_that_is_too_short_names_the_candidates(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    kept = [keep(store, [call(at)], f"n{at}") for at in range(17)]  # more datasets than first digits
    first = next(d.id[0] for d in kept if sum(o.id[0] == d.id[0] for o in kept) > 1)
    found = tingsu("datasets", "show", first, home=tmp_path)
    alike = [d for d in kept if d.id.startswith(first)]

    assert found.returncode == 2
    assert f"stands for {len(alike)} datasets" in found.stderr
    assert all(f"{d.id[:12]} ({d.name})" in found.stderr for d in alike)


def test_show_and_diff_tell_a_person_in_both_languages_and_no_words_of_a_call(home: Path) -> None:
    shown, differs = (
        tingsu("datasets", *words, home=home).stdout for words in (("show", "june"), ("diff", "june", "july"))
    )

    assert "made from file ffffffffffff  june.csv" in shown
    assert "40 rows = 40 accepted + 0 quarantined + 0 rejected" in shown
    assert "1 relabelled: c00030 (a → b)" in differs
    assert "40 added: c00040" in differs and "30 removed: c00000" in differs
    assert "Chance alone" in differs and "偶然" in differs
    assert str(call(35)["input_text"])[:6] not in shown + differs


def test_merge_refuses_what_is_disputed_and_takes_the_newest_if_told(home: Path) -> None:
    refused = tingsu("datasets", "merge", "june", "july", "--name", "both", home=home)
    made = answer("merge", "june", "july", "--name", "both", "--prefer", "newest", home=home)
    again = answer("merge", "july", "june", "--name", "twice", "--prefer", "newest", home=home)
    wrong = tingsu("datasets", "merge", "june", "july", "--name", "x", "--prefer", "oldest", home=home)

    assert refused.returncode == 3 and "c00030: b / a" in refused.stderr
    assert (made["is_new"], made["dataset"]["accepted"], made["merging"]["relabelled"]) == (True, 80, 1)
    assert (again["is_new"], again["dataset"]["id"]) == (False, made["dataset"]["id"])
    assert wrong.returncode == 2 and "allowed: newest" in wrong.stderr


def test_export_writes_a_file_once(home: Path) -> None:
    out = home / "june.csv"
    assert answer("export", "june", "--out", str(out), home=home)["calls"] == 40
    again = tingsu("datasets", "export", "june", "--out", str(out), home=home)

    assert again.returncode == 2 and "--force" in again.stderr
    assert pl.read_csv(out).height == 40
    assert tingsu("datasets", "export", "june", "--out", str(out), "--force", home=home).returncode == 0


def test_none_of_it_waits_for_prefect_or_a_training_library(home: Path) -> None:
    code = (
        "import sys, runpy\n"
        "sys.argv = ['tingsu', 'datasets', 'diff', 'june', 'july']\n"
        "try: runpy.run_module('flows', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'torch', 'prefect', 'mlflow', 'sklearn', 'great_expectations', 'pandas'} & set(sys.modules)))\n"
    )
    from tests.flows.stack import ROOT

    env = {"PYTHONPATH": str(ROOT), "TINGSU_HOME": str(home), "PATH": "/usr/bin:/bin"}
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, env=env, timeout=120)

    assert "HEAVY []" in found.stdout, found.stdout + found.stderr


def test_refresh_gold_plans_freezes_and_asked_again_changes_nothing(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    divide(store, keep(store, calls(0, 200), "first"))
    newest = keep(store, [*calls(0, 200), *calls(1000, 200, "2026-06-15")], "second")
    words = ("refresh-gold", "--reason", "a new tariff")
    planned = answer(*words, "--dry-run", home=tmp_path)
    after = gold.version(store, "complaints")
    made = answer(*words, home=tmp_path)
    again = tingsu("datasets", *words, home=tmp_path)
    other = tingsu("datasets", "refresh-gold", "--reason", "another", home=tmp_path)
    assert f"Only {made['refresh']['stayed']} calls stayed" in again.stdout and "(100 are needed)" in again.stdout

    looks.judged(store, made["digest"], "adapter", "strict", "evidence")
    looks.judged(store, made["digest"], "adapter", "lenient", "evidence")
    kept = answer("show", "second", home=tmp_path)["custody"]
    told = tingsu("datasets", "show", "second", home=tmp_path).stdout

    assert [kept["looks_by_version"][v]["judged"] for v in "12"] == [0, 2]
    assert kept["looks"]["gates"] == {"lenient": 1, "strict": 1}
    assert "version 2, " in told and "judged 2 times (thresholds: lenient ×1, strict ×1)" in told
    assert "第 1 版" in told and "评判 0 次" in told
    assert after == 1
    assert {**planned, "created_at": ""} == {**made, "created_at": ""}
    assert (made["version"], made["dataset_id"], made["refresh"]["reason"]) == (2, newest.id, "a new tariff")
    assert (
        again.returncode == 0 and "Nothing new: version 2 was made so" in again.stdout and "没有新内容" in again.stdout
    )
    assert other.returncode == 3 and "has 0 calls that version 2" in other.stderr
    assert [e.event.kind for e in history.read(tmp_path)] == ["gold_refreshed"]
