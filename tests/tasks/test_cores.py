"""The data path in parts: the same whatever the parts and processes, and never more in memory or compared than promised."""

import difflib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts import samples, taxonomy
from data_contracts.errors import ResourceInsufficient
from tasks import clean, cores, findings, ingest, near

ROOT = Path(__file__).parents[2]
PEAK = """
import re, sys
from itertools import pairwise
from pathlib import Path
from flows.commands.data import write_sample
write_sample(int(sys.argv[1]), 1, Path(sys.argv[2]))
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""
"""Not ru_maxrss: over exec it keeps the peak of whoever started the process."""


def write(path: Path, calls: int, seed: int) -> Path:
    lines = (json.dumps(call, ensure_ascii=False) + "\n" for call in samples.generate(calls, seed))
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    return pl.concat(ingest.read(write(tmp_path_factory.mktemp("raw") / "calls.jsonl", 120, seed=3), {}))


def cut(table: pl.DataFrame, at: list[int]) -> Iterator[pl.DataFrame]:
    edges = [0, *sorted(at), table.height]
    return (table.slice(a, b - a) for a, b in pairwise(edges))


@settings(max_examples=15, deadline=None)
@given(at=st.lists(st.integers(0, 120), max_size=6))
def test_calls_prepared_in_any_parts_are_those_prepared_whole(raw: pl.DataFrame, at: list[int]) -> None:
    whole, parted = clean.prepare(raw, 300), clean.prepare_all(cut(raw, at), 300, 1)

    assert parted.frame.equals(whole.frame)
    assert parted[1:] == whole[1:]
    assert parted.frame["row"].to_list() == raw["row"].to_list()


def test_two_processes_prepare_the_same_calls_in_the_same_order_as_one(raw: pl.DataFrame) -> None:
    one, two = (clean.prepare_all(cut(raw, [20, 50, 90, 100]), 300, processes) for processes in (1, 2))

    assert two.frame.equals(one.frame)
    assert two[1:] == one[1:]


def die(part: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return part


def test_a_process_that_is_killed_is_told_in_one_sentence() -> None:
    with pytest.raises(ResourceInsufficient, match="one of 2 processes that prepare calls was killed"):
        list(cores.in_order(die, [1, 2, 3], 2))


def test_parts_are_taken_from_the_file_as_they_are_worked_on() -> None:
    taken: list[int] = []

    def parts() -> Iterator[int]:
        for part in range(50):
            taken.append(part)
            yield part

    results = cores.in_order(abs, parts(), 2)

    assert next(results) == 0
    assert len(taken) <= 2 * 2 + cores.WORTH_IT
    assert list(results) == list(range(1, 50))


def test_a_column_that_comes_late_in_the_file_is_a_column_of_every_part(tmp_path: Path) -> None:
    early = [json.dumps({"text": f"早{at}", "complaint_category": "x"}) for at in range(ingest.PART)]
    late = json.dumps({"input_text": "晚", "text": "不读", "complaint_category": "x", "region": "北京"})
    (tmp_path / "calls.jsonl").write_text("\n".join([*early, late]), encoding="utf-8")
    first, second = ingest.read(tmp_path / "calls.jsonl", {})

    assert first.columns == second.columns
    assert first["input_text"].null_count() == ingest.PART
    assert second["input_text"].to_list() == ["晚"]
    assert [first["row"][0], second["row"][0]] == [1, ingest.PART + 1]


def test_writing_more_calls_takes_no_more_memory(tmp_path: Path) -> None:
    few, many = (peak_mb(calls, tmp_path / "calls.jsonl") for calls in (1_000, 12_000))

    assert many < few + 16


@pytest.mark.slow
def test_a_million_calls_are_written_in_less_than_500_mb(tmp_path: Path) -> None:
    assert peak_mb(1_000_000, tmp_path / "calls.jsonl") < 500
    with (tmp_path / "calls.jsonl").open(encoding="utf-8") as lines:
        assert sum(1 for _ in lines) == 1_000_000


def peak_mb(calls: int, out: Path) -> int:
    command = [sys.executable, "-P", "-c", PEAK, str(calls), str(out)]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True)
    return int(done.stdout)


def from_template(at: int) -> str:
    return "".join(
        f"{at * (slot + 3) * 7919 % 9973:04d}" + "".join(map(chr, range(start, start + 60)))
        for slot, start in enumerate(range(0x4E00, 0x4E00 + 240, 60))
    )


def test_a_call_is_compared_with_few_others_however_many_are_made_from_one_template() -> None:
    texts = near.sketch(pl.Series([from_template(at) for at in range(2_000)]))
    shown = [len(others) for _, others in near.Index(texts).candidates(texts, 0.9, earlier=True)]

    assert len(shown) > 1_500
    assert max(shown) == near.COMPARED


def test_a_near_duplicate_is_found_among_thousands_of_one_template() -> None:
    texts = [from_template(at) for at in range(2_000)]
    wanted = pl.Series([text[:-2] + "呀" for text in texts[::100]])

    assert near.any_near(near.sketch(wanted), near.sketch(pl.Series(texts)), 0.9).all()


@settings(deadline=None)
@given(st.text("billing_dispute 计费争议ABC-xyz", max_size=30))
def test_the_nearest_category_is_the_one_difflib_finds_by_looking_at_all(value: str) -> None:
    words = taxonomy.load()
    names = {n.casefold(): c.key for c in words.categories for n in (c.definition, c.code, c.name_zh, c.key) if n}
    (best,) = difflib.get_close_matches(value.strip().casefold().replace(" ", "_"), names, n=1, cutoff=0.0)

    assert findings.nearest(value, words) == names[best]
