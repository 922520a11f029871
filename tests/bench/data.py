"""The data path from `sample` to tokens: seconds, calls a second, peak memory and growth of every step.

Each step runs alone in a process of its own, on every core it uses by itself. Growth is the slope of log CPU seconds over
log calls: 1 is linear, 2 quadratic. A step that grows faster than 1.15 from the smallest size to the largest fails the
benchmark, and so does `sample` when streaming takes 500 MB of memory or more. CPU seconds, not wall time, and of several rounds the
one that took fewest, so that a busy machine does not decide.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import _data_steps, _process

MAX_GROWTH = 1.15
MEASURABLE_S = 0.3  # CPU seconds; below, growth is noise
STREAM_MB = 500
Measured = dict[str, Any]


def main() -> int:
    """Measure, print the tables, write `--out`; 1 if a step grows too fast or takes too much memory."""
    args = arguments()
    with tempfile.TemporaryDirectory(dir=args.folder) as place:
        rounds = [measure_all(size, Path(place) / str(size)) for _ in range(args.rounds) for size in args.sizes]
        stream = measure("sample", args.calls, Path(place) / "stream") if args.calls else None
        if stream:
            stream["disk_mb"] = (Path(place) / "stream" / "calls.jsonl").stat().st_size / 1e6
    steps = best([one for measured in rounds for one in measured])
    growth = {step: growth_of([one for one in steps if one["step"] == step]) for step in _data_steps.STEPS}
    print(table(steps, growth))
    wrong = [f"{step} grows with exponent {g:.2f}" for step, g in growth.items() if g is not None and g > MAX_GROWTH]
    if stream:
        print(streamed(stream))
        wrong += [f"sample took {stream['peak_mb']:.0f} MB"] if stream["peak_mb"] >= STREAM_MB else []
    if args.out:
        found = {"steps": steps, "growth": growth, "stream": stream, "wrong": wrong}
        args.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print("\n".join(wrong) or "nothing grows faster than linear")
    return 1 if wrong else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    sizes = lambda text: sorted(int(size) for size in text.split(","))  # noqa: E731
    parser.add_argument("--calls", type=int, default=1_000_000, help="calls of the streaming measurement; 0: none")
    parser.add_argument("--sizes", type=sizes, default=[10_000, 30_000, 100_000], help="calls of each size")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each size")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; default: the temporary folder")
    parser.add_argument("--out", type=Path, default=None, help="a JSON file for all numbers")
    return parser.parse_args()


def measure_all(calls: int, folder: Path) -> list[Measured]:
    """Every step at one size; the folder is gone afterwards."""
    found = [measure(step, calls, folder) for step in _data_steps.STEPS]
    shutil.rmtree(folder)
    return found


def best(measured: list[Measured]) -> list[Measured]:
    """Of each step at each size the measurement of fewest CPU seconds."""
    found: dict[tuple[str, int], Measured] = {}
    for one in sorted(measured, key=lambda one: -float(one["cpu_seconds"])):
        found[one["step"], one["calls"]] = one
    return sorted(found.values(), key=lambda one: int(one["calls"]))


def measure(step: str, calls: int, folder: Path) -> Measured:
    """One step in a fresh process."""
    found: Measured = {"step": step, "calls": calls, **_process.run("tests.bench._data_steps", step, calls, folder)}
    print(f"{calls:>9,} {step:<40} {found['seconds']:8.2f} s {found['peak_mb']:6.0f} MB", file=sys.stderr, flush=True)
    return found


def growth_of(rounds: list[Measured]) -> float | None:
    """The slope from the smallest to the largest size; None where there is too little to measure."""
    measurable = [one for one in rounds if one["cpu_seconds"] >= MEASURABLE_S]
    if len(measurable) < 2:
        return None
    first, last = measurable[0], measurable[-1]
    return math.log(last["cpu_seconds"] / first["cpu_seconds"]) / math.log(last["calls"] / first["calls"])


def table(steps: list[Measured], growth: dict[str, float | None]) -> str:
    """Markdown: a row a step, seconds at each size, and the rest at the largest."""
    sizes = sorted({one["calls"] for one in steps})
    at = {(one["step"], one["calls"]): one for one in steps}
    head = [
        "step",
        *(f"{size:,}" for size in sizes),
        "calls/s",
        "CPU µs a call",
        "peak MB",
        "largest child MB",
        "growth",
    ]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for step, slope in growth.items():
        last = at[step, sizes[-1]]
        seconds = [f"{at[step, size]['seconds']:.1f} s" for size in sizes]
        speed = [f"{last['calls'] / last['seconds']:,.0f}", f"{last['cpu_seconds'] / last['calls'] * 1e6:.0f}"]
        memory = [f"{last['peak_mb']:.0f}", f"{last['largest_child_mb']:.0f}"]
        rows.append([step, *seconds, *speed, *memory, "–" if slope is None else f"{slope:.2f}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def streamed(one: Measured) -> str:
    """The streaming measurement as a sentence."""
    speed = f"{one['calls']:,} calls streamed in {one['seconds']:.0f} s ({one['calls'] / one['seconds']:,.0f} calls/s)"
    return f"{speed}, {one['disk_mb']:.0f} MB on disk, peak {one['peak_mb']:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
