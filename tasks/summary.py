"""What a run shows at a glance: stable metric names and the description, from reports, speed and verdict.

One name means one thing in every run, so a column of the runs table compares hops as well as runs: a parent carries the
served hop's `gold/…`, each hop's child its own; `hops/<hop>.macro_f1` shows where quality was lost.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence

from pydantic import Field

from data_contracts.artifacts import Dataset, Hop, Report, Speed, Verdict
from data_contracts.schema import Frozen

HOPS: tuple[Hop, ...] = ("baseline", "untuned", "adapter", "merged", "int8", "gguf-q8_0", "awq", "served")
AT_A_GLANCE = ("macro_f1", "accuracy_share", "calibration_error_share", "cost_per_1000", "review_share")
TITLES = ("macro-F1", "accuracy", "ECE", "cost/1000", "review")


class Summary(Frozen):
    """Everything a pipeline run ended with, as far as it came."""

    dataset: Dataset | None = None
    reports: tuple[Report, ...] = ()
    speed: Speed | None = None
    verdict: Verdict | None = None
    seconds: dict[str, float] = Field(default_factory=dict)

    @property
    def served(self) -> Report | None:
        """The report of the form that serves, or of the last hop there is."""
        ordered = in_order(self.reports)
        return ordered[-1] if ordered else None


def in_order(reports: Sequence[Report]) -> list[Report]:
    """Reports on their way to production."""
    return sorted(reports, key=lambda r: HOPS.index(r.hop))


def of_report(report: Report) -> dict[str, float]:
    """One hop's metrics: `gold/<metric>` with interval ends, `recall/<category>`, `precision/…`, `f1/…`."""
    values = {f"{report.side}/{name}": value for name, value in report.metrics.items()}
    for name, interval in report.intervals.items():
        values[f"{report.side}_low/{name}"] = interval.low
        values[f"{report.side}_high/{name}"] = interval.high
    for category, scores in report.per_category.items():
        values |= {f"{name}/{plain(category)}": value for name, value in scores.items()}
    return finite(values)


def of_speed(speed: Speed) -> dict[str, float]:
    """`speed/p95_ms` and the like."""
    numbers = speed.model_dump(exclude={"histogram", "engine", "machine"})
    return finite({f"speed/{name}": float(value) for name, value in numbers.items()})


def of_summary(summary: Summary) -> dict[str, float]:
    """The parent run's metrics: the served hop's, speed, seconds a stage, and each hop's main ones."""
    values: dict[str, float] = {}
    for report in summary.reports:
        values |= {f"hops/{report.hop}.{n}": report.metrics[n] for n in AT_A_GLANCE if n in report.metrics}
    if summary.served:
        values |= of_report(summary.served)
    if summary.speed:
        values |= of_speed(summary.speed)
    return finite(values | {f"seconds/{plain(stage)}": s for stage, s in summary.seconds.items()})


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """Without what MLflow cannot plot."""
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def plain(name: str) -> str:
    """A user's own name as part of a metric name, which MLflow keeps to letters, digits and a few signs."""
    return re.sub(r"[^\w.\- ]", "_", name).strip(". ") or "_"


def flatten(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted parameters, lists as JSON, each within MLflow's 6,000 characters."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            flat[prefix + name] = text[:6000]
    return flat


def note(summary: Summary) -> str:
    """The run's description: hop table, speed, verdict bound by bound. Markdown, within MLflow's 8,000 characters."""
    parts = [_dataset_line(summary.dataset)] if summary.dataset else []
    if summary.reports:
        parts.append(table(summary.reports))
    if summary.speed:
        s = summary.speed
        parts.append(f"Service ({s.engine}): {s.qps:.1f} calls/s, p95 {s.p95_ms:.0f} ms, {s.failures} failures.")
    if summary.verdict:
        parts.append(_verdict_lines(summary.verdict))
    return "\n\n".join(parts)[:7900]


def table(reports: Sequence[Report]) -> str:
    """The table of hops, in markdown."""
    lines = ["| hop | " + " | ".join(TITLES) + " |", "|---|" + "---:|" * len(TITLES)]
    for report in in_order(reports):
        lines.append(f"| {report.hop} | " + " | ".join(_cell(report, name) for name in AT_A_GLANCE) + " |")
    return "\n".join(lines)


def _cell(report: Report, name: str) -> str:
    value, interval = report.metrics.get(name), report.intervals.get(name)
    if value is None:
        return "–"
    digits = 0 if name == "cost_per_1000" else 3
    ends = f" [{interval.low:.{digits}f}, {interval.high:.{digits}f}]" if interval else ""
    return f"{value:.{digits}f}{ends}"


def _dataset_line(dataset: Dataset) -> str:
    warning = " **Synthetic: these numbers say nothing about real calls.**" if dataset.synthetic else ""
    return (
        f"Dataset **{dataset.name}** `{dataset.id[:12]}`, {dataset.accepted} calls, {dataset.groups} groups.{warning}"
    )


def _verdict_lines(verdict: Verdict) -> str:
    bounds = [f"- {b.decision}{'' if b.binding else ' (not binding)'}: {b.sentence_en}" for b in verdict.bounds]
    gold = (
        f"Measured on gold set `{verdict.gold_digest[:12]}`, taxonomy `{verdict.taxonomy_digest[:12]}`: not comparable with "
        "runs whose tags `gold_digest` or `taxonomy_digest` differ."
    )
    return "\n".join([f"Verdict **{verdict.decision}**: {verdict.sentence_en}", *bounds, "", gold])
