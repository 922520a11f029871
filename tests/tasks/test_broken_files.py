"""Every broken file gets an answer of its own: what is wrong, where, and what to do. None leaves half a dataset."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from markupsafe import escape

from configs.dataset import DataSettings
from data_contracts import taxonomy
from data_contracts.artifacts import Dataset
from data_contracts.errors import ContractViolation, Told
from data_contracts.messages import Said
from deploy.store import FolderStore
from tasks import accept, answer, catalog, clean
from tests.tasks import broken
from tests.tasks.broken import CASES, PHONE, SECRET, Case, long_line_of_a_gigabyte

ROOT = Path(__file__).parents[2]
CHINESE = re.compile(r"[\u4e00-\u9fff]")
SETTINGS = DataSettings(min_rows=10, min_rows_per_category=2, min_accepted_share=0.5)


def submit(path: Path, folder: Path, name: str = "broken", **mapping: str) -> Dataset:
    store = FolderStore(folder / "store")
    return accept.submit(path, taxonomy.load(), mapping, name, SETTINGS, store, folder / "out")


def refused(path: Path, folder: Path, **mapping: str) -> Told:
    with pytest.raises(Told) as caught:
        submit(path, folder, **mapping)
    return caught.value


def refusal(path: Path, folder: Path, **mapping: str) -> str:
    return str(refused(path, folder, **mapping))


def one_sided(said: Said) -> list[str]:
    """What the English half names (quoted words, numbers, options, commands) and the Chinese half does not; or no Chinese at all."""
    named = re.findall(r"'[^' ][^']*'|--\w+|\d[\d,.]*\d|\d|\./tingsu \w+|[A-Z][\w-]*\d+", said.en)
    halves = (said.reason_zh, said.remedy_zh)
    return [*(word for word in named if word not in said.zh), *(half for half in halves if not CHINESE.search(half))]


def left(folder: Path) -> list[str]:
    """Files that a finished submission has no business leaving."""
    return [
        str(p)
        for p in folder.rglob("*")
        if p.is_file() and p.suffix != ".lock" and (p.name.startswith(".tmp") or "scratch" in p.parts)
    ]


def test_the_corpus_is_as_broad_as_it_claims() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", [c for c in CASES if c.accepted is None], ids=lambda c: c.name)
def test_a_file_that_cannot_be_used_is_refused_in_its_own_words_and_leaves_nothing(case: Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    error = refused(path, tmp_path / "home", **case.mapping)
    message = str(error)

    assert [words for words in case.words if words not in message] == []
    assert one_sided(error.said) == []
    assert case.mapping or str(path) in message or repr(str(path)) in message
    assert len(message) < 900
    assert SECRET not in message and PHONE not in message
    assert catalog.listed(FolderStore(tmp_path / "home" / "store")) == []
    assert left(tmp_path) == []
    if isinstance(error, ContractViolation):  # a wrong path or option is no file that could be answered
        page = (tmp_path / "home" / "out" / answer.REPORT).read_text(encoding="utf-8")
        kept = json.loads((tmp_path / "home" / "out" / answer.SUMMARY).read_text(encoding="utf-8"))["refusals"]
        assert kept and all(CHINESE.search(r["reason_zh"]) and str(escape(r["reason_zh"])) in page for r in kept)
        assert str(tmp_path) not in page and PHONE not in page


@pytest.mark.parametrize("case", [c for c in CASES if c.accepted is not None], ids=lambda c: c.name)
def test_a_file_with_odd_rows_is_taken_and_every_row_is_accounted_for(case: Case, tmp_path: Path) -> None:
    dataset = submit(case.make(tmp_path), tmp_path / "home", **case.mapping)
    rejects = pl.read_parquet(tmp_path / "home" / "out" / answer.REJECTS_PARQUET)

    assert (dataset.accepted, dataset.rows - dataset.rejected) == (case.accepted, case.accepted)
    assert set(rejects["code"]) == ({case.code} if case.code else set())
    assert rejects["row"].n_unique() == dataset.rejected
    assert all(words in reason for words in case.words for reason in rejects["reason_en"])
    assert all(CHINESE.search(reason) for column in ("reason_zh", "remedy_zh") for reason in rejects[column])
    written = [p for p in tmp_path.glob("home/**/*") if p.suffix in (".csv", ".json", ".html")]
    assert written and not [p for p in written if PHONE in p.read_text(encoding="utf-8")]
    assert left(tmp_path / "home") == []


WITHIN = """
import resource, sys
from pathlib import Path
import polars, pyarrow.parquet
from data_contracts.errors import ContractViolation
from tasks import ingest
from tests.tasks import broken

path = Path(sys.argv[1])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 1_500_000_000,) * 2)
try:
    list(ingest.read(path, {}))
except ContractViolation as error:
    print("refused:", error)
"""
HUGE = [c.make for c in CASES if c.name in ("a line of a hundred megabytes", "zeros and nothing else")]
BOMBS = [
    c.make
    for c in CASES
    if c.name.startswith(("parquet that unpacks", "parquet of too many", "parquet of endless", "parquet of one"))
]


@pytest.mark.parametrize(
    "make", [*HUGE, *BOMBS, pytest.param(long_line_of_a_gigabyte, marks=pytest.mark.slow)], ids=lambda m: m.__name__
)
def test_what_would_fill_the_memory_is_refused_before_it_does(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "POLARS_MAX_THREADS": "2", "MALLOC_ARENA_MAX": "2"}
    began = time.monotonic()
    found = subprocess.run(
        [sys.executable, "-P", "-c", WITHIN, str(path)],
        capture_output=True,
        text=True,
        env=env,
        timeout=120,
        check=False,
    )

    assert found.stdout.startswith("refused:"), found.stdout + found.stderr
    assert time.monotonic() - began < 60


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = broken.file(broken.PLAIN)(tmp_path)
    prepare = clean.prepare_all

    def meanwhile(*given: Any) -> Any:
        prepared = prepare(*given)
        with path.open("a") as f:
            f.write("c99,还在导出,refund_delay\n")
        return prepared

    monkeypatch.setattr(clean, "prepare_all", meanwhile)
    message = refusal(path, tmp_path / "home")

    assert "was changed while it was read" in message and "wait until it is whole" in message
    assert catalog.listed(FolderStore(tmp_path / "home" / "store")) == []


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = broken.file(broken.PLAIN)(tmp_path)
    path.chmod(0)
    program = "import os, sys\nfrom pathlib import Path\nfrom tasks import submitted\n"
    program += "os.geteuid() or os.setuid(65534)\n"  # nothing is forbidden to root
    program += (
        "try: submitted.kind_of(Path(sys.argv[1]))\nexcept Exception as error: print(type(error).__name__, error)"
    )
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-P", "-c", program, str(path)],
        capture_output=True,
        text=True,
        env=env,
        timeout=60,
        check=False,
    )

    assert found.stdout.startswith("WrongRequest"), found.stdout + found.stderr
    assert "Permission denied" in found.stdout and "没有读取权限" in found.stdout


def test_a_name_that_climbs_or_holds_personal_data_leads_nowhere_and_stays_unsaid(tmp_path: Path) -> None:
    path = broken.file(broken.PLAIN, f"王小明的{PHONE}.csv")(tmp_path)
    dataset = submit(path, tmp_path / "home", name=f"../../\x1b[31m {PHONE}\u202e")
    written = [p for p in (tmp_path / "home").rglob("*") if p.is_file() and p.suffix != ".parquet"]

    assert dataset.name == "../../[31m 〔手机号〕"
    assert {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*")} == {"home", path.name}
    assert not [p for p in written if PHONE in p.read_bytes().decode("utf-8", "replace")]
