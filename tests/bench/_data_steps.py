"""One step of the data path, in a process of its own: prints one JSON line (seconds, CPU seconds, peak memory).

`python -m tests.bench._data_steps STEP CALLS FOLDER`. A step reads what an earlier one left in the folder, and its imports
are not counted.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from configs.dataset import DataSettings, SplitSettings
from configs.training import PromptSettings
from data_contracts import taxonomy
from data_contracts.artifacts import Dataset
from data_contracts.personal import mask
from data_contracts.transcript import clean as cleaned
from deploy import cores
from deploy.store import FolderStore
from deploy.tokenizer import Tokens
from flows.commands.data import write_sample
from tasks import (
    accept,
    answer,
    base,
    batches,
    catalog,
    clean,
    diff,
    export,
    ingest,
    near,
    prompting,
    score,
    split,
    turns,
    unite,
    validate,
)
from tasks.calls import content_digest
from tasks.stages import Work

SETTINGS, WORDS, THRESHOLD = DataSettings(), taxonomy.load(), 0.9
Act = Callable[[], object]


def main() -> None:
    """Set the step up, then measure it alone."""
    name, calls, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    act, keep = STEPS[name](folder, calls)
    cpu, wall = cpu_seconds(), time.perf_counter()
    result = act()
    seconds, used = time.perf_counter() - wall, cpu_seconds() - cpu
    own, below = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    if keep:
        keep(result)
    print(json.dumps({"seconds": seconds, "cpu_seconds": used, "peak_mb": own, "largest_child_mb": below}))


def cpu_seconds() -> float:
    """User and system time of this process and of those it has waited for."""
    whole = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in whole)


Keep = Callable[[Any], object] | None
Step = Callable[[Path, int], tuple[Act, Keep]]


def sample(folder: Path, calls: int) -> tuple[Act, Keep]:
    return lambda: write_sample(calls, 1, folder / "calls.jsonl"), None


def read(folder: Path, calls: int) -> tuple[Act, Keep]:
    return (
        lambda: list(ingest.read(folder / "calls.jsonl", {})),
        lambda parts: pl.concat(parts).write_parquet(folder / "raw.parquet"),
    )


def clean_texts(folder: Path, calls: int) -> tuple[Act, Keep]:
    texts = turns.flattened(pl.read_parquet(folder / "raw.parquet"))["input_text"]
    return (
        lambda: pl.Series("input_text", [cleaned(text) for text in texts], pl.String),
        lambda done: done.to_frame().write_parquet(folder / "cleaned.parquet"),
    )


def mask_texts(folder: Path, calls: int) -> tuple[Act, Keep]:
    texts = pl.read_parquet(folder / "cleaned.parquet")["input_text"]
    return lambda: pl.Series([mask(text).text for text in texts], dtype=pl.String), None


def prepare(folder: Path, calls: int) -> tuple[Act, Keep]:
    parts = pl.read_parquet(folder / "raw.parquet").iter_slices(ingest.PART)
    return (
        lambda: clean.prepare_all(parts, SETTINGS.max_chars, cores.usable()),
        lambda made: made.frame.write_parquet(folder / "prepared.parquet"),
    )


def check(folder: Path, calls: int) -> tuple[Act, Keep]:
    import great_expectations  # noqa: F401  # two seconds, not part of the step

    frame = pl.read_parquet(folder / "prepared.parquet")
    return (
        lambda: validate.check(frame, WORDS, SETTINGS, folder / "checked"),
        lambda made: made.accepted.write_parquet(folder / "accepted.parquet"),
    )


def check_bad(folder: Path, calls: int) -> tuple[Act, Keep]:
    """The file nobody should submit: every row is wrong in two ways, and every category is misspelt."""
    import great_expectations  # noqa: F401

    wrong = (pl.col("complaint_category") + "_x").alias("complaint_category"), pl.lit("7").alias("confidence_score")
    frame = pl.read_parquet(folder / "prepared.parquet").with_columns(wrong)
    return lambda: validate.check(frame, WORDS, SETTINGS, folder / "bad"), None


def duplicates(folder: Path, calls: int) -> tuple[Act, Keep]:
    texts = pl.read_parquet(folder / "accepted.parquet")["input_text"]
    return lambda: near.clusters(near.sketch(texts), THRESHOLD), None


def templates(folder: Path, calls: int) -> tuple[Act, Keep]:
    """The worst texts for a search of near-duplicates: all from one template, all a little below the threshold."""
    texts = pl.Series([from_template(at) for at in range(calls // 10)])
    return lambda: near.clusters(near.sketch(texts), THRESHOLD), None


def from_template(at: int) -> str:
    """250 characters that any two share but for three slots."""
    slots = iter(f"{at * 7919 % 10007:05d}{at * 104729 % 10009:05d}{at * 1299709 % 10037:05d}")
    filled = {80 * slot + n: next(slots) for slot in range(3) for n in range(5)}
    return "".join(filled.get(place) or chr(0x4E00 + place) for place in range(250))


def report(folder: Path, calls: int) -> tuple[Act, Keep]:
    summary = json.loads((folder / "out" / answer.SUMMARY).read_text(encoding="utf-8"))
    rejects, kept = (pl.read_parquet(folder / "out" / name) for name in (answer.REJECTS_PARQUET, answer.QUARANTINE))
    found = Found(kept, rejects, rejects.head(kept.height), [])
    return lambda: answer.write(folder / "out", summary, found, WORDS), None


class Found(NamedTuple):
    """What a report is written of."""

    quarantined: pl.DataFrame
    rejects: pl.DataFrame
    doubts: pl.DataFrame
    conflicts: list[dict[str, Any]]


def store(folder: Path, calls: int) -> tuple[Act, Keep]:
    table = accept.group(pl.read_parquet(folder / "accepted.parquet"), THRESHOLD)
    return lambda: (content_digest(table), table.write_parquet(folder / "stored.parquet")), None


def submit(folder: Path, calls: int) -> tuple[Act, Keep]:
    place = FolderStore(folder / "store")
    return (
        lambda: accept.submit(folder / "calls.jsonl", WORDS, {}, "bench", SETTINGS, place, folder / "out"),
        lambda made: (
            (folder / "dataset.json").write_text(made.model_dump_json(), encoding="utf-8"),
            (folder / "other.json").write_text(later(place, made).model_dump_json(), encoding="utf-8"),
        ),
    )


def later(place: FolderStore, dataset: Dataset) -> Dataset:
    """Another dataset of as many calls: half of them the same, half by other customers."""
    calls = catalog.calls_of(place, dataset)
    new = pl.int_range(pl.len()) % 2 == 1
    ids = [pl.when(new).then(pl.lit("later-") + pl.col(c)).otherwise(c).alias(c) for c in ("conversation_id", "group")]
    calls = calls.with_columns(ids).sort("conversation_id")
    made = catalog.identify(calls, catalog.Kind(dataset.family, dataset.synthetic, WORDS))
    about = {"id": made, "key": f"{catalog.PREFIX}/{made}", "name": "later"}
    return catalog.keep(place, dataset.model_copy(update=about), calls, WORDS, lambda _: None)


def kept(folder: Path) -> tuple[FolderStore, Dataset, Dataset]:
    """The store with both datasets."""
    names = (folder / f"{name}.json" for name in ("dataset", "other"))
    one, other = (Dataset.model_validate_json(path.read_text(encoding="utf-8")) for path in names)
    return FolderStore(folder / "store"), one, other


def merge(folder: Path, calls: int) -> tuple[Act, Keep]:
    place, *parts = kept(folder)
    return lambda: unite.unite(place, parts, "both"), None


def differ(folder: Path, calls: int) -> tuple[Act, Keep]:
    place, one, other = kept(folder)
    return lambda: diff.diff(place, one, other), None


def write(folder: Path, calls: int) -> tuple[Act, Keep]:
    place, one, _ = kept(folder)
    return lambda: export.export(place, one, folder / "out.csv", force=True), None


def divide(folder: Path, calls: int) -> tuple[Act, Keep]:
    dataset = Dataset.model_validate_json((folder / "dataset.json").read_text(encoding="utf-8"))
    out, scratch = folder / "sides", folder / "scratch"
    for place in (out, scratch):
        place.mkdir(exist_ok=True)
    work = Work(store=FolderStore(folder / "store"), key="stages/split/bench", out=out, scratch=scratch)
    return lambda: split.split(dataset, SplitSettings(), SETTINGS, split.Custody(), work), None


def encode_training(folder: Path, calls: int) -> tuple[Act, Keep]:
    """The training side, to Arrow."""
    import datasets  # noqa: F401

    tokens, prompt = tokenizer()
    side = folder / "sides" / "train.parquet"
    return lambda: batches.encode_side(side, prompt, WORDS, tokens, folder / "cache"), None


def encode_scoring(folder: Path, calls: int) -> tuple[Act, Keep]:
    """The gold side, in memory."""
    tokens, prompt = tokenizer()
    texts = pl.read_parquet(folder / "sides" / "gold.parquet")["input_text"].to_list()
    return lambda: score.encode(texts, prompt, tokens), None


def tokenizer() -> tuple[Tokens, Any]:
    model = base.resolve("builtin:tiny")
    return Tokens.load(Path(model.path)), prompting.compose(model, WORDS, PromptSettings())


STEPS: dict[str, Step] = {
    "sample": sample,
    "read": read,
    "clean (one core)": clean_texts,
    "mask (one core)": mask_texts,
    "clean, mask, ids": prepare,
    "checks": check,
    "checks, every row wrong": check_bad,
    "near-duplicates": duplicates,
    "near-duplicates, a tenth, one template": templates,
    "submit": submit,
    "merge two, half of each the same": merge,
    "diff of two": differ,
    "export as CSV": write,
    "report": report,
    "digest and store": store,
    "split": divide,
    "tokenize the training side": encode_training,
    "tokenize the gold side": encode_scoring,
}

if __name__ == "__main__":
    main()
