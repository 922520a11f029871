"""Two commands that want the same work at once: it is done once, and both answer the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.stack import QUICK, Stack, stack


def both(at: Stack, *words: str) -> list[tuple[int, str, list[str]]]:
    """Exit code, stdout and the stages that were not reused, of each of two such commands."""
    argv = [sys.executable, "-P", "-m", "flows", *words]
    started = [
        subprocess.Popen(argv, env=at.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    ended = []
    for process in started:
        out, err = process.communicate(timeout=900)
        assert process.returncode in (0, 3), out + err
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line[:1].islower() and line[24:25] == " "]
        ended.append((process.returncode, out, [line[:24].strip() for line in lines if line.endswith(" s")]))
    return ended


@pytest.mark.slow
def test_two_submits_and_two_retrains_at_once_do_each_stage_once_and_answer_the_same(tmp_path: Path) -> None:
    with stack(tmp_path) as at:
        at.run("sample", "--calls", "600", "--out", str(tmp_path / "calls.jsonl"))
        submits = both(at, "submit", str(tmp_path / "calls.jsonl"), "--json")
        retrains = both(at, "retrain", *QUICK, "--json")
        versions = at.json("models")
    answers = [json.loads(out) for _, out, _ in retrains]
    done = [stage for _, _, stages in retrains for stage in stages]

    assert sorted(stages for _, _, stages in submits) == [[], ["accept"]]
    assert json.loads(submits[0][1])["id"] == json.loads(submits[1][1])["id"]
    assert len(done) == len(set(done)) > 10
    assert answers[0]["verdict"] == answers[1]["verdict"]
    assert answers[0]["version"]["version"] == answers[1]["version"]["version"]
    assert retrains[0][0] == retrains[1][0]
    assert len(versions) == 1
