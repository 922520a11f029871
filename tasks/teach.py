"""What a dataset can and cannot teach: how well each category could be measured, and how much of its calls a model would read."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from configs.settings import Settings
from data_contracts.schema import PLACE, Frozen
from deploy.store import sha256_file
from deploy.tokenizer import Tokens
from tasks import base

if TYPE_CHECKING:
    import polars as pl

Z = 1.96  # of a 95 % interval
WANTED_HALF = 0.05
BINS = 24


class Use(Frozen):
    """What a dataset will be used for: the share of it that models are measured on, and how much of a call they read. `tokenizer`: the
    folder of the base model's, `tokenizer_digest` says which; empty where it is not on this machine."""

    gold_share: float = 0.2
    max_call_tokens: int = 1024
    tokenizer: Annotated[str, PLACE] = ""
    tokenizer_digest: str = ""


def use_of(settings: Settings) -> Use:
    """What a dataset is for under these settings."""
    file = base.tokenizer_of(settings.train.base_model)
    return Use(
        gold_share=settings.split.gold_share,
        max_call_tokens=settings.prompt.max_call_tokens,
        tokenizer=str(file.parent) if file else "",
        tokenizer_digest=sha256_file(file) if file else "",
    )


def taught(
    accepted: "pl.DataFrame", categories: Mapping[str, int], frozen: Mapping[str, int] | None, use: Use
) -> dict[str, Any]:
    """What the answer says of this: JSON."""
    return {
        "lessons": lessons(categories, frozen, use),
        "gold_is_frozen": frozen is not None,
        "gold_share": use.gold_share,
        "gold_calls_needed": calls_for(),
        "lengths": lengths(accepted["input_text"]),
        "max_call_tokens": use.max_call_tokens,
        "tokenizer": bool(use.tokenizer),
    }


def half_width(calls: float) -> float:
    """Half of the 95 % interval (Wilson) of a share measured on so many calls, where it is widest, at a share of one half."""
    return Z / (2 * math.sqrt(calls + Z**2))


def calls_for(half: float = WANTED_HALF) -> int:
    """Calls whose interval is at most ± `half`: (1.96 / (2 half))² − 1.96², 381 for five points."""
    return math.ceil((Z / (2 * half)) ** 2 - Z**2)


def lessons(categories: Mapping[str, int], frozen: Mapping[str, int] | None, use: Use) -> list[dict[str, Any]]:
    """Of each category its calls, about how many gold calls it has, how far off what is measured on them may be, and how many more
    calls of it would measure it within ± 0.05.

    Args:
        frozen: gold calls of each category, where the family's gold set is made already: new calls do not enlarge it.
    """
    need = calls_for()
    found = []
    for key, calls in categories.items():
        gold = round(calls * use.gold_share) if frozen is None else frozen.get(key, 0)
        more = math.ceil(max(0, need - gold) / use.gold_share)
        found.append({"category": key, "calls": calls, "gold": gold, "half_width": half_width(gold), "more": more})
    return found


def tokens_of(texts: "pl.Series", use: Use) -> "pl.Series":
    """Tokens of each text, Int64; null where nobody can say, and where it surely has no more than `max_call_tokens`: a token is at least
    a byte, so a third of the calls of a thousand characters need no tokenizer, and none of two hundred."""
    import polars as pl

    long = texts.str.len_bytes() > use.max_call_tokens
    counts = pl.Series("tokens", [None], pl.Int64).new_from_index(0, len(texts))
    if not use.tokenizer or not long.any():
        return counts
    at = long.fill_null(False).arg_true()
    tokens = Tokens.load(Path(use.tokenizer))
    return counts.scatter(at, pl.Series(list(_lengths(tokens, texts.gather(at)))))


def _lengths(tokens: Tokens, texts: "pl.Series") -> Iterator[int]:
    for part in (texts.slice(start, 10_000).to_list() for start in range(0, len(texts), 10_000)):
        yield from (len(ids) for ids in tokens.batch_ids(part))


def lengths(texts: "pl.Series") -> list[tuple[int, int]]:
    """A histogram: from how many characters on, how many calls; the last bin has whatever is longer."""
    import polars as pl

    chars = texts.str.len_chars()
    most = chars.quantile(0.99)
    if most is None:
        return []
    wide = max(10, 10 * math.ceil(most / BINS / 10))
    bins = (chars // wide).clip(0, BINS).alias("bin")
    counts = dict(bins.value_counts().select(pl.col("bin").cast(pl.Int64), "count").iter_rows())
    return [(at * wide, int(counts.get(at, 0))) for at in range(max(counts) + 1)]
