"""Digits as they are dictated: groups of them, one after another, said by one speaker or repeated by the other."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from data_contracts.personal.spoken import DIGIT, plain
from data_contracts.personal.turns import LISTENED

_SIGN = r"[ \-—－–·.,，、。…/()）]"
_FILLER = (
    r"(?:[嗯啊呃额哦诶哎对再是杠]|横杠|那个|这个|然后|就是|接着|接下来|完了|(?:电话|号码|座机)(?:号码)?|(?:开头|打头)的?"
    r"|(?:中间|后面|最后|末尾|后边|前面)(?:的?[四三八٤٣٨]位)?(?:数字?)?)"
)
WITHIN = rf"(?:{_SIGN}{{1,2}}+(?:{_FILLER}{_SIGN}{{0,2}}+){{0,4}}+|(?:{_FILLER}{_SIGN}{{0,2}}+){{1,4}}+)"
_TURN = rf"(?:(?:最后一?位?是?)?(?:大写的?|大)?[xX×叉])?+{LISTENED}(?:{_FILLER}|{_SIGN}){{0,5}}+"
_SAID = rf"{DIGIT}(?:(?<=[2-6٢-٦])个{DIGIT}|(?!个{DIGIT}))"  # 三个八 is 888
_ROW = re.compile(rf"{_SAID}(?:{_SAID})*+(?:(?:{WITHIN}|{_TURN})?(?:{_SAID})++)*+")
_ENOUGH = re.compile(rf"{DIGIT}(?:[^0-9٠-٩\n]{{0,9}}+(?:\n[^0-9٠-٩\n]{{0,12}}+){{0,2}}{DIGIT}){{6}}")
_GROUP = re.compile(r"[2-6٢-٦]个[0-9٠-٩]|(?:[0-9](?!个[0-9٠-٩]))++|(?:[٠-٩](?!个[0-9٠-٩]))++")
# A spoken number may run into the next word: …七八一共, …七八三天.
_NEXT_WORD = re.compile(
    r"[١](?:起|共|下|直|样|定|些|点|般|会|旦|切|再|律|并|向|时|年|月|天|次|个|块)|[٠-٩][个天次块年月分点条张位万千百十]"
)

Group = tuple[int, int]


class Row(NamedTuple):
    """Groups of digits one after another, said by one speaker; `offsets`: the digits before each group, and all."""

    groups: list[Group]
    digits: str
    offsets: list[int]


def found(text: str) -> Iterator[tuple[int, int]]:
    """Where somebody dictates digits enough for a number: start and end."""
    if not _ENOUGH.search(text):
        return
    for match in _ROW.finditer(text):
        if match.end() - match.start() > 6:
            yield match.span()


def groups(text: str, start: int, end: int) -> dict[str, list[Group]]:
    """The groups of digits of each speaker."""
    by_speaker: dict[str, list[Group]] = {}
    is_one_line = text.find("\n", start, end) < 0
    mine = by_speaker.setdefault("" if is_one_line else _speaker(text[text.rfind("\n", 0, start) + 1 : start]), [])
    last = start
    for match in _GROUP.finditer(text, start, end):
        first, past = match.span()
        if not is_one_line and "\n" in text[last:first]:
            mine = by_speaker.setdefault(_speaker(text[last:first].rpartition("\n")[2]), [])
        last = past
        if past - first > 1 and text[first] > "9" and _NEXT_WORD.match(text, past - 1):
            mine.append((first, past - 1))
            first = past - 1
        mine.append((first, past))
    return by_speaker


def _speaker(line: str) -> str:
    name = re.match(r"[^\n：:]{1,6}(?=[：:])", line)
    return name.group() if name else ""


def row(text: str, groups: list[Group]) -> Row:
    """Some groups of a text as one row."""
    parts, offsets, total = [], [0], 0
    for start, end in groups:
        said = text[start:end]
        part = said if said.isascii() and said.isdigit() else _counted(said)
        parts.append(part)
        total += len(part)
        offsets.append(total)
    return Row(groups, "".join(parts), offsets)


def _counted(said: str) -> str:
    """The digits that a group says: 三个八 is 888."""
    digits = plain(said)
    return digits[1] * int(digits[0]) if "个" in said else digits
