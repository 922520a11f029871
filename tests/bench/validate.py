"""A submission from file to stored dataset, up to a million calls: seconds, memory, growth; and beside plain Great Expectations.

Synthetic calls of about 250 characters; every second one has no ids, so that the search for near-duplicates has half of them. Each size is
submitted by a process of its own: read, clean, mask, every check, near-duplicates, report, Data Docs, store. Memory is that of all its
processes together, what they share counted once a process.

Exits 1 where a promise is broken: a million calls in 10 minutes and 4 GB, 100,000 in 60 s, growth no faster than n log n.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.bench import _process

SIDE = "tests.bench._validate_side"
MAX_S = {100_000: 60.0, 1_000_000: 600.0}
MAX_MB = 4096.0
NOISE = 0.05
"""Of the exponent of growth."""


def main() -> int:
    """Measure, print the table, write `--out`; 1 if a promise is broken."""
    args = arguments()
    with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
        place = Path(temporary)
        found = [measure("submit", size, place) for size in args.sizes]
        plain = [measure("plain", size, place) for size in args.plain]
    print(table(found, plain))
    wrong = broken(found)
    if args.out:
        args.out.write_text(json.dumps({"submit": found, "plain": plain, "wrong": wrong}, indent=1), encoding="utf-8")
    print("\n".join(wrong) or "every promise holds")
    return 1 if wrong else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./tingsu bench validate", description=str(__doc__).splitlines()[0])
    sizes = lambda text: sorted(int(size) for size in text.split(",") if size)  # noqa: E731
    parser.add_argument("--sizes", type=sizes, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--plain", type=sizes, default=[10_000, 100_000], help="sizes beside plain Great Expectations")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; default: the temporary folder")
    parser.add_argument("--out", type=Path, default=None, help="a JSON file for all numbers")
    return parser.parse_args()


def measure(side: str, calls: int, place: Path) -> dict[str, Any]:
    """One side at one size, in a process of its own that is watched."""
    file = place / f"{calls}.jsonl"
    if not file.exists():
        _process.run(SIDE, "write", calls, file)
    command = [sys.executable, "-P", "-m", SIDE, side, str(calls), str(file)]
    env = {**_process.environment(), "TINGSU_HOME": str(place / f"{side}-{calls}")}
    process = subprocess.Popen(command, cwd=_process.ROOT, env=env, stdout=subprocess.PIPE, text=True)
    peak_mb = watched(process)
    said = process.stdout.read().splitlines() if process.stdout else []
    if process.returncode:
        sys.exit(f"{side} of {calls} calls ended with {process.returncode}")
    found = {"calls": calls, "file_mb": file.stat().st_size / 1e6, "peak_mb": peak_mb, **json.loads(said[-1])}
    print(f"{side:>7} {calls:>9,} {found['seconds']:8.1f} s {peak_mb:6.0f} MB", file=sys.stderr, flush=True)
    return found


def watched(process: "subprocess.Popen[str]") -> float:
    """The most MB that the process and those below it held at once, until it ends."""
    import psutil

    top, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        held = 0
        for one in (top, *top.children(recursive=True)):
            try:
                held += one.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        peak = max(peak, held)
        time.sleep(0.1)
    return peak / 2**20


def table(found: list[dict[str, Any]], plain: list[dict[str, Any]]) -> str:
    lines = [
        "| calls | file | seconds | calls/s | MB of all processes | accepted | plain Great Expectations | times |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    beside = {one["calls"]: one for one in plain}
    for one in found:
        other = beside.get(one["calls"])
        theirs = (
            f"{other['seconds']:.1f} s, {other['peak_mb']:,.0f} MB | {other['seconds'] / one['seconds']:.1f}"
            if other
            else "– | –"
        )
        lines.append(
            f"| {one['calls']:,} | {one['file_mb']:,.0f} MB | {one['seconds']:.1f} | {one['calls'] / one['seconds']:,.0f} | "
            f"{one['peak_mb']:,.0f} | {one['accepted']:,} | {theirs} |"
        )
    return "\n".join(lines)


def broken(found: list[dict[str, Any]]) -> list[str]:
    """The promises that this measurement does not bear out."""
    wrong = [
        f"{one['calls']:,} calls took {one['seconds']:.0f} s; promised are {MAX_S[one['calls']]:.0f}"
        for one in found
        if one["seconds"] > MAX_S.get(one["calls"], math.inf)
    ]
    wrong += [
        f"{one['calls']:,} calls took {one['peak_mb']:,.0f} MB; promised are {MAX_MB:,.0f}"
        for one in found
        if one["peak_mb"] > MAX_MB
    ]
    for a, b in pairwise(found):
        allowed = b["calls"] * math.log(b["calls"]) / (a["calls"] * math.log(a["calls"]))
        times = b["seconds"] / a["seconds"]
        if times > allowed * (b["calls"] / a["calls"]) ** NOISE:
            wrong.append(
                f"from {a['calls']:,} to {b['calls']:,} calls {times:.1f} times the time; n log n is {allowed:.1f}"
            )
    return wrong


if __name__ == "__main__":
    sys.exit(main())
