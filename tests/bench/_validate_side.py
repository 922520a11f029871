"""One side of the validation benchmark, alone in its process. Prints one JSON line."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl

from configs import sources
from configs.dataset import DataSettings
from data_contracts import samples, taxonomy
from deploy.store import FolderStore
from tasks import accept, clean, suites
from tasks.contract import Check


def write(calls: int, file: Path) -> None:
    """Synthetic calls, every second one without ids."""
    with file.open("w", encoding="utf-8") as f:
        for number, record in enumerate(samples.generate(calls, seed=11)):
            if number % 2:
                record.pop("conversation_id")
                record.pop("customer_id")
            f.write(json.dumps(record, ensure_ascii=False) + "\n")


def submit(calls: int, file: Path) -> int:
    """As `./tingsu submit` does it: the accepted calls."""
    home = sources.home()
    settings, store = DataSettings(), FolderStore(home / "store")
    return accept.submit(file, taxonomy.load(), {}, "bench", settings, store, home / "answer").accepted


def plain(calls: int, file: Path) -> int:
    """The same checks, rows and report with Great Expectations as it comes: one process, one frame, whole, with its texts, and results that
    hold what failed."""
    frames: list[pl.DataFrame] = []

    def at_once(parts: Iterable[pl.DataFrame], max_chars: int, processes: int) -> clean.Prepared:
        made = clean.prepare(pl.concat(parts, how="diagonal"), max_chars)
        frames.append(made.frame)
        return made

    class Whole(suites.Runner):
        def run(
            self, name: str, checks: Sequence[Check], frame: pl.DataFrame, bounds: Mapping[str, Any]
        ) -> list[suites.Outcome]:
            others = frames[0].select(c for c in frames[0].columns if c == "row" or c not in frame.columns)
            return super().run(name, checks, frame.join(others, on="row", how="left"), bounds)

    as_it_comes = {"result_format": "COMPLETE", "unexpected_index_column_names": ["row"]}
    with (
        patch.object(clean, "prepare_all", at_once),
        patch.object(suites, "Runner", Whole),
        patch.object(suites, "INDEXES_ONLY", as_it_comes),
    ):
        return submit(calls, file)


def main() -> None:
    side, calls, file = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if side == "write":
        write(calls, file)
        return
    import great_expectations  # noqa: F401  # the same seconds on both sides

    started = time.perf_counter()
    accepted = {"submit": submit, "plain": plain}[side](calls, file)
    print(json.dumps({"seconds": time.perf_counter() - started, "accepted": accepted}))


if __name__ == "__main__":
    main()
