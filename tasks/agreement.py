"""Calls that several annotators labelled: which label counts, and how well the annotators agree.

A call's label is what more than half of its annotators say; where there is no such label the call is not accepted.
"""

from typing import TYPE_CHECKING

from data_contracts.schema import Frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import polars as pl

CALL, WHO, LABEL = "conversation_id", "annotator", "complaint_category"
OTHER = f"{LABEL}_b"
LEAST_SHARED = 10  # calls that two annotators must share for a kappa of theirs
SHOWN_PAIRS, SHOWN_APART = 12, 3
Z = 1.96


class Pair(Frozen):
    """Two annotators, known by the first row of each, and the calls that both labelled. `kappa`: Cohen's, with its 95 % interval; None
    for fewer than ten calls, or where both said one and the same category throughout. `apart`: the categories they disagree on, and on
    how many calls."""

    rows: tuple[int, int]
    calls: int
    raw_share: float
    kappa: float | None
    low: float | None
    high: float | None
    apart: tuple[tuple[str, str, int], ...]


class Agreement(Frozen):
    """Over all pairs of annotators of a call. `raw_share`: of the pairs that say the same. `kappa`: Cohen's, of every two annotators
    with ten calls in common or more, weighed by those calls; None where there are no two. `disputed`: calls without a majority.
    `pairs`: those with most calls in common."""

    calls: int
    annotators: int
    raw_share: float
    kappa: float | None
    disputed: int
    pairs: tuple[Pair, ...] = ()


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
    first = dict(labelled.group_by(WHO).agg(pl.col("row").min()).iter_rows())
    of_two = [_pair(first[a], first[b], both) for (a, b), both in pairs.group_by(WHO, f"{WHO}_b")]
    shared = ballots.filter(pl.col(CALL).is_in(pairs[CALL].unique().implode()))
    most = shared.group_by(CALL).agg(pl.col(LABEL).value_counts().struct.field("count").max().alias("most"), pl.len())
    return Agreement(
        calls=most.height,
        annotators=shared[WHO].n_unique(),
        raw_share=float((pairs[LABEL] == pairs[f"{LABEL}_b"]).mean() or 0.0),
        kappa=_weighed(of_two),
        disputed=int((most["most"] * 2 <= most["len"]).sum()),
        pairs=tuple(sorted(of_two, key=lambda pair: (-pair.calls, pair.rows))[:SHOWN_PAIRS]),
    )


def _pair(one: int, other: int, both: "pl.DataFrame") -> Pair:
    """What two annotators, whose first rows these are, make of their calls; the one who comes first in the file is named first."""
    if one > other:
        return _pair(other, one, both.rename({LABEL: OTHER, OTHER: LABEL}))
    kappa = cohens(both) if both.height >= LEAST_SHARED else None
    value, half = kappa or (None, 0.0)
    return Pair(
        rows=(one, other),
        calls=both.height,
        raw_share=float((both[LABEL] == both[OTHER]).mean() or 0.0),
        kappa=value,
        low=None if value is None else max(-1.0, value - half),
        high=None if value is None else min(1.0, value + half),
        apart=tuple(_apart(both)[:SHOWN_APART]),
    )


def _apart(both: "pl.DataFrame") -> list[tuple[str, str, int]]:
    """Pairs of categories, whoever said which, and how often; the most often first."""
    import polars as pl

    one, other = pl.min_horizontal(LABEL, OTHER), pl.max_horizontal(LABEL, OTHER)
    counted = both.filter(pl.col(LABEL) != pl.col(OTHER)).group_by(one.alias("a"), other.alias("b")).len()
    return list(counted.sort("len", "a", "b", descending=[True, False, False]).iter_rows())


def cohens(both: "pl.DataFrame") -> tuple[float, float] | None:
    """Kappa and half of its 95 % interval, by the large-sample variance of Fleiss, Cohen and Everitt (1969); None where both said one and
    the same category throughout."""
    import numpy as np

    keys = {key: at for at, key in enumerate(sorted({*both[LABEL], *both[OTHER]}))}
    shares = np.zeros((len(keys), len(keys)))
    for one, other in zip(both[LABEL], both[OTHER], strict=True):
        shares[keys[one], keys[other]] += 1 / both.height
    own, its = shares.sum(axis=1), shares.sum(axis=0)
    agreed, chance = float(np.trace(shares)), float(own @ its)
    if len(keys) == 1:
        return None
    kappa = (agreed - chance) / (1 - chance)
    same = np.diag(shares) @ ((1 - chance) - (own + its) * (1 - agreed)) ** 2
    weights = np.add.outer(its, own) ** 2
    differ = (1 - agreed) ** 2 * float((shares * weights).sum() - np.diag(shares) @ np.diag(weights))
    spread = float(same) + differ - (agreed * chance - 2 * chance + agreed) ** 2
    return kappa, Z * float(np.sqrt(max(spread, 0) / both.height)) / (1 - chance) ** 2


def _weighed(pairs: "Sequence[Pair]") -> float | None:
    known = [(pair.kappa, pair.calls) for pair in pairs if pair.kappa is not None]
    calls = sum(n for _, n in known)
    return sum(kappa * n for kappa, n in known) / calls if calls else None
