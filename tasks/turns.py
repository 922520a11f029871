"""The turns of a call, as platforms write them, as one text."""

import json
from typing import TYPE_CHECKING

from data_contracts.schema import SPEAKER_ZH, Speaker
from tasks import turn_times
from tasks.columns import PROBLEM, Problem
from tasks.turn_times import Times

if TYPE_CHECKING:
    import polars as pl

SPEAKERS: dict[str, Speaker] = {
    **dict.fromkeys(("customer", "user", "client", "caller", "客户", "用户", "来电"), "customer"),
    **dict.fromkeys(("agent", "assistant", "operator", "staff", "客服", "坐席", "座席", "话务员"), "agent"),
}
TOLD = ("turn_unreadable", "turn_before_call", "turn_out_of_order", "turns_last_s")


def flattened(table: "pl.DataFrame") -> "pl.DataFrame":
    """`turns` as `input_text`, a line a turn, where a row has them; a row that has none keeps its `input_text`. What the times of the
    turns say (`turn_times.Times`) stands in the columns `TOLD`."""
    import polars as pl

    if "turns" not in table.columns:
        return table
    texts: list[str | None] = []
    problems: list[str | None] = []
    times: list[Times] = []
    begins = table["started_at"] if "started_at" in table.columns else [None] * table.height
    for value, begin in zip(table["turns"], begins, strict=True):
        text, problem, said_at = _dialogue(value, begin) if value is not None else (None, None, turn_times.NONE)
        texts.append(text)
        problems.append(problem.text if problem else None)
        times.append(said_at)
    table = table.with_columns(
        pl.Series(name, [each[at] for each in times], pl.Float64) for at, name in enumerate(TOLD)
    )
    flat, wrong = pl.Series("input_text", texts, pl.String), pl.Series(PROBLEM, problems, pl.String)
    flat = flat.zip_with(flat.is_not_null(), table["input_text"]) if "input_text" in table.columns else flat
    return table.drop("turns").with_columns(flat, pl.coalesce(PROBLEM, wrong).alias(PROBLEM))


def _dialogue(value: str, begin: str | None) -> tuple[str | None, Problem | None, Times]:
    try:
        turns = json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return None, Problem("bad_turns", "1"), turn_times.NONE
    lines: list[str] = []
    has_more = False
    for at, turn in enumerate(turns if isinstance(turns, list) else [None], start=1):
        speaker = (
            SPEAKERS.get(str(turn.get("speaker", turn.get("role"))).strip().lower()) if isinstance(turn, dict) else None
        )
        text = turn.get("text", turn.get("content")) if speaker else None
        if speaker is None or not isinstance(text, str | None):
            return None, Problem("bad_turns", str(at)), turn_times.NONE
        has_more = has_more or len(turn) > len(("speaker", "text"))
        lines.append(f"{SPEAKER_ZH[speaker]}：{' '.join((text or '').split())}")
    times = turn_times.read(turns, begin, sum(map(len, lines))) if has_more else turn_times.NONE
    return "\n".join(lines) or None, None, times
