"""The calls of a dataset on their sides: nothing shared between two of them, texts some thousands at a time.

Held are the ids of all calls, and of gold, calibration and validation what finds words like theirs. `N` calls of the dataset.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data_contracts.artifacts import SIDES, Side
from tasks import gold, near
from tasks.calls import Digest, Table, compact, read

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

AT_ONCE = 50_000  # texts held while they are compared: 38 MB of them, 13 MB of what finds those near
FITTED: tuple[Side, ...] = ("calibration", "validation", "train")  # of two that share words, the later loses


class Divided(NamedTuple):
    """`side` (N,) of each call of a dataset, null where it is left out, and how many were left out and why."""

    side: "pl.Series"
    dropped: dict[str, int]


class Kept(NamedTuple):
    """What is kept apart: the frozen calls, None where gold is made of this dataset; `gold.WHO` of all calls that must stay out;
    other names of those who made them."""

    file: Path | None
    barred: "pl.DataFrame"
    aliases: tuple[str, ...]


def divided(calls: "pl.DataFrame", file: Path, kept: Kept, threshold: float) -> Divided:
    """Sides without shared groups or near-duplicates; where two share words, the one nearer to training loses."""
    import polars as pl

    is_gold = (calls["side"] == "gold").fill_null(False)
    is_rest = calls["side"].is_not_null() & ~is_gold
    customers = pl.concat([gold.customers(calls, kept.barred), pl.Series("group", kept.aliases, pl.String)])
    is_free = is_rest & ~calls["group"].is_in(customers.implode())
    free = calls.select(pl.when(is_free).then("side").alias("side"))["side"]
    in_gold = near.sketch(kept.barred["input_text"])
    side, near_gold, near_sides = _without_twins(file, free, in_gold, threshold)
    there = pl.scan_parquet(kept.file).select("conversation_id").collect() if kept.file else kept.barred
    reserved = calls.height - int(is_rest.sum()) - calls.join(there, on="conversation_id", how="semi").height
    dropped = {"reserved_for_gold": max(0, reserved), "group_in_gold": int((is_rest & ~is_free).sum())}
    either = side.to_frame("side").select(pl.when(is_gold).then(pl.lit("gold")).otherwise("side").alias("side"))
    return Divided(either["side"], dropped | {"near_gold": near_gold, "near_another_side": near_sides})


def _without_twins(
    file: Path, sides: "pl.Series", in_gold: near.Sketches, threshold: float
) -> tuple["pl.Series", int, int]:
    """The sides of calls whose words stand neither in gold nor on a side before; how many stood there, and there."""
    import polars as pl

    left_out = np.zeros(len(sides), np.bool_)
    held = in_gold.take(np.empty(0, np.int64))
    near_gold = near_sides = 0
    for side in FITTED:
        kept = [held]
        for at, texts in _texts(file, (sides == side).fill_null(False)):
            own = near.sketch(texts)
            is_twin = near.any_near(own, in_gold, threshold)
            near_gold += int(is_twin.sum())
            rest = np.flatnonzero(~is_twin)
            is_shared = near.any_near(own.take(rest), held, threshold)
            near_sides += int(is_shared.sum())
            is_twin[rest[is_shared]] = True
            left_out[at[is_twin]] = True
            if side != FITTED[-1]:
                kept.append(own.take(np.flatnonzero(~is_twin)))
        held = _together(kept)
    apart = sides.to_frame("side").select(pl.when(~pl.Series(left_out)).then("side").alias("side"))["side"]
    return apart, near_gold, near_sides


def _together(some: list[near.Sketches]) -> near.Sketches:
    """Sketches one after another."""
    import polars as pl

    texts, words, bands, minima = zip(*some, strict=True)
    return near.Sketches(pl.concat(texts), np.concatenate(words), np.concatenate(bands), np.concatenate(minima))


def _texts(file: Path, wanted: "pl.Series") -> "Iterator[tuple[NDArray[np.int64], pl.Series]]":
    """The texts of some calls, `AT_ONCE` or a few more at a time, and which calls they are."""
    import polars as pl

    start, at, texts, held = 0, [], [], 0
    for part in read(file, ("input_text",)):
        own = wanted.slice(start, part.height).arg_true()
        at.append(start + own.to_numpy().astype(np.int64))
        texts.append(compact(part[own])["input_text"])
        start, held = start + part.height, held + len(own)
        if held >= AT_ONCE:
            yield np.concatenate(at), pl.concat(texts)
            at, texts, held = [], [], 0
    if held:
        yield np.concatenate(at), pl.concat(texts)


def gold_of(file: Path, calls: "pl.DataFrame") -> "pl.DataFrame":
    """`gold.WHO` of the calls on the gold side."""
    import polars as pl

    parts, start = [], 0
    for part in read(file, gold.WHO):
        parts.append(compact(part.filter((calls["side"].slice(start, part.height) == "gold").fill_null(False))))
        start += part.height
    return pl.concat(parts)


def write(file: Path, sides: "pl.Series", gold_file: Path | None, out: Path) -> str:
    """A table a side, gold as it was frozen or else as it is now; the digest of the gold that was written."""
    digest, start = Digest(), 0
    with ExitStack() as stack:
        made = FITTED if gold_file else SIDES
        tables = {side: stack.enter_context(Table(out / f"{side}.parquet")) for side in made}
        for part in read(file):
            own = sides.slice(start, part.height)
            start += part.height
            for side, table in tables.items():
                rows = part.filter((own == side).fill_null(False))
                if rows.height:
                    table.add(rows)
                if side == "gold":
                    digest.add(rows)
    if gold_file:
        shutil.copyfile(gold_file, out / gold.GOLD)
    return str(digest)


def categories(calls: "pl.DataFrame", sides: "pl.Series", gold_file: Path | None) -> dict[Side, Counter[str]]:
    """Calls of each category on each side."""
    import polars as pl

    names = {side: calls["complaint_category"].filter((sides == side).fill_null(False)) for side in ("gold", *FITTED)}
    if gold_file:
        names["gold"] = pl.read_parquet(gold_file, columns=["complaint_category"])["complaint_category"]
    return {side: Counter(dict(sorted(own.value_counts().iter_rows()))) for side, own in names.items()}
