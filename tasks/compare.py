"""Two versions side by side, on the gold calls that both answered: all of a gold set, or the overlap of two versions of it."""

from typing import Literal

from data_contracts.messages import say
from data_contracts.schema import Frozen
from tasks import paired
from tasks.gold import LEAST_SHARED
from tasks.paired import Change, Pair
from tasks.versions import Registry, Row, models, unknown

LOWER_IS_BETTER = (
    *("error", "cost", "nll", "brier", "review", "truncated"),
    *("speed/p", "speed/mean", "speed/memory", "speed/load", "speed/failures"),
)
MEASURED_ON = {"gold_digest": ("gold sets", "黄金集"), "taxonomy_digest": ("taxonomies", "分类表")}


class Difference(Frozen):
    """One metric of two versions; `change` is b − a where they may be compared, `low` and `high` its 95 % interval where both
    versions' answers are kept. `better`: None where chance may have made the change."""

    metric: str
    a: float | None
    b: float | None
    change: float | None
    better: Literal["a", "b", "same"] | None
    low: float | None = None
    high: float | None = None


class Comparison(Frozen):
    """Two versions side by side. `reason_*`: on which `calls`, or why their quality cannot be compared."""

    a: int
    b: int
    comparable: bool
    calls: int | None
    customers: int | None
    reason_en: str
    reason_zh: str
    rows: tuple[Difference, ...]


def compare(at: Registry, a: int, b: int) -> Comparison:
    """Metric by metric, paired on the gold calls that both answered; without the quality metrics where these are too few.

    Raises:
        ConfigurationError: there is no such version.
    """
    rows = {row.version.version: row for row in models(at)}
    missing = [v for v in (a, b) if v not in rows]
    if missing:
        raise unknown(at, missing[0], sorted(rows))
    first, second = rows[a], rows[b]
    why = differs(first, second)
    found = paired.pair(at, first.version, second.version) if _are_of_one_taxonomy(first, second) else None
    is_known = found is not None and (found.golds[0] == found.golds[1] or found.calls >= LEAST_SHARED)
    changes = paired.changes(found) if found and is_known else {}
    plain = (n for n in first.metrics.keys() | second.metrics.keys() if n.startswith("speed/") or _is_kept(n, why))
    differences = {n: _difference(n, first.metrics.get(n), second.metrics.get(n)) for n in plain}
    differences |= {f"gold/{name}": _changed(f"gold/{name}", change) for name, change in changes.items()}
    said = _said(first, second, found) if found else why or ("", "")
    return Comparison(
        a=a,
        b=b,
        comparable=why is None or is_known,
        calls=found.calls if found else None,
        customers=found.customers if found else None,
        reason_en=said[0],
        reason_zh=said[1],
        rows=tuple(differences[name] for name in sorted(differences)),
    )


def differs(first: Row, second: Row) -> tuple[str, str] | None:
    """Why the quality of two versions cannot be compared, in English and Chinese; None if it can."""
    differing = [words for tag, words in MEASURED_ON.items() if first.tags.get(tag) != second.tags.get(tag)]
    if not differing:
        return None
    en, zh = " and ".join(w[0] for w in differing), "和".join(w[1] for w in differing)
    return say("not_comparable", a=f"v{first.version.version}", b=f"v{second.version.version}", what_en=en, what_zh=zh)


def _are_of_one_taxonomy(first: Row, second: Row) -> bool:
    return first.tags.get("taxonomy_digest") == second.tags.get("taxonomy_digest")


def _is_kept(metric: str, why: tuple[str, str] | None) -> bool:
    """Whether a run's own number may stand beside another's."""
    return why is None and not metric.startswith("seconds/")


def _said(first: Row, second: Row, found: Pair) -> tuple[str, str]:
    """On which calls the two are compared, or that these are too few."""
    names = {"a": f"v{first.version.version}", "b": f"v{second.version.version}"}
    if found.golds[0] == found.golds[1]:
        return say("compared_same", calls=found.calls, customers=found.customers)
    if found.calls < LEAST_SHARED:
        return say(
            "overlap_small", **names, calls=found.calls, least=LEAST_SHARED, dataset=second.tags["dataset_id"][:12]
        )
    rows = {"rows_a": found.of[0], "rows_b": found.of[1]}
    return say("compared_overlap", **names, **rows, calls=found.calls, customers=found.customers)


def _changed(name: str, change: Change) -> Difference:
    low, high = change.more.low, change.more.high
    plain = _difference(name, change.a, change.b)
    better = None if low <= 0 <= high and plain.better != "same" else plain.better
    return plain.model_copy(update={"low": low, "high": high, "better": better})


def _difference(name: str, a: float | None, b: float | None) -> Difference:
    if a is None or b is None:
        return Difference(metric=name, a=a, b=b, change=None, better=None)
    lower = any(part in name for part in LOWER_IS_BETTER)
    better: Literal["a", "b", "same"] = "same" if a == b else "b" if (b < a) == lower else "a"
    return Difference(metric=name, a=a, b=b, change=b - a, better=better)
