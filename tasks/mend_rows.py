"""Mend a record, whatever file it stands in: which of its cells change, and how the list of changes tells of them."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from data_contracts.personal import mask_cell
from data_contracts.taxonomy import Taxonomy
from tasks import columns, findings, json_text, mendings
from tasks.changes import Change
from tasks.mendings import Known
from tasks.records import Raw

SHOWN_CHARS = 64
REMEMBERED = 4_096  # most columns repeat few values, and masking one takes longer than all else that is done to it
IDS = ("conversation_id", "customer_id", "annotator")
MOMENTS = ("started_at", "ended_at")


class Plan(NamedTuple):
    """What a first reading tells. `columns`: column of the file to contract name."""

    header: list[str]
    columns: dict[str, str]
    known: Known


def plan(header: list[str], found: Iterable[Raw], path: Path, mapping: Mapping[str, str], taxonomy: Taxonomy) -> Plan:
    """What a first reading of all records tells.

    Raises:
        WrongRequest, ContractViolation: as `columns.sources`.
    """
    names: dict[str, None] = dict.fromkeys(header)
    keys: dict[str, str] = {}
    labels: set[str] = set()
    ends: dict[str, set[str]] = {}
    for record in found:
        names.update(dict.fromkeys(record.cells))
        for column, value in record.cells.items():
            name = next((n for n, c in mapping.items() if c == column), None) or columns.meant(column)
            if isinstance(value, str) and value.strip():
                value = mendings.bare(value)
                if name == "complaint_category" and len(value) <= SHOWN_CHARS:
                    labels.add(value)
                if name in IDS:
                    is_whole = mendings.WHOLE.fullmatch(value.strip())
                    ends.setdefault(name, set()).add(value.strip().partition(".")[2] if is_whole else "")
        if len(labels) >= REMEMBERED:  # a column of free text may have a million
            keys |= _keys(labels, taxonomy)
            labels = set()
    sources = columns.sources(list(names), mapping, path)
    # with one ending no two ids become one, as 1.0 and 1.00 would
    id_columns = frozenset(name for name, found_ends in ends.items() if len(found_ends) == 1 and "" not in found_ends)
    known = Known(keys | _keys(labels, taxonomy), id_columns)
    return Plan(header, {column: name for name, column in sources.items()}, known)


def _keys(labels: Collection[str], taxonomy: Taxonomy) -> dict[str, str]:
    """The category that each of these labels means, where it means one and is not its key."""
    whole = {label: label.strip().partition(".")[0] for label in labels if mendings.WHOLE.fullmatch(label.strip())}
    numbers = {label: key for label, key in whole.items() if key in taxonomy.index and label not in taxonomy.index}
    return {**findings.spellings(labels, taxonomy), **numbers}


def mended(record: Raw, plan: Plan) -> tuple[Sequence[str] | str, list[Change]]:
    """What to write for a record, and the changes."""
    cells, changes = cells_of(record, plan)
    if isinstance(record.source, str):
        return _line(record.source, record.cells, cells), changes
    return [str(cells[column]) for column in record.cells], changes


def cells_of(record: Raw, plan: Plan) -> tuple[dict[str, object], list[Change]]:
    """A record's cells as they are to be, and the changes."""
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
    return cells, changes


def _cell(row: int, column: str, name: str, value: object, known: Known) -> tuple[object, list[Change]]:
    changes: list[Change] = []
    text = _seconds(value) if name in MOMENTS else value
    if isinstance(text, str) and name != "input_text":
        for code, after in mendings.cell(name, text, known):
            changes.append((row, _column(column), code, shown(str(value)), shown(after)))
            value = after
    return value, changes


def _seconds(value: object) -> object:
    """A number of seconds or milliseconds as the text that a CSV has of it."""
    if (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return value


def _turns(row: int, column: str, value: object) -> tuple[object, list[Change]]:
    """Empty turns leave; what was said is no part of the list of changes."""
    found: tuple[object, int] | None = mendings.turns(value) if isinstance(value, str) else None
    if isinstance(value, list) and (kept := mendings.spoken(value)):
        found = kept, len(value) - len(kept)
    if found is None:
        return value, []
    return found[0], [(row, _column(column), "mended_turns", f"{found[1]} empty", "")]


def _line(line: str, before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """The line with its mended values; all else stays to the letter, for numbers have more spellings than Python keeps."""
    if not any(value is not before[name] for name, value in after.items()):
        return line
    for name, start, end in reversed(json_text.members(line)):
        if after[name] is not before[name]:
            line = line[:start] + _value(line[start:end], after[name]) + line[end:]
    return line


def _value(written: str, after: object) -> str:
    if isinstance(after, list) and (kept := mendings.turns(written)):
        return kept[0]
    text = json.dumps(after, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair, written as an escape
        text = json.dumps(after, allow_nan=False)
    return text


def renamed(before: Sequence[str], after: Sequence[str], row: int | None) -> list[Change]:
    """The names of columns that are to be others; characters that nobody sees are written as escapes."""
    pairs = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    return [(row, columns.shown(new)[1:-1], "mended_header", shown(_visible(old)), shown(new)) for old, new in pairs]


def _visible(name: str) -> str:
    return "".join(f"\\u{ord(c):04x}" if ord(c) in columns.UNSEEN else c for c in name)


def shown(value: str) -> str:
    """A value as it may stand in the list: short, and masked."""
    return _masked(value[:SHOWN_CHARS])


@lru_cache(maxsize=REMEMBERED)
def _masked(value: str) -> str:
    masked = mask_cell(value)
    shown = masked.text if masked.counts else value  # masking folds widths, which may be what was mended
    return shown.encode("utf-8", "replace").decode()


@lru_cache(maxsize=REMEMBERED)
def _column(name: str) -> str:
    """A column's name as it may stand in the list."""
    return columns.shown(name)[1:-1]
