"""The turns of a call, as platforms write them, as one text."""

import json
from typing import TYPE_CHECKING

from data_contracts.schema import SPEAKER_ZH, Speaker
from tasks.columns import PROBLEM, Problem

if TYPE_CHECKING:
    import polars as pl

SPEAKERS: dict[str, Speaker] = {
    **dict.fromkeys(("customer", "user", "client", "caller", "客户", "用户", "来电"), "customer"),
    **dict.fromkeys(("agent", "assistant", "operator", "staff", "客服", "坐席", "座席", "话务员"), "agent"),
}


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
