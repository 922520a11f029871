"""Two versions side by side. A quality metric is a number only where both answered the same gold calls."""

from typing import Literal

from data_contracts.messages import say
from data_contracts.schema import Frozen
from tasks.versions import Registry, Row, models, unknown

LOWER_IS_BETTER = (
    *("error", "cost", "nll", "brier", "review", "truncated"),
    *("speed/p", "speed/mean", "speed/memory", "speed/load", "speed/failures"),
)
MEASURED_ON = {"gold_digest": ("gold sets", "黄金集"), "taxonomy_digest": ("taxonomies", "分类表")}


class Difference(Frozen):
    """One metric of two versions; `change` is b − a where they may be compared."""

    metric: str
    a: float | None
    b: float | None
    change: float | None
    better: Literal["a", "b", "same"] | None


class Comparison(Frozen):
    """Two versions side by side. Quality counts only on the same gold rows and taxonomy; `reason_*` say what differs."""

    a: int
    b: int
    comparable: bool
    reason_en: str
    reason_zh: str
    rows: tuple[Difference, ...]


def compare(at: Registry, a: int, b: int) -> Comparison:
    """Metric by metric; without the quality metrics where the gold sets or taxonomies differ.

    Raises:
        ConfigurationError: there is no such version.
    """
    rows = {row.version.version: row for row in models(at)}
    missing = [v for v in (a, b) if v not in rows]
    if missing:
        raise unknown(at, missing[0], sorted(rows))
    first, second = rows[a], rows[b]
    why = differs(first, second)
    names = sorted(n for n in first.metrics.keys() | second.metrics.keys() if not n.startswith("seconds/"))
    differences = tuple(
        _difference(n, first.metrics.get(n), second.metrics.get(n)) for n in names if not why or n.startswith("speed/")
    )
    return Comparison(
        a=a,
        b=b,
        comparable=why is None,
        reason_en=why[0] if why else "",
        reason_zh=why[1] if why else "",
        rows=differences,
    )


def differs(first: Row, second: Row) -> tuple[str, str] | None:
    """Why the quality of two versions cannot be compared, in English and Chinese; None if it can."""
    differing = [words for tag, words in MEASURED_ON.items() if first.tags.get(tag) != second.tags.get(tag)]
    if not differing:
        return None
    en, zh = " and ".join(w[0] for w in differing), "和".join(w[1] for w in differing)
    return say("not_comparable", a=f"v{first.version.version}", b=f"v{second.version.version}", what_en=en, what_zh=zh)


def _difference(name: str, a: float | None, b: float | None) -> Difference:
    if a is None or b is None:
        return Difference(metric=name, a=a, b=b, change=None, better=None)
    lower = any(part in name for part in LOWER_IS_BETTER)
    better: Literal["a", "b", "same"] = "same" if a == b else "b" if (b < a) == lower else "a"
    return Difference(metric=name, a=a, b=b, change=b - a, better=better)
