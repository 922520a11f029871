"""The columns of a submitted file under the contract's names, and every cell as plain text."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data_contracts import personal
from data_contracts.errors import ConfigurationError, ContractViolation
from data_contracts.schema import SPEAKER_ZH, Speaker

if TYPE_CHECKING:
    from collections import deque

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
ALIASES = {"text": "input_text"}  # taken without --map
LIKELY = {  # only suggested
    "input_text": (
        "transcript",
        "content",
        "dialogue",
        "dialog",
        "sentence",
        "review",
        "message",
        "文本",
        "内容",
        "通话内容",
        "对话",
    ),
    "complaint_category": ("label", "category", "class", "target", "intent", "类别", "标签", "分类", "投诉类别"),
}
SPEAKERS: dict[str, Speaker] = {
    **dict.fromkeys(("customer", "user", "client", "caller", "客户", "用户", "来电"), "customer"),
    **dict.fromkeys(("agent", "assistant", "operator", "staff", "客服", "坐席", "座席", "话务员"), "agent"),
}


class Problem(NamedTuple):
    """Why a record has no readable shape; `text` is how it stands in the table."""

    code: str
    detail: str = ""

    @property
    def text(self) -> str:
        return f"{self.code}|{self.detail}"


def plain(value: object) -> str | None:
    """A cell as text: whole numbers without a decimal point, structures as JSON, empty and NaN as null."""
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, str):
        return _whole(value) if value.strip() else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return _whole(json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (list, dict)) else str(value))


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
        return series.dt.to_string("iso:strict") if series.dtype != pl.Date else series.cast(pl.String)
    return pl.Series(series.name, [plain(value) for value in series.to_list()], pl.String)


def checked_header(names: list[str], path: Path) -> list[str]:
    """The header of a CSV, or a refusal that names what is twice in it."""
    if not any(names):
        raise ContractViolation(f"{path} has no header; its first line must name the columns")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ContractViolation(f"{path}: column {shown(twice[0])} stands twice in the header; rename or remove one")
    return [name or f"column {at}" for at, name in enumerate(names, start=1)]


def readable(mapping: Mapping[str, str]) -> frozenset[str]:
    """Every column name that may be read from a file."""
    return frozenset((*CONTRACT, *ALIASES, *mapping.values()))


def under_contract(
    parts: "deque[pl.DataFrame]", names: Sequence[str], mapping: Mapping[str, str], path: Path
) -> "Iterator[pl.DataFrame]":
    """The recognised columns under their contract names, part by part; `parts` is emptied on the way.

    Args:
        names: the columns of the whole file.
    """
    sources = _sources(names, mapping, path)
    if "complaint_category" not in sources or not {"input_text", "turns"} & set(sources):
        raise ContractViolation(_missing(names, sources, path))
    return (_picked(parts.popleft(), sources) for _ in range(len(parts)))


def _picked(part: "pl.DataFrame", sources: Mapping[str, str]) -> "pl.DataFrame":
    import polars as pl

    def text(column: str) -> "pl.Expr":
        return pl.col(column) if column in part.columns else pl.lit(None, pl.String)

    return part.select(
        pl.col(RAW_ROW).alias(ROW),
        pl.col(RAW_PROBLEM).alias(PROBLEM),
        *(text(column).str.strip_chars().replace("", None).alias(name) for name, column in sources.items()),
    )


def flattened(table: "pl.DataFrame") -> "pl.DataFrame":
    """`turns` as `input_text`, a line a turn, where a row has them; a row that has none keeps its `input_text`."""
    import polars as pl

    if "turns" not in table.columns:
        return table
    texts: list[str | None] = []
    problems: list[str | None] = []
    for value in table["turns"].to_list():
        text, problem = _dialogue(value) if value is not None else (None, None)
        texts.append(text)
        problems.append(problem.text if problem else None)
    flat, wrong = pl.Series("input_text", texts, pl.String), pl.Series(PROBLEM, problems, pl.String)
    flat = flat.zip_with(flat.is_not_null(), table["input_text"]) if "input_text" in table.columns else flat
    return table.drop("turns").with_columns(flat, pl.coalesce(PROBLEM, wrong).alias(PROBLEM))


def shown(name: str) -> str:
    """A column name that may stand in a message: masked and short, since a file without a header has data there."""
    masked = personal.mask_cell(name).text
    return repr(masked if len(masked) <= 24 else masked[:24] + "…")


def _sources(columns: Sequence[str], mapping: Mapping[str, str], path: Path) -> dict[str, str]:
    """Contract name to column of the file."""
    for name, column in mapping.items():
        target = ALIASES.get(name, name)
        if target not in CONTRACT:
            raise ConfigurationError(
                f"--map {name}={column}: {name!r} is no column of the contract; allowed: {', '.join(CONTRACT)}"
            )
        if column not in columns:
            has = f"has no column {column!r}{_near(column, columns)}; it has {_names(columns)}"
            raise ConfigurationError(f"--map {name}={column}: {path} {has}")
    own = {ALIASES.get(c, c): c for c in columns if ALIASES.get(c, c) in CONTRACT}
    own |= {c: c for c in columns if c in CONTRACT}
    chosen = own | {ALIASES.get(name, name): column for name, column in mapping.items()}
    return {name: chosen[name] for name in CONTRACT if name in chosen}


def _missing(columns: Sequence[str], sources: Mapping[str, str], path: Path) -> str:
    needed = "complaint_category" if "complaint_category" not in sources else "input_text"
    likely = next((c for c in columns if c.lower() in LIKELY[needed]), None) or "COLUMN"
    return f"{path} has no column {needed!r}; it has {_names(columns)}. Say which column it is: --map {needed}={likely}"


def _names(columns: Sequence[str]) -> str:
    listed = ", ".join(shown(c) for c in columns[:12])
    return listed + (f" and {len(columns) - 12} more" if len(columns) > 12 else "")


def _near(name: str, columns: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, columns, n=1, cutoff=0.6)
    return f"; did you mean {shown(close[0])}?" if close else ""


def _dialogue(value: str) -> tuple[str | None, Problem | None]:
    try:
        turns = json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return None, Problem("bad_turns", "1")
    lines: list[str] = []
    for at, turn in enumerate(turns if isinstance(turns, list) else [None], start=1):
        speaker = (
            SPEAKERS.get(str(turn.get("speaker", turn.get("role"))).strip().lower()) if isinstance(turn, dict) else None
        )
        text = turn.get("text", turn.get("content")) if speaker else None
        if speaker is None or not isinstance(text, str | None):
            return None, Problem("bad_turns", str(at))
        lines.append(f"{SPEAKER_ZH[speaker]}：{' '.join((text or '').split())}")
    return "\n".join(lines) or None, None
