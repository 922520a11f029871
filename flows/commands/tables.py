"""Tables for a terminal. A Chinese character is two columns wide."""

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data_contracts.messages import say

if TYPE_CHECKING:
    from tasks.versions import Row

NUMBER = re.compile(r"[-+−–]?[\d,.]*(?: ?(?:%|MB|GB|s|ms))?")
HOP_COLUMNS = {
    "macro-F1": "macro_f1", "accuracy": "accuracy_share", "ECE": "calibration_error_share", "cost/1000": "cost_per_1000",
    "review": "review_share", "truncated": "truncated_share",
}  # fmt: skip


def width(text: str) -> int:
    """Terminal columns a text takes."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, words to the left and numbers to the right."""
    widths = [max(width(row[i]) for row in [head, *rows]) for i in range(len(head))]
    is_words = [i == 0 or not all(NUMBER.fullmatch(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(_pad(cell, widths[i], is_words[i]) for i, cell in enumerate(row)).rstrip() for row in [head, *rows]
    )


def number(value: float | None) -> str:
    """A number as a person reads it."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3f}"


def hops(reports: dict[str, Any]) -> str:
    """Every hop on the same gold calls."""
    rows = [
        [hop, *(number(report["metrics"].get(name)) for name in HOP_COLUMNS.values())]
        for hop, report in reports.items()
    ]
    return columns(["hop", *HOP_COLUMNS], rows)


def models(rows: "Sequence[Row]") -> str:
    """Versions, newest first; macro-F1 is a number for those on the gold set and taxonomy of the newest alone, and `compare`
    sets the others beside it as far as it can."""
    from tasks.compare import differs

    head = ["version", "verdict", "alias", "dataset", "gold", "looks", "macro-F1"]
    cells = [
        [
            str(row.version.version),
            row.version.decision,
            ",".join(row.aliases),
            row.tags.get("dataset", ""),
            row.tags.get("gold_digest", "")[:8],
            row.tags.get("gold_looks", ""),
            "不可比较 not comparable" if differs(rows[0], row) else number(row.metrics.get("gold/macro_f1")),
        ]
        for row in rows
    ]
    other = next((row for row in rows if differs(rows[0], row)), None)
    if other is None:
        return columns(head, cells)
    pair = {"newest": rows[0].version.version, "other": other.version.version}
    return "\n".join([columns(head, cells), "", *say("models_not_comparable", **pair)])


def bounds(verdict: dict[str, Any]) -> str:
    """The verdict, bound by bound, a line in each language."""
    return "\n".join(
        f"{b['decision']:<8}{'' if b['binding'] else '(not binding) '}{b['sentence_en']}\n"
        f"{'':<8}{'' if b['binding'] else '（不作约束）'}{b['sentence_zh']}"
        for b in verdict["bounds"]
    )


def seen(verdict: dict[str, Any]) -> str:
    """How often the verdict's gold set had been answered when it was given, in both languages."""
    return "\n".join(say("gold_seen", digest=verdict["gold_digest"][:12], looks=verdict["gold_looks"]))


def _pad(cell: str, to: int, left: bool) -> str:
    space = " " * (to - width(cell))
    return cell + space if left else space + cell
