"""What the contract's expectations run on: one narrow row a call, without its text; and the reasons people read."""

import difflib
import math
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from data_contracts import messages, personal
from data_contracts.taxonomy import Taxonomy
from data_contracts.transcript import FOLD
from tasks import quality, turns

if TYPE_CHECKING:
    import polars as pl

EXCERPT_CHARS = 40
NAME_CHARS = 64  # what is longer is no name
SHOWN_ROWS = 10
MANY = 1000  # from here on nobody reads decimals
SHOWN_SPELLINGS = 200
CONFLICTS = ("conflicting_label", "near_conflict", "customer_conflict")
SAID = ("reason_en", "reason_zh", "remedy_en", "remedy_zh")
REJECT_COLUMNS = ("row", "conversation_id", "column", "code", *SAID, "excerpt")
SHARES = ("mojibake", "symbol_runs", "little_chinese", "empty_turns", "repeated_turns")
GRAVITY = {"reject": 0, "quarantine": 1, "warn": 2, "duplicate": 3}


class Sayings(NamedTuple):
    """What reasons are worded with: the taxonomy, and of each code the arguments of its check."""

    taxonomy: Taxonomy
    bounds: Mapping[str, Mapping[str, object]]

    def of(self, column: str, code: str, value: str | None) -> dict[str, str]:
        """Reason and remedy of one mistake, in both languages."""
        return reason(code, {**self.bounds.get(code, {}), "column": column, **_values(code, value, self.taxonomy)})


def reason(code: str, values: Mapping[str, object]) -> dict[str, str]:
    """Reason and remedy in both languages."""
    named = dict(values)
    said = (*messages.say(code, **named), *messages.say(f"{code}.remedy", **named))
    return dict(zip(SAID, said, strict=True))


def narrow(frame: "pl.DataFrame", taxonomy: Taxonomy, now: datetime | None = None) -> "pl.DataFrame":
    """The columns of the suite `rows`, from a prepared frame; a category that is only written otherwise counts as the one it means."""
    import polars as pl

    confidence = pl.col("confidence_score").cast(pl.Float64, strict=False)
    label, meant = pl.col("complaint_category"), spellings(frame["complaint_category"].unique(), taxonomy)
    known = label.replace(meant)
    started, ended = (_moment(name) for name in ("started_at", "ended_at"))
    one_zone = pl.col("started_at").str.slice(19) == pl.col("ended_at").str.slice(19)
    latest = pl.lit(now.replace(tzinfo=None) if now else None, pl.Datetime("us"))
    return frame.select(
        "row",
        "problem",
        pl.col("input_text").str.len_chars().cast(pl.Float64).alias("chars"),
        pl.col("damage").cast(pl.Int64),
        *quality.MEASURES,
        pl.col("tokens").cast(pl.Float64) if "tokens" in frame.columns else pl.lit(None, pl.Float64).alias("tokens"),
        known.alias("complaint_category"),
        pl.when(label != known).then(label).alias("category_spelling"),
        pl.when(pl.col("confidence_score").is_null())
        .then(1.0)
        .otherwise(confidence)
        .fill_nan(None)
        .alias("confidence_score"),
        *(pl.col(f"bad_{name}").cast(pl.Int64) for name in ("started_at", "ended_at")),
        pl.when(one_zone).then((ended - started).dt.total_seconds() / 60).alias("minutes_long"),
        ((started - latest).dt.total_seconds() / 86400).alias("days_ahead"),
        *turns.TOLD[:3],
        pl.when(one_zone).then(pl.col("turns_last_s") - (ended - started).dt.total_seconds()).alias("turns_overrun_s"),
        *(pl.col(c).str.len_chars().fill_null(0).alias(f"{c}_chars") for c in ("channel", "region")),
        *(pl.col(f"{c}_personal").cast(pl.Int64) for c in ("channel", "region")),
    )


def _moment(name: str) -> "pl.Expr":
    """Of an ISO time, what the clock on the wall said."""
    import polars as pl

    return pl.col(name).str.slice(0, 19).str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False)


def explained(failures: "pl.DataFrame", frame: "pl.DataFrame", said: Sayings) -> "pl.DataFrame":
    """Failures (row, column, code, value) of the rows of `frame`, each with reason and remedy in both languages."""
    import polars as pl

    mistake = ("column", "code", "value")
    own = failures.filter(pl.col("row").is_in(frame["row"].implode()))
    words = _said(own.select(mistake).unique(maintain_order=True), said)
    excerpt = pl.col("input_text").fill_null("").str.slice(0, EXCERPT_CHARS).str.replace_all("\n", " ", literal=True)
    calls = frame.select("row", "conversation_id", excerpt.alias("excerpt"))
    known = own.join(calls, on="row", how="left", maintain_order="left").sort("row", maintain_order=True)
    return known.join(words, on=mistake, how="left", nulls_equal=True, maintain_order="left").select(REJECT_COLUMNS)


def _said(mistakes: "pl.DataFrame", said: Sayings) -> "pl.DataFrame":
    """Distinct mistakes with reason and remedy: the words are found once, however many rows share a mistake."""
    import polars as pl

    rows = [(*mistake, *said.of(*mistake).values()) for mistake in mistakes.iter_rows()]
    return pl.DataFrame(rows, schema=dict.fromkeys((*mistakes.columns, *SAID), pl.String), orient="row")


def grouped(failures: "pl.DataFrame", rows: int, said: Sayings) -> list[dict[str, Any]]:
    """Each code once with how many rows, of all `rows`, failed it; the gravest first, its first row as the example."""
    import polars as pl

    counted = failures.group_by("severity", "code", "column", maintain_order=True).agg(
        pl.col("row").n_unique().alias("rows"),
        pl.col("row").unique().sort().head(SHOWN_ROWS).alias("first_rows"),
        pl.col("value").first(),
    )
    found = counted.sort(
        pl.col("severity").replace_strict(GRAVITY, return_dtype=pl.Int8), -pl.col("rows").cast(pl.Int64), "code"
    )
    values = found["value"].to_list()  # as submitted: only `said` may tell of them, masked
    return [
        {**entry, "share": entry["rows"] / rows, **said.of(entry["column"], entry["code"], value)}
        for entry, value in zip(found.drop("value").to_dicts(), values, strict=True)
    ]


def examples(failures: "pl.DataFrame", frame: "pl.DataFrame") -> list[dict[str, Any]]:
    """Some pairs of calls that contradict each other, side by side, masked."""
    import polars as pl

    pairs = failures.filter(pl.col("code").is_in(CONFLICTS)).select(
        "code", "row", pl.col("value").cast(pl.Int64).alias("other")
    )
    once = pairs.with_columns(
        pl.min_horizontal("row", "other").alias("a"), pl.max_horizontal("row", "other").alias("b")
    )
    some = once.unique(["a", "b"], keep="first", maintain_order=True).select("code", "a", "b").head(SHOWN_ROWS)
    excerpt = pl.col("input_text").str.slice(0, 2 * EXCERPT_CHARS).alias("text")
    calls = frame.filter(pl.col("row").is_in(some["a"].append(some["b"]).implode()))
    calls = calls.select("row", "conversation_id", pl.col("complaint_category").alias("category"), excerpt)
    both = some.join(calls, left_on="a", right_on="row").join(calls, left_on="b", right_on="row", suffix="_b")
    found: list[dict[str, Any]] = both.sort("a", "b").to_dicts()
    return found


def respelled(failures: "pl.DataFrame", taxonomy: Taxonomy) -> list[dict[str, Any]]:
    """The mapping that would mend labels which are only written otherwise, with how many rows each would."""
    import polars as pl

    own = failures.filter(pl.col("code") == "category_spelling")["value"].value_counts(sort=True).head(SHOWN_SPELLINGS)
    meant = spellings(own["value"], taxonomy)
    return [{"written": value, "means": meant.get(value, ""), "rows": rows} for value, rows in own.iter_rows()]


def spellings(labels: Iterable[str | None], taxonomy: Taxonomy) -> dict[str, str]:
    """Labels that are no key but surely mean one: by key, code or Chinese name, but for width, case, spaces and hyphens."""
    folded: dict[str, set[str]] = {}
    for c in taxonomy.categories:
        for name in (c.key, c.code, c.name_zh):
            folded.setdefault(_folded(name), set()).add(c.key)
    meant = {label: folded.get(_folded(label[:NAME_CHARS]), set()) for label in labels if label}
    return {label: next(iter(keys)) for label, keys in meant.items() if len(keys) == 1 and label not in taxonomy.index}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).translate(FOLD).strip().casefold().replace(" ", "_").replace("-", "_")


def nearest(value: str, taxonomy: Taxonomy) -> str:
    """The category key that a foreign name most likely means: by key, code or Chinese name."""
    names = {
        name.casefold(): c.key for c in taxonomy.categories for name in (c.definition, c.code, c.name_zh, c.key) if name
    }
    wanted = value[:NAME_CHARS].translate(FOLD).strip().casefold().replace(" ", "_")
    matcher: difflib.SequenceMatcher[str] = difflib.SequenceMatcher(b=wanted)
    best = (-1.0, taxonomy.keys[0])
    for name in names:
        matcher.set_seq1(name)
        if matcher.real_quick_ratio() >= best[0] and matcher.quick_ratio() >= best[0]:  # upper bounds, far cheaper
            best = max(best, (matcher.ratio(), name))
    return names.get(best[1], taxonomy.keys[0])


def _values(code: str, value: str | None, taxonomy: Taxonomy) -> dict[str, object]:
    if code == "unknown_category":
        return {"value": personal.mask_cell((value or "")[:200]).text[:24], "nearest": nearest(value or "", taxonomy)}
    if code == "category_spelling":
        return {"value": value, "nearest": spellings([value], taxonomy).get(value or "", "")}
    if code == "ragged_row":
        fields, expected = (value or ",").split(",")
        return {"fields": fields, "expected": expected}
    if code in SHARES:
        return {"value": float(value or 0)}
    return {"value": _tidy(value), "at": value or "?"}


def _tidy(value: str | None) -> str:
    """A number as people write it: 3, not 3.0; 0.67, not 0.6666666666666666."""
    try:
        number = float(value or "")
    except ValueError:
        return value or ""
    if not math.isfinite(number):
        return value or ""
    return f"{number:.0f}" if number.is_integer() or abs(number) >= MANY else f"{number:.2f}"
