"""The columns of a submitted file under the contract's names, and every cell as plain text."""

import difflib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data_contracts import personal
from data_contracts.errors import ContractViolation, WrongRequest
from data_contracts.messages import told
from data_contracts.transcript import CONTROLS, FOLD, SPACES, ZERO_WIDTH

if TYPE_CHECKING:
    import polars as pl

ROW, PROBLEM = "row", "problem"
RAW_ROW, RAW_PROBLEM = "\0row", "\0problem"  # before renaming; a file may have columns `row` and `problem` of its own
CONTRACT = (
    "conversation_id",
    "customer_id",
    "turns",
    "input_text",
    "complaint_category",
    "confidence_score",
    "started_at",
    "ended_at",
    "channel",
    "region",
    "synthetic",
    "annotator",
)
TEXTS = ("input_text", "turns")
ALIASES = {"text": "input_text"}  # taken without --map
NOTHING = ("nan", "<na>", "none", "null", "n/a", "#n/a", "nil", "\\n")  # how programs write an empty cell
MAX_ID_CHARS, MAX_NAME_CHARS = 200, 24
UNSEEN = {**ZERO_WIDTH, **CONTROLS, **dict.fromkeys(range(0x2066, 0x206A))}
_UNSEEN = "[" + "".join(map(re.escape, map(chr, UNSEEN))) + "]"
_ROUNDED = r"^-?\d(\.\d+)?[eE]\+\d+$"
FIRST_S, LAST_S = -62_135_596_800, 253_402_300_799  # the years 1 and 9999
EXACT, EXACT_32 = 2.0**53, 2.0**24  # from here on a float of 64, or 32, bits stands for several whole numbers


class Problem(NamedTuple):
    """Why a record has no readable shape; `text` is how it stands in the table."""

    code: str
    detail: str = ""

    @property
    def text(self) -> str:
        return f"{self.code}|{self.detail}"


def plain(value: object, exact: float = EXACT) -> str | None:
    """A cell as text: whole numbers without a decimal point as far as a float is exact, structures as JSON, empty and NaN as null."""
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, str):
        return _whole(value) if value.strip() else None
    if isinstance(value, bytes):  # Parquet text that was never said to be text
        return plain(value.decode("utf-8", "replace"))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value)) if abs(value) < exact else f"{value:.16e}"
    return _whole(_json(value) if isinstance(value, (list, dict)) else str(value))


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:
        return "[…]"


def _whole(text: str) -> str:
    """The text, half a surrogate pair (an export that was cut) as U+FFFD, which the contract finds row by row."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def as_text(series: "pl.Series") -> "pl.Series":
    """A Parquet column as text, by the same rules."""
    import polars as pl

    if series.dtype == pl.String:
        return series.replace("", None)
    if series.dtype.is_integer():
        return series.cast(pl.String)
    if series.dtype.is_temporal():
        number = series.to_physical()
        is_known = number.is_between(*_known(series.dtype))  # beyond, Polars ends the process
        text = series.set(~is_known, None)
        text = text.dt.to_string("iso:strict") if series.dtype != pl.Date else text.cast(pl.String)
        return text.fill_null(number.set(is_known, None).cast(pl.String))
    exact = EXACT_32 if series.dtype == pl.Float32 else EXACT
    return pl.Series(series.name, [plain(value, exact) for value in series.to_list()], pl.String)


def _known(kind: "pl.DataType") -> tuple[int, int]:
    """The numbers that stand for a moment before the year 10000, or for a duration; none of others may be written as a date."""
    import polars as pl

    if not isinstance(kind, (pl.Date, pl.Datetime)):
        return -(2**63), 2**63 - 1
    per_s = {"ms": 10**3, "us": 10**6, "ns": 10**9}[kind.time_unit] if isinstance(kind, pl.Datetime) else 1
    first, last = (FIRST_S, LAST_S) if isinstance(kind, pl.Datetime) else (FIRST_S // 86_400, LAST_S // 86_400)
    return max(first * per_s, -(2**63)), min(last * per_s, 2**63 - 1)


def checked_header(names: list[str], path: Path) -> list[str]:
    """The header of a CSV, or a refusal that names what is twice in it."""
    if not any(names):
        raise ContractViolation(told("header_missing", path=path))
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ContractViolation(told("column_twice", path=path, name=shown(twice[0])))
    return [name or _numbered(at, names) for at, name in enumerate(names, start=1)]


def _numbered(at: int, names: Collection[str]) -> str:
    """What a column without a name is called; none of the others is called so."""
    name = f"column {at}"
    while name in names:
        name += "_"
    return name


def tidy(name: str) -> str:
    """A column's name without spaces around it, byte order marks and other characters that nobody sees."""
    return name.translate({**UNSEEN, **SPACES}).strip()


def meant(name: str) -> str:
    """The contract's name that a column's name stands for, whatever its case, width and spaces; else the name, folded."""
    folded = re.sub(r"[ -]", "_", name.translate(FOLD).strip().casefold())
    return ALIASES.get(folded, folded)


def is_readable(name: str, mapping: Mapping[str, str]) -> bool:
    """Whether the contract, or the mapping, asks for the column."""
    return meant(name) in CONTRACT or name in mapping.values()


def names_text(names: Iterable[str]) -> bool:
    """Whether one of the columns is the contract's text."""
    return any(meant(name) in TEXTS for name in names)


def text_columns(mapping: Mapping[str, str]) -> frozenset[str]:
    """The names under which a file may have its flat text."""
    return frozenset(("input_text", *ALIASES, *(c for name, c in mapping.items() if meant(name) == "input_text")))


def under_contract(
    parts: "Iterable[pl.DataFrame]", sources: Mapping[str, str], categories: Collection[str]
) -> "Iterator[pl.DataFrame]":
    """The recognised columns under their contract names, part by part.

    Args:
        sources: contract name to column of the file.
        categories: words that are a category, not an empty cell.
    """
    return (_picked(part, sources, categories) for part in parts)


def _picked(part: "pl.DataFrame", sources: Mapping[str, str], categories: Collection[str]) -> "pl.DataFrame":
    import polars as pl

    def text(name: str, column: str) -> "pl.Expr":
        cell = pl.col(column) if column in part.columns else pl.lit(None, pl.String)
        cell = (cell if name in TEXTS else cell.str.replace_all(_UNSEEN, "")).str.strip_chars()
        words = [w for w in NOTHING if name != "complaint_category" or w not in {c.lower() for c in categories}]
        return pl.when(cell.str.to_lowercase().is_in(["", *words])).then(None).otherwise(cell).alias(name)

    ids = [name for name in ("conversation_id", "customer_id") if name in sources]
    picked = part.select(
        pl.col(RAW_ROW).alias(ROW),
        pl.col(RAW_PROBLEM).alias(PROBLEM),
        *(text(name, column) for name, column in sources.items()),
    )
    wrong = [
        pl.when(bad(pl.col(name))).then(pl.lit(f"{code}|{name}"))
        for name in ids
        for code, bad in (("rounded_id", _is_rounded), ("id_too_long", _is_too_long))
    ]
    return picked.with_columns(
        pl.coalesce(PROBLEM, *wrong).alias(PROBLEM),
        *(pl.when(~_is_too_long(pl.col(name))).then(pl.col(name)).alias(name) for name in ids),
    )


def _is_rounded(cell: "pl.Expr") -> "pl.Expr":
    """13812345678 as Excel shows it, 1.38E+10, or a whole number too large for the float that held it: what it was is lost."""
    return cell.str.contains(_ROUNDED)


def _is_too_long(cell: "pl.Expr") -> "pl.Expr":
    return cell.str.len_chars() > MAX_ID_CHARS


def shown(name: str) -> str:
    """A column name that may stand in a message: masked and short, since a file without a header has data there."""
    masked = personal.mask_cell(name).text
    return repr(masked if len(masked) <= MAX_NAME_CHARS else masked[:MAX_NAME_CHARS] + "…").replace("|", "¦")


def is_name(name: str) -> bool:
    """Whether a column may be called so; what a person said has marks of its own, is long, or names somebody."""
    is_short = len(name) <= MAX_NAME_CHARS
    return is_short and not any(c in "，。？！；" for c in name) and personal.mask_cell(name).text == name


def unread(names: Sequence[str], sources: Mapping[str, str]) -> list[str]:
    """The columns that no name of the contract stands for, as they may be shown: by number where the name looks like data."""
    read = {*sources.values()}
    return [
        shown(name) if is_name(name) else f"column {at}" for at, name in enumerate(names, start=1) if name not in read
    ]


def sources(names: Sequence[str], mapping: Mapping[str, str], path: Path) -> dict[str, str]:
    """Contract name to column of the file.

    Raises:
        WrongRequest: the mapping names what neither the contract nor the file has, or one thing twice.
        ContractViolation: two columns stand for one of the contract's.
    """
    chosen: dict[str, str] = {}
    for name, column in mapping.items():
        target = ALIASES.get(name, name)
        if target not in CONTRACT:
            raise WrongRequest(told("map_unknown", name=name, column=column, allowed=", ".join(CONTRACT)))
        if column not in names:
            near = _near(column, names)
            code = "map_near_column" if near else "map_no_column"
            raise WrongRequest(told(code, name=name, column=column, path=path, names=listed(names), near=near))
        if target in chosen or column in chosen.values():
            twice = target if target in chosen else column
            raise WrongRequest(told("map_twice", given=f"{name}={column}", twice=twice))
        chosen[target] = column
    own = _own([name for name in names if name not in chosen.values()], chosen, path)
    found = own | chosen
    return {name: found[name] for name in CONTRACT if name in found}


def _own(names: Sequence[str], chosen: Mapping[str, str], path: Path) -> dict[str, str]:
    """The columns that need no mapping."""
    own: dict[str, str] = {}
    for column in sorted(names, key=lambda c: c in CONTRACT, reverse=True):  # an exact name before an alike one
        target = meant(column)
        if target not in CONTRACT or target in chosen or (target in own and own[target] in CONTRACT):
            continue
        if target in own:
            alike = {"one": shown(own[target]), "other": shown(column), "name": target}
            raise ContractViolation(told("columns_alike", path=path, **alike))
        own[target] = column
    return own


def listed(names: Sequence[str]) -> str:
    """Column names as a message lists them."""
    some = ", ".join(shown(c) for c in names[:12])
    return some + (f", … (+{len(names) - 12})" if len(names) > 12 else "")


def _near(name: str, columns: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, columns, n=1, cutoff=0.6)
    return shown(close[0]) if close else ""
