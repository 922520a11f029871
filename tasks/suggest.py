"""Which columns of a foreign file are meant: by their names, else by what stands in them; as words ready to paste."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from data_contracts.messages import Said, told
from tasks import columns

LIKELY = {
    "input_text": (
        *("transcript", "content", "dialogue", "dialog", "sentence", "review", "message", "utterance", "comment"),
        *("文本", "内容", "通话内容", "通话文本", "对话", "对话内容", "转写", "转写文本", "录音文本", "正文", "评论"),
    ),
    "complaint_category": (
        *("category", "label", "class", "target", "intent", "tag"),
        *("类别", "标签", "分类", "投诉类别", "投诉类型", "投诉分类", "类型", "业务类型"),
    ),
    "conversation_id": (
        *("id", "call_id", "session_id", "record_id"),
        *("会话编号", "会话id", "通话编号", "通话id", "录音编号", "工单号", "工单编号", "流水号", "编号"),
    ),
    "customer_id": ("user_id", "uid", "client_id", "客户编号", "客户id", "用户编号", "用户id"),
    "started_at": (
        *("start_time", "call_time", "timestamp", "datetime", "date", "time"),
        *("通话时间", "开始时间", "来电时间", "通话开始时间", "时间", "日期"),
    ),
    "channel": ("渠道", "来源"),
    "region": ("province", "city", "地区", "区域", "省份", "城市"),
    "confidence_score": ("confidence", "score", "置信度"),
    "annotator": ("labeler", "labeller", "标注员", "标注人"),
}
NEEDED = ("input_text", "complaint_category")
MIN_TEXT_CHARS, MAX_CATEGORY_CHARS = 6, 32
Sample = Sequence[Mapping[str, object]]


def missing(
    names: Sequence[str],
    sources: Mapping[str, str],
    sample: Callable[[], Sample],
    path: Path,
    wanted: Sequence[str] = NEEDED,
) -> Said | None:
    """What to say of a file that lacks a needed column, or None.

    Args:
        sample: gives some records, with every column.
    """
    lacks = [n for n in wanted if n not in sources and (n != "input_text" or "turns" not in sources)]
    if not lacks:
        return None
    lacking = ", ".join(map(repr, lacks))
    if not all(columns.is_name(name) for name in names):
        return told("header_is_call", path=path, lacking=lacking)
    found = suggest(names, sources, sample())
    pairs = {name: found.get(name, "COLUMN") for name in (*lacks, *found)}
    option = ",".join(f"{name}={column}" for name, column in pairs.items())
    ready = option if _is_plain(option) else shlex.quote(option)
    return told("column_missing", path=path, lacking=lacking, names=columns.listed(names), option=ready)


def suggest(names: Sequence[str], sources: Mapping[str, str], sample: Sample) -> dict[str, str]:
    """Contract name to the column that most likely is it, for what `sources` lacks."""
    found: dict[str, str] = {}
    left = [name for name in names if name not in sources.values()]
    for name, words in LIKELY.items():
        by_word = {columns.meant(column): column for column in left if column not in found.values()}
        likely = next((by_word[word] for word in words if word in by_word), None)
        if name not in sources and likely and not (name == "input_text" and "turns" in sources):
            found[name] = likely
    left = [name for name in left if name not in found.values()]
    texts = {name: [str(r[name]).strip() for r in sample if r.get(name) not in (None, "")] for name in left}
    if not {"input_text", "turns"} & {*sources, *found} and (text := _longest(texts)):
        found["input_text"] = text
        del texts[text]
    if "complaint_category" not in {*sources, *found} and (category := _fewest(texts)):
        found["complaint_category"] = category
    return found


def _longest(texts: Mapping[str, Sequence[str]]) -> str | None:
    lengths = {name: sum(map(len, cells)) / len(cells) for name, cells in texts.items() if cells}
    best = max(lengths, key=lambda name: lengths[name], default=None)
    return best if best and lengths[best] >= MIN_TEXT_CHARS else None


def _fewest(texts: Mapping[str, Sequence[str]]) -> str | None:
    """The column of short values that repeat most."""
    distinct = {
        name: len(set(cells)) for name, cells in texts.items() if cells and max(map(len, cells)) <= MAX_CATEGORY_CHARS
    }
    repeated = {name: n for name, n in distinct.items() if 2 * n <= len(texts[name])}
    return min(
        repeated, key=lambda name: repeated[name], default=next(iter(distinct), None) if len(distinct) == 1 else None
    )


def _is_plain(option: str) -> bool:
    """Whether a shell takes it as it is; letters of every script are."""
    return all(c.isalnum() or c in "_=,.-" for c in option)
