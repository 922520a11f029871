"""Mend a submitted file as far as no value changes: a new file in UTF-8, and a list of every change, row by row.

Both hold what the submitter wrote, so they are for her eyes: they lie where she says and nowhere else.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from data_contracts.errors import WrongRequest
from data_contracts.messages import say
from data_contracts.messages import told as tell
from data_contracts.taxonomy import Taxonomy
from deploy import disk
from tasks import encoding, mend_packed, mend_rows, own_files, records, submitted
from tasks.changes import Change, Changes, Stood
from tasks.mend_rows import Plan
from tasks.records import Raw


class Mended(NamedTuple):
    """The mended file, the list of changes (CSV), and counts: rows in = rows out + `dropped`; changes by code."""

    out: Path
    listed: Path
    rows_in: int
    rows_out: int
    dropped: int
    by_code: dict[str, int]


def mend(path: Path, taxonomy: Taxonomy, mapping: Mapping[str, str], out: Path) -> Mended:
    """Write the mended file to `out` and the changes beside it, both readable by their owner alone.

    Raises:
        WrongRequest: `out` has another suffix, is in no folder, or is there and holds something else.
        ContractViolation: the file cannot be read at all.
    """
    kind = _kind(path, out)
    before = submitted.state(path)
    header, found = _opened(path, kind)
    plan = mend_rows.plan(header, found, path, mapping, taxonomy)
    listed = out.with_name(f"{out.stem}.changes.csv")
    with disk.explained(out.parent), own_files.beside(out) as made, own_files.beside(listed) as table:
        with table.open("wb") as f, Changes(f) as changes:
            changes.add(_of_file(path, kind, header))
            counts = _written(made, path, kind, plan, changes)
        submitted.require_unchanged(path, before)
        own_files.appear({table: listed, made: out})  # a kill between them leaves no file without its list
    return Mended(out, listed, counts["in"], counts["out"], counts["in"] - counts["out"], dict(changes.by_code))


def told(mended: Mended) -> tuple[str, str]:
    """What was done, in English and Chinese."""
    if not mended.by_code:
        return say("mended_nothing", rows=mended.rows_in, out=mended.out)
    each = [tuple(f"{words} ×{n:,}" for words in say(code)) for code, n in mended.by_code.items()]
    by_code = "; ".join(english for english, _ in each), "；".join(chinese for _, chinese in each)
    english, chinese = (say("mended", **{**mended._asdict(), "by_code": words}) for words in by_code)
    return english[0], chinese[1]


def _kind(path: Path, out: Path) -> str:
    kind = submitted.kind_of(path)
    allowed = {"csv": (".csv",), "jsonl": (".jsonl", ".ndjson"), "parquet": (".parquet",)}[kind]
    if out.suffix.lower() not in allowed:
        about = {"suffix": repr(out.suffix), "name": path.name, "allowed": ", ".join(allowed)}
        raise WrongRequest(tell("fix_suffix", out=out, **about))
    if not out.parent.is_dir():
        raise WrongRequest(tell("fix_folder", out=out, folder=out.parent))
    if out.exists() and out.samefile(path):
        raise WrongRequest(tell("fix_itself", out=out))
    return kind


def _opened(path: Path, kind: str) -> tuple[list[str], Iterable[Raw]]:
    """The names of the columns, as they are to be, and the records; JSON lines have names in each."""
    if kind == "parquet":
        return mend_packed.header(path), mend_packed.records_of(path)
    return records.of_csv(path, mending=True) if kind == "csv" else ([], records.of_jsonl(path, mending=True))


def _of_file(path: Path, kind: str, header: Sequence[str]) -> list[Change]:
    """What the new file has otherwise as a whole."""
    if kind == "parquet":
        return mend_rows.renamed(mend_packed.written(path), header, None)
    found = encoding.detect(path)
    changes: list[Change] = []
    if not found.startswith("utf-8"):
        changes.append((None, "file", "mended_encoding", found, "utf-8"))
    separator = records.separator(path) if kind == "csv" else ","
    if separator != ",":
        changes.append((None, "file", "mended_separator", repr(separator), "','"))
    return changes + (mend_rows.renamed(records.written_header(path), header, 1) if kind == "csv" else [])


def _written(made: Path, path: Path, kind: str, plan: Plan, changes: Changes) -> Counter[str]:
    """How many records there were, `in`, and how many were written, `out`."""
    if kind == "parquet":
        return mend_packed.write(made, path, plan, changes)
    with made.open("w", encoding="utf-8", errors="surrogateescape", newline="") as f:
        return _write(f, path, kind, plan, changes)


def _write(f: TextIO, path: Path, kind: str, plan: Plan, changes: Changes) -> Counter[str]:
    """Every record, mended, in its order; one that stood before, whole and equal, is listed instead."""
    counts, stood = Counter[str](), Stood()
    put, found = _csv(f, path, plan) if kind == "csv" else _jsonl(f, path)
    for record in found:
        counts["in"] += 1
        made, own = (record.source, []) if record.problem else mend_rows.mended(record, plan)
        made = made.rstrip("\r\n") + "\n" if isinstance(made, str) else made
        digest = hashlib.sha256(repr(made).encode("utf-8", "surrogatepass")).digest()[:16]
        earlier = stood.first(digest, record.row)
        if not record.problem and earlier is not None:
            changes.add([(record.row, "row", "mended_duplicate", f"equal to row {earlier}", "")])
            continue
        changes.add(own)
        counts["out"] += 1
        put(made)
    return counts


def _jsonl(f: TextIO, path: Path) -> tuple[Callable[..., object], Iterator[Raw]]:
    return f.write, records.of_jsonl(path, mending=True)


def _csv(f: TextIO, path: Path, plan: Plan) -> tuple[Callable[..., object], Iterator[Raw]]:
    f.write("\ufeff")  # without it Excel takes UTF-8 for something else
    writer = csv.writer(f)
    writer.writerow(plan.header)
    return writer.writerow, records.of_csv(path, mending=True)[1]
