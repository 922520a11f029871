"""Figures of a report, as PNG: confusion matrix, reliability, risk and coverage, latency."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from data_contracts.artifacts import Report, Speed
from data_contracts.taxonomy import Taxonomy
from deploy.calibration import identity
from deploy.store import Store
from tasks.answered import Answers, Floats, answer
from tasks.metrics import BINS, COVERAGE_ACCURACY

PROBE = "投诉"
# File names, the likeliest first; of a .ttc collection matplotlib draws the first face.
FONTS = (
    "NotoSansSC",
    "NotoSansCJKsc",
    "SourceHanSans",
    "wqy",
    "NotoSansCJK",
    "simhei",
    "msyh",
    "PingFang",
    "DroidSansFallback",
    "uming",
)
BLUE, RED, GREY = "#1f5fa8", "#c0392b", "#8a8f98"
STEADY_CALLS = 20
RELIABLE_CALLS = 5  # bins with fewer calls are drawn hollow


def figures(report: Report, taxonomy: Taxonomy, store: Store, out: Path, speed: Speed | None = None) -> list[Path]:
    """Draw what a person asks of a report into `out`; the latency histogram where any request was answered."""
    answers = answer(report.predictions, report.calibration, taxonomy, store)
    raw = answer(report.predictions, identity(len(taxonomy.keys)), taxonomy, store)
    drawn = [
        _page(out / "confusion.png", report, (10.5, 9.2), lambda ax: _confusion(ax, report, taxonomy)),
        _page(out / "reliability.png", report, (6.4, 6.6), lambda ax: _reliability(ax, report, answers, raw)),
        _page(out / "risk_coverage.png", report, (7.2, 5.2), lambda ax: _risk_coverage(ax, report, answers)),
    ]
    if speed is not None and speed.histogram:
        drawn.append(_page(out / "latency.png", report, (7.2, 4.8), lambda ax: _latency(ax, speed)))
    return drawn


@cache
def cjk_font() -> str | None:
    """The path of a font on this machine with Chinese glyphs, or None."""
    from matplotlib import font_manager

    files = sorted(font_manager.findSystemFonts(), key=lambda f: (_rank(Path(f).name), f))
    return next((f for f in files if _has_glyphs(f)), None)


def _rank(name: str) -> int:
    return next((i for i, known in enumerate(FONTS) if known.lower() in name.lower()), len(FONTS))


def _has_glyphs(path: str) -> bool:
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (RuntimeError, OSError):  # a font file that FreeType cannot open is not a font for us
        return False
    return all(font.get_char_index(ord(c)) for c in PROBE)


def _page(path: Path, report: Report, size: tuple[float, float], draw: Callable[[Any], None]) -> Path:
    """One figure with the font, the note on its origin and a white ground."""
    from matplotlib import font_manager, rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    font = cjk_font()
    families = ["DejaVu Sans"]
    if font:
        family = font_manager.FontProperties(fname=font).get_name()
        if family not in font_manager.get_font_names():
            font_manager.fontManager.addfont(font)
        families.append(family)
    with rc_context(
        {"font.family": families, "axes.unicode_minus": False, "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.add_subplot())
        note = f"{report.hop} · {report.rows:,} {report.side} calls of {report.groups:,} customers"
        note += " · SYNTHETIC DATA" if report.synthetic else ""
        note += "" if font else " · no Chinese font found on this machine (install fonts-noto-cjk): category keys shown"
        figure.supxlabel(note, fontsize=8, color=GREY, x=0.01, ha="left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
    return path


def _title(ax: Any, english: str, chinese: str) -> None:
    ax.set_title(f"{chinese}  {english}" if cjk_font() else english, loc="left", fontsize=12, pad=10)


def _names(taxonomy: Taxonomy) -> list[str]:
    return [c.name_zh if cjk_font() else c.key for c in taxonomy.categories]


def _confusion(ax: Any, report: Report, taxonomy: Taxonomy) -> None:
    """Rows true, shaded by the share of the row; counts in the cells; recall at the right, precision below."""
    counts = np.array(report.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), n in np.ndenumerate(counts):
        if n:
            colour = "white" if shares[i, j] > 0.5 else RED if i != j and shares[i, j] >= 0.1 else "black"
            ax.text(j, i, str(n), ha="center", va="center", fontsize=9, color=colour)
    names, at = _names(taxonomy), np.arange(len(counts))
    per = [report.per_category[key] for key in taxonomy.keys]
    ax.set_xticks(
        at, [f"{n}\n{p['precision']:.0%}" for n, p in zip(names, per, strict=True)], rotation=45, ha="right", fontsize=9
    )
    ax.set_yticks(at, [f"{n} ({p['support']:.0f})" for n, p in zip(names, per, strict=True)], fontsize=9)
    right = ax.secondary_yaxis("right")
    right.set_yticks(at, [f"{p['recall']:.0%}" for p in per], fontsize=9)
    right.set_ylabel("recall")
    for spine in (*ax.spines.values(), *right.spines.values()):
        spine.set_visible(False)
    ax.tick_params(length=0)
    right.tick_params(length=0)
    ax.set_ylabel("true category (calls)")
    ax.set_xlabel("answered category, with its precision")
    m = report.metrics
    _title(ax, f"Confusion matrix · accuracy {m['accuracy_share']:.1%}, macro-F1 {m['macro_f1']:.3f}", "混淆矩阵")


def _reliability(ax: Any, report: Report, answers: Answers, raw: Answers) -> None:
    """How often calls answered with some confidence were right, calibrated and (grey) as the engine said it."""
    ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="perfect")
    before, after = _bins(raw), _bins(answers)
    ax.plot(before[0], before[1], color=GREY, lw=1, ls="--", marker=".", label="before calibration")
    enough = after[2] >= RELIABLE_CALLS
    half = 1.96 * np.sqrt(
        np.maximum(after[1] * (1 - after[1]), 0.25 / np.maximum(after[2], 1)) / np.maximum(after[2], 1)
    )
    ends = np.array([after[1] - np.maximum(after[1] - half, 0), np.minimum(after[1] + half, 1) - after[1]])
    ax.plot(after[0][enough], after[1][enough], color=BLUE, lw=1, zorder=2)
    ax.errorbar(after[0][enough], after[1][enough], yerr=ends[:, enough], color=BLUE, lw=1, ls="", capsize=2, zorder=2)
    ax.scatter(
        after[0],
        after[1],
        color=np.where(enough, BLUE, "white"),
        edgecolors=BLUE,
        zorder=3,
        label="calibrated, 95 % ends (hollow: under 5 calls)",
    )
    for x, y, n in zip(*after, strict=True):
        ax.annotate(f"{n:.0f}", (x, y), textcoords="offset points", xytext=(7, 5), fontsize=8, color=BLUE)
    ax.axvline(report.calibration.threshold, color=RED, lw=1)
    ax.text(report.calibration.threshold, 0.02, " review ←│ → automatic", color=RED, fontsize=8, ha="center")
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share of these calls answered rightly")
    ax.legend(loc=(0.45, 0.1), frameon=False, fontsize=9)
    _title(ax, f"Reliability · calibration error {report.metrics['calibration_error_share']:.3f}", "可靠性图")


def _bins(answers: Answers) -> tuple[Floats, Floats, Floats]:
    """Mean confidence, share right and number of calls of each bin that has any."""
    at = np.minimum((answers.confidence * BINS).astype(np.intp), BINS - 1)
    n = np.bincount(at, minlength=BINS).astype(np.float64)
    sums = [
        np.bincount(at, weights=w, minlength=BINS) for w in (answers.confidence, answers.predicted == answers.truth)
    ]
    some = n > 0
    return sums[0][some] / n[some], sums[1][some] / n[some], n[some]


def _risk_coverage(ax: Any, report: Report, answers: Answers) -> None:
    """The error among the calls answered automatically, against how many those are."""
    order = np.argsort(-answers.confidence, kind="stable")
    wrong = (answers.predicted != answers.truth)[order]
    count = np.arange(1, len(order) + 1)
    first = min(STEADY_CALLS, len(order)) - 1  # before, one wrong call moves the curve by more than it means
    count, wrong_so_far = count[first:], wrong.cumsum()[first:]
    coverage, risk = count / len(order), wrong_so_far / count
    half = 1.96 * np.sqrt(np.maximum(risk * (1 - risk), 0.25 / count) / count)
    ax.fill_between(coverage, np.maximum(risk - half, 0), np.minimum(risk + half, 1), color=BLUE, alpha=0.15, lw=0)
    ax.plot(coverage, risk, color=BLUE, lw=1.6)
    allowed = 1 - COVERAGE_ACCURACY
    ax.axhline(allowed, color=GREY, lw=1, ls=":")
    ax.text(0.0, allowed, f" {allowed:.0%} errors", color=GREY, fontsize=8, va="bottom")
    automatic = int(answers.is_auto.sum())
    if automatic:
        x, y = automatic / len(order), float((answers.predicted != answers.truth)[answers.is_auto].mean())
        ax.scatter([x], [y], color=RED, zorder=3)
        text = f"threshold {report.calibration.threshold:.2f}: {x:.0%} automatic, {y:.1%} of them wrong"
        ax.text(0.02, 0.96, f"● {text}", transform=ax.transAxes, va="top", fontsize=9, color=RED)
    ax.set(xlim=(0, 1.01), ylim=(0, max(0.12, float(risk.max()) * 1.4)))
    ax.set(xlabel="share of calls answered automatically, most confident first", ylabel="share of these that are wrong")
    _title(
        ax, f"Risk and coverage · {report.metrics['coverage_at_95_share']:.0%} of calls at 95 % accuracy", "风险与覆盖"
    )


def _latency(ax: Any, speed: Speed) -> None:
    """Requests by latency, logarithmic; `histogram` holds (upper edge in ms, requests), edges at a constant ratio."""
    edges = np.array([edge for edge, _ in speed.histogram])
    ratio = edges[1] / edges[0] if len(edges) > 1 else 10**0.1
    starts = edges / ratio
    look = {"align": "edge", "color": BLUE, "alpha": 0.8, "edgecolor": "white", "lw": 0.5}
    ax.bar(starts, [n for _, n in speed.histogram], width=edges - starts, **look)
    ax.set_xscale("log")
    right = max(float(edges[-1]), speed.p99_ms) * 1.25
    ticks = [n * 10.0**e for e in range(-1, 6) for n in (1, 2, 5) if starts[0] <= n * 10.0**e <= right]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_xticks([], minor=True)
    top = ax.get_ylim()[1] * 1.25
    for i, (name, at) in enumerate((("p50", speed.p50_ms), ("p95", speed.p95_ms), ("p99", speed.p99_ms))):
        ax.axvline(at, color=RED, lw=1, ls=("-", "--", ":")[i])
        ax.text(at, top * (0.98 - 0.06 * i), f" {name} {at:.0f} ms", color=RED, fontsize=9, va="top")
    ax.set(xlim=(starts[0], right), ylim=(0, top), xlabel="latency from the scheduled send time, ms", ylabel="requests")
    title = f"Latency · {speed.requests} requests at {speed.rate_requested_qps:g}/s, {speed.failures} failed"
    _title(ax, title, "延迟")
