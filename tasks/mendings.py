"""What may be written otherwise without a change of meaning, cell by cell. Nothing is guessed: what may mean two things stays."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from data_contracts.transcript import FOLD
from tasks import json_text
from tasks.moments import moment

LONGEST = 64  # characters of a moment
WHOLE = re.compile(r"\d{1,15}\.0+")
_TEXT_FORMULA = re.compile(r'="((?:[^"]|"")*)"')
_PERCENT = re.compile(r"(\d{1,3}(?:[.,]\d{1,6})?) ?%")
_COMMA = re.compile(r"[01],\d{1,2}|0,\d{4,9}")  # 0,950 might be 950 to somebody
_EPOCH = re.compile(r"\d{10}(\d{3})?(\.0{1,9})?")
_SECONDS = range(946_684_800, 4_102_444_800)  # 2000 to 2099
_FORMS = (
    "%Y%m%d",
    "%Y%m%d%H%M%S",
    "%Y%m%d %H:%M:%S",
    "%Y%m%d %H%M%S",
    "%Y-%m-%d %I:%M:%S %p",
    "%Y/%m/%d %I:%M:%S %p",
    "%Y/%m/%d %I:%M %p",
    "%Y年%m月%d日 %H时%M分",
    "%Y年%m月%d日 %H时%M分%S秒",
    "%d %b %Y %H:%M:%S",
    "%d %b %Y",
)


class Mending(NamedTuple):
    """What was done to a cell (a code of `data_contracts.messages`), and what stands there now."""

    code: str
    after: str


class Known(NamedTuple):
    """What only a whole file tells: labels that mean a key, and id columns whose every id ends in the same `.0`."""

    spellings: Mapping[str, str]
    whole: frozenset[str]


def cell(name: str, value: str, known: Known) -> list[Mending]:
    """The mendings of a cell of a column of the contract, each of what the one before made."""
    plain = bare(value)
    done = [Mending("mended_formula", plain)] if plain != value else []
    own = _own(name, plain, known)
    return [*done, own] if own and own.after != plain else done


def bare(value: str) -> str:
    """The text that Excel's way to keep leading zeros stands for."""
    while match := _TEXT_FORMULA.fullmatch(value.strip()):
        value = match.group(1).replace('""', '"')
    return value


def turns(value: str) -> tuple[str, int] | None:
    """A list of turns, as JSON, without its empty ones, the others as they are written, and how many were empty; None
    where nothing is to do."""
    try:
        listed = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(listed, list) or not spoken(listed):
        return None
    kept = [part for part, turn in zip(json_text.elements(value), listed, strict=True) if not _is_silent(turn)]
    return f"[{', '.join(kept)}]", len(listed) - len(kept)


def spoken(listed: list[object]) -> list[object] | None:
    """The turns in which something is said, if that is some of them and not all."""
    kept = [turn for turn in listed if not _is_silent(turn)]
    return kept if 0 < len(kept) < len(listed) else None


def _is_silent(turn: object) -> bool:
    if not isinstance(turn, dict) or not {"speaker", "role"} & turn.keys():
        return False
    text = turn.get("text", turn.get("content", ""))
    return text is None or (isinstance(text, str) and not text.strip())


def _own(name: str, value: str, known: Known) -> Mending | None:
    if name == "complaint_category":
        key = known.spellings.get(value)
        return Mending("mended_category", key) if key else None
    if name in known.whole and WHOLE.fullmatch(value.strip()):
        return Mending("mended_whole", value.strip().partition(".")[0])
    if name == "confidence_score":
        return _confidence(value.translate(FOLD).strip())
    if name in ("started_at", "ended_at"):
        return _moment(value.strip()) if len(value.strip()) <= LONGEST else None
    return None


def _confidence(text: str) -> Mending | None:
    """A share as 0.95. A bare 95 may be anything."""
    percent = _PERCENT.fullmatch(text)
    if percent:
        share = Decimal(percent.group(1).replace(",", ".")) / 100
        return Mending("mended_confidence", f"{share.normalize():f}") if share <= 1 else None
    if _COMMA.fullmatch(text):
        return Mending("mended_confidence", text.replace(",", "."))
    return Mending("mended_confidence", text) if re.fullmatch(r"[01](\.\d{1,9})?", text) else None


@lru_cache(maxsize=4_096)
def _moment(text: str) -> Mending | None:
    """A moment as ISO 8601. Days before months, and days as Excel counts them, may mean two things."""
    if not text or moment(text):
        return None
    folded = text.translate(FOLD)
    found = moment(folded) or _epoch(folded) or _formed(folded)
    return Mending("mended_moment", found) if found else None


def _epoch(text: str) -> str | None:
    match = _EPOCH.fullmatch(text)
    seconds = int(text[:10]) if match else 0
    if not match or seconds not in _SECONDS:
        return None
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=int(match[1] or 0) * 1000)
    return moment.isoformat()


def _formed(text: str) -> str | None:
    if text.isdigit() and len(text) not in (8, 14):  # each part of two digits, or it may be read in two ways
        return None
    for form in _FORMS:
        try:
            moment = datetime.strptime(text, form)
        except ValueError:
            continue
        return moment.isoformat() if 2000 <= moment.year < 2100 else None
    return None
