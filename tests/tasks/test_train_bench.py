"""The training benchmark: both sides run the same computation, and the numbers it prints are there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_both_sides_of_the_training_benchmark_compute_the_same(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    small = "--layers 1 --rows 4 --tokens 120 --steps 2 --seconds 1 --rounds 1 --sides ours whole trl"

    command = [sys.executable, "-P", "-m", "tests.bench.train", *small.split(), "--out", str(out)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    sides = json.loads(out.read_text())["sides"]
    for step in range(3):  # the same calls, order and learning rate, so the third loss shows that both learn alike
        losses = [sides[side]["losses"][step] for side in ("ours", "whole", "trl")]
        assert losses == pytest.approx([losses[2]] * 3, rel=2e-3)
    assert sides["whole"]["tokens_per_s"][1] > sides["trl"]["tokens_per_s"][1]
    assert sides["whole"]["peak_mb"] < sides["trl"]["peak_mb"]
