"""The records of a text file as they stand in it: rows of a CSV, lines of JSON."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from data_contracts.errors import ContractViolation
from data_contracts.messages import told
from tasks import columns, encoding
from tasks.columns import Problem

MAX_CELL_CHARS = 10_000_000


class Raw(NamedTuple):
    """One record: its number as a person counts it, its cells by column name, what is wrong with its shape, and what
    stands in the file: a row's cells, or a line."""

    row: int
    cells: dict[str, object]
    problem: Problem | None = None
    source: Sequence[str] | str = ""


def of_csv(path: Path, mending: bool = False) -> tuple[list[str], Iterator[Raw]]:
    """The header, and a record a row; a blank line is none, but counts as a row, and a row of blank cells is one.

    Raises:
        ContractViolation: no header, a column twice, or, on the way, a quote that never closes.
    """
    lines = _Lines(encoding.lines(path, mending))
    first = next(lines, "")
    rows = csv.reader(
        lines if _is_hint(first) else chain([first], lines), delimiter=_separator(path, first), strict=False
    )
    csv.field_size_limit(MAX_CELL_CHARS)
    header = columns.checked_header([columns.tidy(name) for name in next(rows, [])], path)
    return header, _rows(rows, lines, header, path)


def written_header(path: Path) -> list[str]:
    """The names of a CSV's columns as they stand there."""
    lines = encoding.lines(path, mending=True)
    first = next(lines, "")
    return next(csv.reader(lines if _is_hint(first) else chain([first], lines), delimiter=_separator(path, first)), [])


def of_jsonl(path: Path, mending: bool = False) -> Iterator[Raw]:
    """A record a line that is not blank.

    Raises:
        ContractViolation: on the way, one JSON document instead of an object a line.
    """
    is_first = True
    for at, line in enumerate(encoding.lines(path, mending), start=1):
        if line.strip():
            record = _object(at, line)
            if is_first:
                _require_lines(record, line.strip(), path)
            is_first = False
            yield record


class _Lines:
    """Lines that know whether they came to an end."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.ended = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        for line in self._lines:
            return line
        self.ended = True
        raise StopIteration


def _rows(rows: Any, lines: _Lines, header: list[str], path: Path) -> Iterator[Raw]:
    before = rows.line_num
    try:
        for at, cells in enumerate(rows, start=2):
            if lines.ended:  # the reader looks for a further line only within quotes
                where = {"row": at, "line": before + 1, "lines": rows.line_num - before}
                raise ContractViolation(told("quote_open", path=path, **where))
            if len(cells) == len(header):
                yield Raw(at, dict(zip(header, cells, strict=True)), None, cells)
            elif len(cells) > 1 or any(cell.strip() for cell in cells):
                problem = Problem("ragged_row", f"{len(cells)},{len(header)}")
                yield Raw(at, dict(zip(header, cells, strict=False)), problem, cells)
            before = rows.line_num
    except csv.Error as error:
        raise ContractViolation(told("csv_broken", path=path, line=before + 1, why=error)) from error


def separator(path: Path) -> str:
    """The one a CSV has."""
    return _separator(path, next(encoding.lines(path, mending=True), ""))


def _is_hint(line: str) -> bool:
    """Excel's own, `sep=;`."""
    return line.lower().startswith("sep=") and len(line.strip()) == 5


def _separator(path: Path, line: str) -> str:
    """The one that the first line names, or has most of; a tab in a .tsv."""
    if _is_hint(line):
        return line.strip()[4]
    return "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=line.count)


def _object(at: int, line: str) -> Raw:
    try:
        value = json.loads(line, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        return Raw(at, {}, Problem("not_json", str(error.colno)), line)
    except _Repeated as error:
        return Raw(at, {}, Problem("repeated_key", columns.shown(str(error))), line)
    except RecursionError:
        return Raw(at, {}, Problem("too_nested"), line)
    except ValueError:  # Python refuses integers of more than 4,300 digits
        return Raw(at, {}, Problem("endless_number"), line)
    return Raw(at, value, None, line) if isinstance(value, dict) else Raw(at, {}, Problem("not_object"), line)


class _Repeated(Exception):
    """A name stands twice in one object."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise _Repeated(name)
    return made


def _require_lines(first: Raw, line: str, path: Path) -> None:
    """Refuse what is one JSON document, by its first line."""
    if line.startswith("["):
        raise ContractViolation(told("json_array", path=path))
    if line == "{" or (first.problem and first.problem.code == "not_json" and _is_cut(line)):
        raise ContractViolation(told("json_spread", path=path))
    lists = [name for name, v in first.cells.items() if isinstance(v, list) and v and isinstance(v[0], dict)]
    if len(lists) == 1 and lists[0] != "turns" and not columns.names_text(first.cells):
        key = lists[0] if lists[0].isascii() and lists[0].isidentifier() else "NAME"
        raise ContractViolation(told("json_list", path=path, name=columns.shown(lists[0]), key=key))


def _is_cut(line: str) -> bool:
    """Whether a line of JSON goes on in the next one."""
    return line.startswith("{") and line.endswith((",", "{", "[")) and not line.endswith("},")
