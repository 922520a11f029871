"""What one dataset has that another has not, call by call, and how its categories are spread."""

from typing import TYPE_CHECKING

from data_contracts.artifacts import Dataset
from data_contracts.messages import say
from data_contracts.schema import Frozen
from deploy.store import Store
from tasks import catalog, shift

if TYPE_CHECKING:
    import polars as pl

SURE = 0.05  # below it two sets of calls are said to differ
COLUMNS = ("conversation_id", "complaint_category", "group", "input_text")


class Relabelled(Frozen):
    """A call with another category in the second dataset."""

    conversation_id: str
    before: str
    after: str


class CategoryShift(Frozen):
    """A category's calls in both datasets, and their share of all calls."""

    category: str
    before: int
    after: int
    before_share: float
    after_share: float


class Diff(Frozen):
    """From dataset `a` to dataset `b`, by conversation id; `reworded` calls have the same category and another text.

    `moved_share`: of the calls that would have to change category for both to be spread alike."""

    a: Dataset
    b: Dataset
    same: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    relabelled: tuple[Relabelled, ...]
    reworded: tuple[str, ...]
    categories: tuple[CategoryShift, ...]
    moved_share: float
    test: shift.Test | None
    sentence_en: str
    sentence_zh: str


def diff(store: Store, a: Dataset, b: Dataset) -> Diff:
    """Compare two datasets of any taxonomies."""
    import polars as pl

    before, after = _read(store, a), _read(store, b)
    both = before.join(after, on="conversation_id", suffix="_b")
    is_relabelled = pl.col("complaint_category") != pl.col("complaint_category_b")
    relabelled = both.filter(is_relabelled).sort("conversation_id")
    reworded = both.filter(~is_relabelled & (pl.col("words") != pl.col("words_b")))
    added = after.join(before, on="conversation_id", how="anti")
    removed = before.join(after, on="conversation_id", how="anti")
    kept = before.join(removed, on="conversation_id", how="anti")
    tested = shift.test(before, added) if added.height else shift.test(kept, removed)
    rows, moved = _categories(before, after, [*a.categories, *(k for k in b.categories if k not in a.categories)])
    sentence = _sentence(moved, tested, added.height, removed.height, relabelled.height, _by_labels(before, after))
    return Diff(
        a=a,
        b=b,
        same=both.height - relabelled.height - reworded.height,
        added=_ids(added),
        removed=_ids(removed),
        relabelled=tuple(
            Relabelled(conversation_id=name, before=one, after=other)
            for name, one, other in relabelled.select(
                "conversation_id", "complaint_category", "complaint_category_b"
            ).iter_rows()
        ),
        reworded=_ids(reworded),
        categories=rows,
        moved_share=moved,
        test=tested,
        sentence_en=sentence[0],
        sentence_zh=sentence[1],
    )


def _read(store: Store, dataset: Dataset) -> "pl.DataFrame":
    """Its calls, with a number for the text: two datasets of a million calls would not fit beside each other."""
    import polars as pl

    words = pl.col("input_text").hash().alias("words")
    return pl.concat([calls.with_columns(words).drop("input_text") for calls in catalog.parts(store, dataset, COLUMNS)])


def _categories(
    before: "pl.DataFrame", after: "pl.DataFrame", names: list[str]
) -> tuple[tuple[CategoryShift, ...], float]:
    """Every category's row, and how far the two are apart."""
    one, other = shift.counts(before, names), shift.counts(after, names)
    rows = tuple(
        CategoryShift(
            category=name,
            before=int(x),
            after=int(y),
            before_share=float(x / max(1, one.sum())),
            after_share=float(y / max(1, other.sum())),
        )
        for name, x, y in zip(names, one, other, strict=True)
    )
    return rows, shift.distance(one, other)


def _by_labels(before: "pl.DataFrame", after: "pl.DataFrame") -> float:
    """How far apart the first dataset is from itself under the second's categories."""
    import polars as pl

    categories = after.select("conversation_id", pl.col("complaint_category").alias("now"))
    renamed = before.join(categories, on="conversation_id", how="left").with_columns(
        pl.coalesce("now", "complaint_category").alias("complaint_category")
    )
    names = sorted({*before["complaint_category"], *renamed["complaint_category"]})
    return shift.distance(shift.counts(before, names), shift.counts(renamed, names))


def _sentence(
    moved: float, tested: shift.Test | None, added: int, removed: int, relabelled: int, by_labels: float
) -> tuple[str, str]:
    """What the shift is worth, in English and Chinese; tested are only calls that one of the two lacks."""
    if not added and not removed and not relabelled:
        return say("diff_nothing")
    head = say("diff_moved", share=moved)
    if not added and not removed:
        tail = say("diff_same_calls")
    elif tested is None:
        tail = say("diff_too_few")
    else:
        sets = ("diff_added", added) if added else ("diff_removed", removed)
        code = f"{sets[0]}_{'differ' if tested.p < SURE else 'alike'}"
        tail = say(code, calls=sets[1], chi=tested.statistic, degrees=tested.degrees, p=tested.p)
    parts = [head, tail]
    if relabelled and (added or removed):
        parts.insert(1, say("diff_by_labels", calls=relabelled, share=by_labels))
    return " ".join(one for one, _ in parts), "".join(other for _, other in parts)


def _ids(calls: "pl.DataFrame") -> tuple[str, ...]:
    return tuple(sorted(calls["conversation_id"]))
