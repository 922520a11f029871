"""Clean and mask: from raw cells to the call as it may be stored. Nothing after this step sees personal data.

The two functions on one text live in `data_contracts`, since the service must treat a call exactly as training did.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from data_contracts.personal import Masked, mask, mask_cell
from data_contracts.transcript import clean, shorten
from tasks import columns, cores, quality, turns
from tasks.moments import moment

if TYPE_CHECKING:
    import polars as pl

OPTIONAL = tuple(name for name in columns.CONTRACT if name != "turns")
_TRUE = ("true", "1", "yes", "是")


class Prepared(NamedTuple):
    """Calls fit to be stored, what was masked by type, and how many ids were personal or texts too long.

    Columns: row, problem, `turns.TOLD`, conversation_id, has_id, customer (digest), input_text, complaint_category, confidence_score
    (text), started_at (ISO), bad_started_at, ended_at (ISO), bad_ended_at, channel, region, channel_personal,
    region_personal, synthetic, damage, annotator (digest), and what `quality.measure` says of the text as it came.
    """

    frame: "pl.DataFrame"
    masked: dict[str, int]
    personal_ids: int
    shortened: int


def prepare_all(parts: Iterable["pl.DataFrame"], max_chars: int, processes: int) -> Prepared:
    """Every part that `ingest.read` gave, prepared; the same whatever the parts and the number of processes."""
    import polars as pl

    frames: list[pl.DataFrame] = []
    masked: Counter[str] = Counter()
    personal_ids = shortened = 0
    for part in cores.in_order(partial(prepare, max_chars=max_chars), parts, processes):
        frames.append(part.frame)
        masked.update(part.masked)
        personal_ids += part.personal_ids
        shortened += part.shortened
    return Prepared(pl.concat(frames), dict(masked), personal_ids, shortened)


def prepare(raw: "pl.DataFrame", max_chars: int) -> Prepared:
    """Clean and mask every text of one part; ids of people become digests."""
    import polars as pl

    flat = turns.flattened(raw)
    kinds = dict.fromkeys(OPTIONAL, pl.String()) | dict.fromkeys(turns.TOLD, pl.Float64())
    frame = flat.with_columns(
        pl.lit(None, kind).alias(name) for name, kind in kinds.items() if name not in flat.columns
    )
    texts, masked, shortened = _texts(frame["input_text"], max_chars)
    ids, personal_ids = _ids(frame["conversation_id"])
    moments = [column for name in ("started_at", "ended_at") for column in _moments(frame[name])]
    frame = frame.with_columns(
        pl.Series("damage", frame["input_text"].str.contains("\ufffd", literal=True).replace(False, None)),
        pl.Series("has_id", ids.is_not_null()),
        *moments,
        pl.Series("customer", [digest(v) if v else None for v in frame["customer_id"]], pl.String),
        pl.Series("annotator", [digest(v) if v else None for v in frame["annotator"]], pl.String),
        pl.Series("synthetic", frame["synthetic"].str.to_lowercase().is_in(_TRUE).fill_null(False)),
        *(field for name in ("channel", "region") for field in _short(frame[name])),
    )
    named = ids.zip_with(
        ids.is_not_null(), pl.Series("conversation_id", [f"text-{digest(t)}" if t else None for t in texts], pl.String)
    )
    measured = quality.measure(frame["input_text"])
    whole = frame.drop("customer_id").with_columns(texts, named, *measured.get_columns())
    return Prepared(whole, masked, personal_ids, shortened)


def digest(text: str) -> str:
    """Sixteen hex digits that stand for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _texts(series: "pl.Series", max_chars: int) -> tuple["pl.Series", dict[str, int], int]:
    import polars as pl

    counts: Counter[str] = Counter()
    texts: list[str | None] = []
    shortened = 0
    for value in series:
        whole = mask(clean(value)) if value else Masked("", {})
        counts.update(whole.counts)
        texts.append(shorten(whole.text, max_chars) or None)
        shortened += len(whole.text) > max_chars
    return pl.Series("input_text", texts, pl.String), dict(counts), shortened


def _ids(series: "pl.Series") -> tuple["pl.Series", int]:
    """Conversation ids; one that is or holds personal data becomes a digest."""
    import polars as pl

    ids: list[str | None] = []
    replaced = 0
    for value in series:
        is_personal = bool(value) and bool(mask_cell(value).counts)
        ids.append(f"id-{digest(value)}" if is_personal else value)
        replaced += is_personal
    return pl.Series("conversation_id", ids, pl.String), replaced


def _short(series: "pl.Series") -> tuple["pl.Series", "pl.Series"]:
    """A metadata column, masked, and where it held personal data."""
    import polars as pl

    known = {value: mask_cell(value) for value in series.unique() if value is not None}
    values = [known[v].text if v is not None else None for v in series]
    personal = [True if v is not None and known[v].counts else None for v in series]
    return pl.Series(series.name, values, pl.String), pl.Series(f"{series.name}_personal", personal, pl.Boolean)


def _moments(series: "pl.Series") -> tuple["pl.Series", "pl.Series"]:
    """A column of times as ISO 8601, and where a cell was none."""
    import polars as pl

    moments = pl.Series(series.name, [moment(value) for value in series], pl.String)
    return moments, (series.is_not_null() & moments.is_null()).replace(False, None).alias(f"bad_{series.name}")


__all__ = ["Masked", "Prepared", "clean", "digest", "mask", "prepare"]
