"""Mend a submitted file as far as no value changes: a new file in UTF-8, and a list of every change, row by row.

Both hold what the submitter wrote, so they are for her eyes: they lie where she says and nowhere else.
"""

import csv
import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from data_contracts.errors import ConfigurationError
from data_contracts.messages import say
from data_contracts.personal import mask_cell
from data_contracts.taxonomy import Taxonomy
from deploy import disk
from tasks import columns, encoding, findings, mendings, records, spreadsheet, submitted
from tasks.mendings import Known
from tasks.records import Raw

if TYPE_CHECKING:
    import polars as pl

SHOWN_CHARS = 64
IDS = ("conversation_id", "customer_id", "annotator")
Change = tuple[int | None, str, str, str, str]
"""Row (None for the file), column, code, before, after; masked."""


class Mended(NamedTuple):
    """The mended file, the list of changes (CSV), and counts: rows in = rows out + `dropped`; changes by code."""

    out: Path
    listed: Path
    rows_in: int
    rows_out: int
    dropped: int
    by_code: dict[str, int]


class Plan(NamedTuple):
    """What a first reading tells. `columns`: column of the file to contract name."""

    header: list[str]
    columns: dict[str, str]
    known: Known


def mend(path: Path, taxonomy: Taxonomy, mapping: Mapping[str, str], out: Path) -> Mended:
    """Write the mended file to `out` and the changes beside it, both readable by their owner alone.

    Raises:
        ConfigurationError: Parquet, or `out` has another suffix, is in no folder, or is there and holds something else.
        ContractViolation: the file cannot be read at all.
    """
    kind = _kind(path, out)
    before = submitted.state(path)
    plan = _plan(path, kind, mapping, taxonomy)
    changes: list[Change] = _of_file(path, kind)
    counts: Counter[str] = Counter()
    listed = out.with_name(f"{out.stem}.changes.csv")
    with disk.explained(out.parent), _beside(out) as made, _beside(listed) as table:
        with made.open("w", encoding="utf-8", errors="surrogateescape", newline="") as f:
            _write(f, path, kind, plan, changes, counts)
        submitted.require_unchanged(path, before)
        spreadsheet.inert(_table(changes)).write_csv(table, include_bom=True)
        _appear({made: out, table: listed})
    dropped = counts["in"] - counts["out"]
    return Mended(
        out, listed, counts["in"], counts["out"], dropped, dict(Counter(code for _, _, code, _, _ in changes))
    )


def told(mended: Mended) -> tuple[str, str]:
    """What was done, in English and Chinese."""
    if not mended.by_code:
        return say("mended_nothing", rows=mended.rows_in, out=mended.out)
    by_code = ", ".join(f"{code.removeprefix('mended_')} ×{n}" for code, n in mended.by_code.items())
    return say("mended", **{**mended._asdict(), "by_code": by_code})


def _kind(path: Path, out: Path) -> str:
    kind = submitted.kind_of(path)
    if kind == "parquet":
        raise ConfigurationError(
            f"--fix mends CSV and JSON lines; {path} is Parquet: export it as JSON lines, or mend it there"
        )
    allowed = (".csv",) if kind == "csv" else (".jsonl", ".ndjson")
    if out.suffix.lower() not in allowed:
        raise ConfigurationError(
            f"--fix {out} ends in {out.suffix or 'nothing'!r}; allowed for {path.name}: {', '.join(allowed)}"
        )
    if not out.parent.is_dir():
        raise ConfigurationError(f"--fix {out}: there is no folder {out.parent}; make it first")
    if out.exists() and out.samefile(path):
        raise ConfigurationError(f"--fix {out} is the file itself; name a new one, it stays as it is")
    return kind


def _plan(path: Path, kind: str, mapping: Mapping[str, str], taxonomy: Taxonomy) -> Plan:
    header, found = records.of_csv(path, mending=True) if kind == "csv" else ([], records.of_jsonl(path, mending=True))
    names: dict[str, None] = dict.fromkeys(header)
    labels: set[str] = set()
    some: dict[str, bool] = {}
    for record in found:
        names.update(dict.fromkeys(record.cells))
        for column, value in record.cells.items():
            name = next((n for n, c in mapping.items() if c == column), None) or columns.meant(column)
            if isinstance(value, str) and value.strip():
                value = mendings.bare(value)
                if name == "complaint_category" and len(value) <= SHOWN_CHARS:
                    labels.add(value)
                if name in IDS:
                    some[name] = some.get(name, True) and bool(mendings.WHOLE.fullmatch(value.strip()))
    sources = columns.sources(list(names), mapping, path)
    whole = {label: label.strip().partition(".")[0] for label in labels if mendings.WHOLE.fullmatch(label.strip())}
    numbers = {label: key for label, key in whole.items() if key in taxonomy.index and label not in taxonomy.index}
    known = Known(
        {**findings.spellings(labels, taxonomy), **numbers}, frozenset(n for n, is_whole in some.items() if is_whole)
    )
    return Plan(header, {column: name for name, column in sources.items()}, known)


def _of_file(path: Path, kind: str) -> list[Change]:
    """What the new file has otherwise as a whole."""
    found = encoding.detect(path)
    changes: list[Change] = []
    if not found.startswith("utf-8"):
        changes.append((None, "file", "mended_encoding", found, "utf-8"))
    separator = records.separator(path) if kind == "csv" else ","
    if separator != ",":
        changes.append((None, "file", "mended_separator", repr(separator), "','"))
    return changes


def _write(f: TextIO, path: Path, kind: str, plan: Plan, changes: list[Change], counts: Counter[str]) -> None:
    """Every record, mended, in its order; one that stood before, whole and equal, is listed instead."""
    seen: dict[bytes, int] = {}
    put, found = _csv(f, path, plan) if kind == "csv" else _jsonl(f, path)
    for record in found:
        counts["in"] += 1
        made, own = (record.source, []) if record.problem else _mended(record, plan)
        made = made.rstrip("\r\n") + "\n" if isinstance(made, str) else made
        key = hashlib.sha256(repr(made).encode("utf-8", "surrogatepass")).digest()[:16]
        if not record.problem and key in seen:
            changes.append((record.row, "row", "mended_duplicate", f"equal to row {seen[key]}", ""))
            continue
        seen[key] = record.row
        changes += own
        counts["out"] += 1
        put(made)


def _jsonl(f: TextIO, path: Path) -> tuple[Callable[..., object], Iterator[Raw]]:
    return f.write, records.of_jsonl(path, mending=True)


def _csv(f: TextIO, path: Path, plan: Plan) -> tuple[Callable[..., object], Iterator[Raw]]:
    f.write("\ufeff")  # without it Excel takes UTF-8 for something else
    writer = csv.writer(f)
    writer.writerow(plan.header)
    return writer.writerow, records.of_csv(path, mending=True)[1]


def _mended(record: Raw, plan: Plan) -> tuple[Sequence[str] | str, list[Change]]:
    """What to write for a record, and the changes."""
    cells, changes = dict(record.cells), []
    for column, value in record.cells.items():
        name = plan.columns.get(column)
        if name == "turns":
            after, own = _turns(record.row, column, value)
        else:
            after, own = _cell(record.row, column, name, value, plan.known) if name else (value, [])
        if own:
            cells[column] = after
            changes += own
    if isinstance(record.source, str):
        return (_line(cells) if changes else record.source), changes
    return [str(cells[column]) for column in record.cells], changes


def _cell(row: int, column: str, name: str, value: object, known: Known) -> tuple[object, list[Change]]:
    changes: list[Change] = []
    if isinstance(value, str) and name != "input_text":
        for code, after in mendings.cell(name, value, known):
            changes.append((row, columns.shown(column)[1:-1], code, _shown(str(value)), _shown(after)))
            value = after
    return value, changes


def _turns(row: int, column: str, value: object) -> tuple[object, list[Change]]:
    """Empty turns leave; what was said is no part of the list of changes."""
    found: tuple[object, int] | None = mendings.turns(value) if isinstance(value, str) else None
    if isinstance(value, list) and (kept := mendings.spoken(value)):
        found = kept, len(value) - len(kept)
    if found is None:
        return value, []
    return found[0], [(row, columns.shown(column)[1:-1], "mended_turns", f"{found[1]} empty", "")]


def _line(cells: Mapping[str, object]) -> str:
    line = json.dumps(cells, ensure_ascii=False)
    try:
        line.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair, written as an escape
        line = json.dumps(cells)
    return line


def _shown(value: str) -> str:
    masked = mask_cell(value[:SHOWN_CHARS])
    shown = masked.text if masked.counts else value[:SHOWN_CHARS]  # masking folds widths, which may be what was mended
    return shown.encode("utf-8", "replace").decode()


def _table(changes: Sequence[Change]) -> "pl.DataFrame":
    import polars as pl

    names = ("row", "column", "code", "before", "after")
    said = {code: say(code) for code in {change[2] for change in changes}}
    rows = [(*change, *said[change[2]]) for change in changes]
    schema = {name: pl.Int64 if name == "row" else pl.String for name in (*names, "what_en", "what_zh")}
    return pl.DataFrame(rows, schema=schema, orient="row")


class _beside:
    """A new file beside another, readable by its owner alone; it is gone afterwards."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def __enter__(self) -> Path:
        fd, name = tempfile.mkstemp(dir=self._out.parent, prefix=".tmp-", suffix=self._out.suffix)
        os.close(fd)
        self._made = Path(name)
        return self._made

    def __exit__(self, *error: object) -> None:
        self._made.unlink(missing_ok=True)


def _appear(files: Mapping[Path, Path]) -> None:
    """Each file under its name; one that is there already must hold the same."""
    for made, out in files.items():
        if out.exists() and (not out.is_file() or out.read_bytes() != made.read_bytes()):
            raise ConfigurationError(
                f"--fix: {out} is there already and holds something else; name another file, or remove it"
            )
    for made, out in files.items():
        if not out.exists():
            os.link(made, out)
