"""Calls that several annotators labelled: which label counts, and how well the annotators agree.

A call's label is what more than half of its annotators say; where there is no such label the call is not accepted.
"""

from typing import TYPE_CHECKING

from data_contracts.schema import Frozen

if TYPE_CHECKING:
    from collections.abc import Collection

    import polars as pl

CALL, WHO, LABEL = "conversation_id", "annotator", "complaint_category"
LEAST_SHARED = 10  # calls that two annotators must share for a kappa of theirs


class Agreement(Frozen):
    """Over all pairs of annotators of a call. `raw_share`: of the pairs that say the same. `kappa`: Cohen's, of every two annotators
    with ten calls in common or more, weighed by those calls; None where there are no two. `disputed`: calls without a majority."""

    calls: int
    annotators: int
    raw_share: float
    kappa: float | None
    disputed: int


def is_shared() -> "pl.Expr":
    """Whether every row of a row's call names its annotator, and they are several: only then are its rows votes."""
    import polars as pl

    return (pl.col(WHO).is_not_null().all() & (pl.col(WHO).n_unique() > 1)).over(CALL)


def votes(own: "pl.DataFrame") -> "pl.DataFrame":
    """What each row is to the other rows of its call: row, and the row it repeats (`same_id_as`), agrees
    with, is outvoted by or, without a majority, contradicts; all null for the row that counts.

    The rows of a call that are no votes are repeats. A call without an id is known by its text.
    """
    import polars as pl

    first = pl.when(is_shared()).then(pl.col("row").min().over(CALL, WHO)).otherwise(pl.col("row").min().over(CALL))
    told = own.select("row", CALL, WHO, LABEL).with_columns(is_shared().alias("several"), first.alias("first"))
    is_vote = pl.col("several") & (pl.col("row") == pl.col("first"))
    repeats = pl.when(pl.col("row") != pl.col("first")).then("first").alias("same_id_as")
    counted = _counted(told.filter(is_vote))
    return told.select("row", repeats).join(counted, on="row", how="left", maintain_order="left")


def _counted(ballots: "pl.DataFrame") -> "pl.DataFrame":
    """Of one row a call and annotator: row, agrees_with, outvoted_by, disagrees_with."""
    import polars as pl

    row, own_head = pl.col("row"), pl.col("row").min().over(CALL, LABEL)
    is_most = pl.len().over(CALL, LABEL) * 2 > pl.len().over(CALL)
    leader = pl.col(LABEL).sort_by("row").first().over(CALL)
    marked = ballots.with_columns(
        is_most.alias("most"), own_head.alias("head"), (pl.col(LABEL) != leader).alias("other")
    )
    winner = pl.when("most").then("head").max().over(CALL)
    rival = pl.when("other").then(row.min().over(CALL)).otherwise(pl.when("other").then(row).min().over(CALL))
    return marked.select(
        "row",
        pl.when(pl.col("most") & (row != pl.col("head"))).then("head").alias("agrees_with"),
        pl.when(~pl.col("most")).then(winner).alias("outvoted_by"),
        pl.when(winner.is_null()).then(rival).alias("disagrees_with"),
    )


def measure(prepared: "pl.DataFrame", categories: "Collection[str]") -> Agreement | None:
    """How well annotators agree on the calls of a prepared frame that several labelled; None where there are none."""
    import polars as pl

    labelled = prepared.filter(
        pl.col(CALL).is_not_null() & pl.col(WHO).is_not_null() & pl.col(LABEL).is_in(list(categories))
    )
    ballots = labelled.unique([CALL, WHO], keep="first", maintain_order=True).select(CALL, WHO, LABEL)
    pairs = ballots.join(ballots, on=CALL, suffix="_b").filter(pl.col(WHO) < pl.col(f"{WHO}_b"))
    if pairs.is_empty():
        return None
    shared = ballots.filter(pl.col(CALL).is_in(pairs[CALL].unique().implode()))
    most = shared.group_by(CALL).agg(pl.col(LABEL).value_counts().struct.field("count").max().alias("most"), pl.len())
    return Agreement(
        calls=most.height,
        annotators=shared[WHO].n_unique(),
        raw_share=float((pairs[LABEL] == pairs[f"{LABEL}_b"]).mean() or 0.0),
        kappa=_kappa(pairs),
        disputed=int((most["most"] * 2 <= most["len"]).sum()),
    )


def _kappa(pairs: "pl.DataFrame") -> float | None:
    import math

    from sklearn.metrics import cohen_kappa_score

    total = weight = 0.0
    for _, both in pairs.group_by(WHO, f"{WHO}_b"):
        if both.height >= LEAST_SHARED:
            kappa = float(cohen_kappa_score(both[LABEL].to_list(), both[f"{LABEL}_b"].to_list()))
            if not math.isnan(kappa):  # both said one and the same category throughout
                total, weight = total + kappa * both.height, weight + both.height
    return total / weight if weight else None
