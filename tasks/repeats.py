"""Rows against each other, and against the gold set: what a call repeats, what it contradicts, why it will not be trained on.

Each finding is the number of the other row; against gold, whose calls have no row here, it is 1.
"""

from typing import TYPE_CHECKING

from tasks import agreement, calls, gold, near
from tasks.agreement import CALL, LABEL

if TYPE_CHECKING:
    import polars as pl

FOUND = ("near_same_as", "near_conflict", "customer_conflict")
ONE_MATTER_HOURS = 24  # calls of one customer within a day are most often about one matter


def together(
    frame: "pl.DataFrame",
    threshold: float,
    barred: "pl.DataFrame | None" = None,
    sketched: near.Sketched | None = None,
) -> "pl.DataFrame":
    """The columns of the suite `together`: for each row the row it repeats or contradicts, if any.

    Equal texts are repeats only where rows have no id of their own: two calls may well be the same words.

    Args:
        threshold: Jaccard at which two texts are nearly the same.
        barred: every call of the family's gold sets (`gold.barred`).
        sketched: keeps the sketches of calls of which nobody knows customer or id: they are grouped by them.
    """
    import polars as pl

    nothing = pl.lit(None, pl.Int64)
    is_own = pl.col("has_id") | agreement.is_shared()
    own = agreement.votes(frame.filter(is_own)).with_columns(
        nothing.alias("conflicts_with"), nothing.alias("same_text_as")
    )
    told = pl.concat([own, _same_texts(frame.filter(~is_own))], how="diagonal").sort("row")
    left = frame.sort("row").filter(told.select(~pl.any_horizontal(pl.exclude("row").is_not_null())).to_series())
    return told.join(
        _among_calls(left, threshold, barred, sketched or near.Sketched()), on="row", how="left", maintain_order="left"
    )


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


def _among_calls(
    left: "pl.DataFrame", threshold: float, barred: "pl.DataFrame | None", sketched: near.Sketched
) -> "pl.DataFrame":
    """Of one row a call: row, near_same_as, near_conflict, customer_conflict, gold_customer, gold_text."""
    import polars as pl

    sketches = near.sketch(left["input_text"])
    alone = left.select((pl.col("customer").is_null() & ~pl.col("has_id")).arg_true()).to_series()
    sketched.keep(left["row"].gather(alone), sketches.take(alone.to_numpy().astype("int64")))
    heads = left["row"].gather(near.clusters(sketches, threshold)).alias("cluster")
    found = left.select("row", "customer", LABEL, "started_at", CALL).with_columns(heads)
    repeats = pl.when(pl.col("row") != pl.col("cluster")).then("cluster").alias("near_same_as")
    marked = found.with_columns(repeats, _contradicted(found).to_series())
    pairs = marked.join(_one_customer(found), on="row", how="left", maintain_order="left")
    if barred is None:
        nothing = pl.lit(None, pl.Int64)
        return pairs.select("row", *FOUND, nothing.alias("gold_customer"), nothing.alias("gold_text"))
    held = _customers(found, barred)
    near_gold = pl.Series(near.any_near(sketches, near.sketch(barred["input_text"]), threshold)) & ~held
    return pairs.select("row", *FOUND, _flag(held).alias("gold_customer"), _flag(near_gold).alias("gold_text"))


def _contradicted(found: "pl.DataFrame") -> "pl.DataFrame":
    """near_conflict, a row each: the first of its cluster with another category than its own; null where there is none.

    By grouping and joining: the same as a window over clusters takes sixteen times as long for four times the calls.
    """
    import polars as pl

    cluster = pl.col("cluster")
    leaders = found.select("row", LABEL).rename(
        {"row": "cluster", LABEL: "leader"}
    )  # a cluster is named after its first row
    led = found.join(leaders, on="cluster", how="left", maintain_order="left")
    is_other = pl.col(LABEL) != pl.col("leader")
    others = led.filter(is_other).group_by("cluster").agg(pl.col("row").min().alias("other"))
    told = led.join(others, on="cluster", how="left", maintain_order="left")
    return told.select(pl.when(is_other).then(cluster).otherwise("other").alias("near_conflict"))


def _one_customer(found: "pl.DataFrame") -> "pl.DataFrame":
    """row, customer_conflict: a customer's call before or after with another category, less than a day away or at an unknown time."""
    import polars as pl

    moment = pl.col("started_at").str.slice(0, 19).str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False)
    dated = found.filter(pl.col("customer").is_not_null()).with_columns(moment.alias("moment"))
    ordered = dated.sort("customer", "moment", "row")

    def other(step: int) -> "pl.Expr":
        apart = (pl.col("moment") - pl.col("moment").shift(step)).dt.total_hours().abs()
        same = pl.col("customer") == pl.col("customer").shift(step)
        differs = pl.col(LABEL) != pl.col(LABEL).shift(step)
        return pl.when(same & differs & (apart.is_null() | (apart < ONE_MATTER_HOURS))).then(pl.col("row").shift(step))

    return ordered.select("row", pl.coalesce(other(1), other(-1)).alias("customer_conflict"))


def _customers(found: "pl.DataFrame", barred: "pl.DataFrame") -> "pl.Series":
    """Whether each call, or another of its customer, stands in gold."""
    import polars as pl

    alone = pl.Series("alone", [calls.own_group(name) for name in found[CALL]], pl.String)
    groups = found.with_columns(pl.coalesce("customer", alone).alias("group"))
    return groups["group"].is_in(gold.customers(groups, barred).implode())


def _flag(series: "pl.Series") -> "pl.Expr":
    import polars as pl

    return pl.when(series).then(pl.lit(1, pl.Int64))
