"""What the contract's expectations run on: one narrow row a call, without its text; and the reasons people read."""

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from data_contracts import messages, personal
from data_contracts.taxonomy import Taxonomy
from data_contracts.transcript import FOLD
from tasks import agreement

if TYPE_CHECKING:
    import polars as pl

EXCERPT_CHARS = 40
NAME_CHARS = 64  # what is longer is no name
REJECT_COLUMNS = (
    "row",
    "conversation_id",
    "column",
    "code",
    "reason_en",
    "reason_zh",
    "remedy_en",
    "remedy_zh",
    "excerpt",
)


def narrow(frame: "pl.DataFrame") -> "pl.DataFrame":
    """The columns of the suite `rows`, from a prepared frame."""
    import polars as pl

    confidence = pl.col("confidence_score").cast(pl.Float64, strict=False)
    return frame.select(
        "row",
        "problem",
        pl.col("input_text").str.len_chars().cast(pl.Float64).alias("chars"),
        pl.col("damage").cast(pl.Int64),
        "complaint_category",
        pl.when(pl.col("confidence_score").is_null())
        .then(1.0)
        .otherwise(confidence)
        .fill_nan(None)
        .alias("confidence_score"),
        pl.col("bad_started_at").cast(pl.Int64),
        *(pl.col(c).str.len_chars().fill_null(0).alias(f"{c}_chars") for c in ("channel", "region")),
        *(pl.col(f"{c}_personal").cast(pl.Int64) for c in ("channel", "region")),
    )


def together(frame: "pl.DataFrame") -> "pl.DataFrame":
    """The columns of the suite `together`: for each row the row it repeats or contradicts, if any.

    Equal texts are repeats only where rows have no id of their own: two calls may well be the same words.
    """
    import polars as pl

    nothing = pl.lit(None, pl.Int64)
    is_own = pl.col("has_id") | agreement.is_shared()
    own = agreement.votes(frame.filter(is_own)).with_columns(
        nothing.alias("conflicts_with"), nothing.alias("same_text_as")
    )
    return pl.concat([own, _same_texts(frame.filter(~is_own))], how="diagonal").sort("row")


def _same_texts(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Rows without ids: equal texts of one category repeat the first of them, of several they contradict each other."""
    import polars as pl

    heads = frame.group_by("input_text", "complaint_category").agg(pl.col("row").min().alias("head")).sort("head")
    pairs = heads.group_by("input_text", maintain_order=True).agg(
        pl.col("head").first(),
        pl.col("head").get(1, null_on_oob=True).alias("second"),
        pl.col("complaint_category").first().alias("leader"),
    )
    is_leader, is_mixed = pl.col("complaint_category") == pl.col("leader"), pl.col("second").is_not_null()
    return frame.join(pairs, on="input_text", how="left").select(
        "row",
        pl.when(is_mixed & is_leader).then("second").when(is_mixed).then("head").alias("conflicts_with"),
        pl.when(~is_mixed & (pl.col("row") != pl.col("head"))).then("head").alias("same_text_as"),
    )


def explained(
    failures: "pl.DataFrame", frame: "pl.DataFrame", taxonomy: Taxonomy, bounds: Mapping[str, object]
) -> "pl.DataFrame":
    """Failures (row, column, code, value) as the rejects table, each with reason and remedy in both languages."""
    import polars as pl

    mistake = ("column", "code", "value")
    said = _said(failures.select(mistake).unique(maintain_order=True), taxonomy, bounds)
    excerpt = pl.col("input_text").fill_null("").str.slice(0, EXCERPT_CHARS).str.replace_all("\n", " ", literal=True)
    calls = frame.filter(pl.col("row").is_in(failures["row"].implode())).select(
        "row", "conversation_id", excerpt.alias("excerpt")
    )
    known = failures.join(calls, on="row", how="left", maintain_order="left").sort("row", maintain_order=True)
    return known.join(said, on=mistake, how="left", nulls_equal=True, maintain_order="left").select(REJECT_COLUMNS)


def _said(mistakes: "pl.DataFrame", taxonomy: Taxonomy, bounds: Mapping[str, object]) -> "pl.DataFrame":
    """Distinct mistakes with reason and remedy: the words are found once, however many rows share a mistake."""
    import polars as pl

    rows = []
    for column, code, value in mistakes.iter_rows():
        values = {"column": column, **bounds, **_values(code, value, taxonomy)}
        rows.append((column, code, value, *messages.say(code, **values), *messages.say(f"{code}.remedy", **values)))
    names = (*mistakes.columns, "reason_en", "reason_zh", "remedy_en", "remedy_zh")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


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
    if code == "ragged_row":
        fields, expected = (value or ",").split(",")
        return {"fields": fields, "expected": expected}
    return {"value": _tidy(value), "at": value or "?"}


def _tidy(value: str | None) -> str:
    """A number as people write it: 3, not 3.0."""
    return value[:-2] if value and value.endswith(".0") else value or ""
