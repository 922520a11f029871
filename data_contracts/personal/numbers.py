"""Identity numbers, bank cards, mobile and landline numbers, however they were dictated.

A text is read once into rows: digits with nothing between them but spaces, signs, fillers, the listener's "嗯" or a turn that
repeats what was said. A number begins and ends where a group of digits does, so each place of a row is looked at once.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from data_contracts.personal import cues
from data_contracts.personal.found import Found
from data_contracts.personal.spoken import DIGIT, plain
from data_contracts.personal.turns import LISTENED

LONG_ROW = 64  # digits; in a longer row only numbers in groups of three and more are looked for: it is no dictation
_SIGN = r"[ \-—－–·.,，、。…/()）]"
_FILLER = (
    r"(?:[嗯啊呃额哦诶哎对再是杠]|横杠|那个|这个|然后|就是|接着|接下来|完了|(?:电话|号码|座机)(?:号码)?|(?:开头|打头)的?"
    r"|(?:中间|后面|最后|末尾|后边|前面)(?:的?[四三八٤٣٨]位)?(?:数字?)?)"
)
_WITHIN = rf"(?:{_SIGN}{{1,2}}+(?:{_FILLER}{_SIGN}{{0,2}}+){{0,4}}+|(?:{_FILLER}{_SIGN}{{0,2}}+){{1,4}}+)"
_TURN = rf"(?:(?:最后一?位?是?)?(?:大写的?|大)?[xX×叉])?+{LISTENED}(?:{_FILLER}|{_SIGN}){{0,5}}+"
_SAID = rf"{DIGIT}(?:(?<=[2-6٢-٦])个{DIGIT}|(?!个{DIGIT}))"  # 三个八 is 888
_ROW = re.compile(rf"{_SAID}(?:{_SAID})*+(?:(?:{_WITHIN}|{_TURN})?(?:{_SAID})++)*+")
_ENOUGH = re.compile(rf"{DIGIT}(?:[^0-9٠-٩\n]{{0,9}}+(?:\n[^0-9٠-٩\n]{{0,12}}+){{0,2}}{DIGIT}){{6}}")
_GROUP = re.compile(r"[2-6٢-٦]个[0-9٠-٩]|(?:[0-9](?!个[0-9٠-٩]))++|(?:[٠-٩](?!个[0-9٠-٩]))++")
# A spoken number may run into the next word: …七八一共, …七八三天.
_NEXT_WORD = re.compile(
    r"[١](?:起|共|下|直|样|定|些|点|般|会|旦|切|再|律|并|向|时|年|月|天|次|个|块)|[٠-٩][个天次块年月分点条张位万千百十]"
)
_X = re.compile(
    rf"(?:{_WITHIN})?+(?:一?个)?(?:大写的?|小写的?|大|小|英文的?|字母的?){{0,2}}(?:[xX×叉]|[艾爱]克斯)(?![A-Za-z0-9])"
)
_EXTENSION = re.compile(
    rf"[ ，,]?(?:再?转(?:接|分机)?号?|分机号?)(?:是|为)?[ ：:]?{DIGIT}{{1,6}}|[-—－杠]{DIGIT}{{1,4}}(?!{DIGIT})"
)

_ID = re.compile(
    r"(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3])\d{4}(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}"
)
_OLD_ID = re.compile(
    r"(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5])\d{4}\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}"
)
_LANDLINE = re.compile(r"(?:86)?0(?:10|2\d|[3-9]\d\d)[2-8]\d{6,7}|86(?:10|2\d|[3-9]\d\d)[2-8]\d{6,7}")
_CARD_PREFIX = re.compile(r"(?:[3-6]|9558)\d{12,18}(?<=\d{16})$|3[47]\d{13}$")
_LOCAL_CUE = re.compile(r"(?:座机|固话|固定电话|电话|家里的?)[号码]{0,2}(?:是|为|就是)?[:：，, 嗯啊呃]{0,3}$")
_LOCAL_AFTER = re.compile(r"(?:这个|的|是我)?(?:家里?的?)?(?:固话|座机|固定电话)")
_CARD_WORD = re.compile(r"[卡行账到]")
_MORE = re.compile(r"[ \-—]?\d")
_DATE = re.compile(r"20[0-3]\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])$")


Group = tuple[int, int]


class Row(NamedTuple):
    """Groups of digits one after another, said by one speaker; `offsets`: the digits before each group, and all."""

    groups: list[Group]
    digits: str
    offsets: list[int]


def find(text: str) -> Iterator[Found]:
    """Numbers of people in a text of digits (`spoken.digits`), in no order, without overlaps."""
    if not _ENOUGH.search(text):
        return
    for match in _ROW.finditer(text):
        if match.end() - match.start() > 6:
            yield from _in_dictation(text, match.start(), match.end())


def _in_dictation(text: str, start: int, end: int) -> Iterator[Found]:
    """Each speaker's digits are a row of their own, so that an agent who repeats them does not break the number."""
    by_speaker = _groups(text, start, end)
    if len(by_speaker) == 1:
        return _in_row(text, _row(text, *by_speaker.values()))
    found = [piece for groups in by_speaker.values() for piece in _in_row(text, _row(text, groups))]
    everything = sorted(group for groups in by_speaker.values() for group in groups)
    return iter(_with_echoes(text, found, everything) if found else [*_in_row(text, _row(text, everything))])


def _groups(text: str, start: int, end: int) -> dict[str, list[Group]]:
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


def _row(text: str, groups: list[Group]) -> Row:
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


def _in_row(text: str, row: Row) -> Iterator[Found]:
    at, count = 0, len(row.groups)
    is_long = len(row.digits) > LONG_ROW
    while at < count:
        hit = None
        if not is_long or at + 3 > count or row.offsets[at + 3] - row.offsets[at] >= 9:
            hit = _at(text, row, at, is_long)
        at = hit[1] if hit else at + 1
        if hit:
            yield hit[0]


def _at(text: str, row: Row, at: int, is_long: bool) -> tuple[Found, int] | None:
    """The number that begins with group `at`, and the group after it; at one place the longer kind wins."""
    offset = row.offsets[at]
    for kind, form, lengths, ends in _BY_FIRST[row.digits[offset]]:
        if not form.match(row.digits, offset):
            continue
        for length in lengths:
            most = length // 3 if is_long else length
            past = bisect_left(row.offsets, offset + length, at)
            if past == len(row.offsets) or row.offsets[past] != offset + length or (past - at > most):
                continue
            groups = row.groups[at:past]
            end = ends(row.digits[offset : offset + length], text, groups[0][0], groups[-1][1])
            if end:
                return Found(kind, _spans(text, groups, end)), past
    return None


def _spans(text: str, groups: list[Group], end: int) -> tuple[Group, ...]:
    """One span a line, so that every turn keeps its line."""
    start = groups[0][0]
    before = text[start - 1 : start]
    if start and (before in "+(" or (before == "加" and plain(text[start : start + 2]) == "86")):
        start -= 1
    spans = [(start, groups[0][1])]
    for first, past in groups[1:]:
        if "\n" in text[spans[-1][1] : first]:
            spans.append((first, past))
        else:
            spans[-1] = (spans[-1][0], past)
    spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
    return tuple(spans)


def _with_echoes(text: str, found: list[Found], groups: list[Group]) -> list[Found]:
    """What the other speaker repeats of a number belongs to it; a number repeated whole is the same piece."""
    pieces: list[Found] = []
    for piece in sorted(found, key=lambda f: f.start):
        if pieces and piece.start < pieces[-1].end:  # said in between: the listener's echo
            pieces[-1] = Found(pieces[-1].kind, tuple(sorted({*pieces[-1].spans, *piece.spans})))
        else:
            pieces.append(piece)
    taken = [span for piece in pieces for span in piece.spans]
    for at, piece in enumerate(pieces):
        said = plain("".join(text[a:b] for a, b in piece.spans))
        is_id = piece.kind == "id_card"
        echoes = [
            (g[0], _past_x(text, g[1]) if is_id else g[1])
            for g in groups[bisect_left(groups, (piece.start, 0)) : bisect_left(groups, (piece.end, 0)) + 2]
            if not any(a <= g[0] < b for a, b in taken) and g[1] - g[0] > 1 and plain(text[g[0] : g[1]]) in said
        ]
        pieces[at] = Found(piece.kind, tuple(sorted({*piece.spans, *echoes})))
    return pieces


def _past_x(text: str, end: int) -> int:
    check = _X.match(text, end)
    return check.end() if check else end


def _id_end(number: str, text: str, start: int, end: int) -> int:
    if len(number) == 17:
        check = _X.match(text, end)
        number, end = f"{number}X", check.end() if check else 0
    if not end or not _is_birth_date(number[6:14]):
        return 0
    return end if _has_check_digit(number) or cues.nearest(cues.before(text, start)) == "id" else 0


def _old_id_end(number: str, text: str, start: int, end: int) -> int:
    is_told = cues.nearest(cues.before(text, start)) == "id"
    return end if is_told and _is_birth_date("19" + number[6:12]) else 0


@lru_cache(maxsize=4096)
def _has_check_digit(number: str) -> bool:
    from stdnum.cn import ric

    return bool(ric.calc_check_digit(number) == number[17])


def _is_birth_date(digits: str) -> bool:
    try:
        return 1900 <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year <= 2100
    except ValueError:
        return False


def _card_end(number: str, text: str, start: int, end: int) -> int:
    is_likely = bool(_CARD_PREFIX.match(number)) and _passes_luhn(number)
    said = cues.before(text, start)
    if not is_likely and not _CARD_WORD.search(said):
        return 0
    cue = cues.nearest(said)
    if not is_likely and (cue != "card" or len(number) == 15):
        return 0
    return 0 if cues.is_no_persons(text, start, end, said, cue) else end


@lru_cache(maxsize=4096)
def _passes_luhn(number: str) -> bool:
    from stdnum import luhn

    return bool(luhn.is_valid(number))


def _mobile_end(number: str, text: str, start: int, end: int) -> int:
    said = cues.before(text, start)
    if cues.is_no_persons(text, start, end, said, cues.nearest(said)):
        return 0
    return _with_extension(text, end)


def _landline_end(number: str, text: str, start: int, end: int) -> int:
    said, end = cues.before(text, start), _with_extension(text, end)
    if number.startswith("86") and number[2] != "0" and text[start + 2].isdigit() and text[start - 1 : start] != "+":
        return 0  # without the 0 of the area code only with a sign: 86-571-87654321
    if not _has_area_code(number) or cues.is_no_persons(text, start, end, said, cues.nearest(said)):
        return 0
    return end


@lru_cache(maxsize=4096)
def _has_area_code(number: str) -> bool:
    """Whether the area code exists and the length fits it but for a digit misheard, by the plan that phonenumbers keeps."""
    import phonenumbers

    own = f"0{number.removeprefix('86').removeprefix('0')}"
    one_heard_less = (own, f"{own}0", own[:-1])
    return any(phonenumbers.is_valid_number(phonenumbers.parse(said, "CN")) for said in one_heard_less)


def _local_end(number: str, text: str, start: int, end: int) -> int:
    """Without an area code the words before it must say that it is a telephone's; 400 and 800 are companies'."""
    if _DATE.match(number) or (number[:3] in ("400", "800") and _MORE.match(text, end)):
        return 0
    is_told = _LOCAL_CUE.search(cues.before(text, start)) or _LOCAL_AFTER.match(text, end)
    return _with_extension(text, end) if is_told else 0


def _with_extension(text: str, end: int) -> int:
    extension = _EXTENSION.match(text, end)
    return extension.end() if extension else end


# Kind, how it begins, how many digits it may have, and where it ends in the text if it is one (else 0).
_Form = tuple[str, re.Pattern[str], tuple[int, ...], Callable[[str, str, int, int], int]]
_FORMS: tuple[_Form, ...] = (
    ("id_card", _ID, (18, 17), _id_end),
    ("id_card", _OLD_ID, (15,), _old_id_end),
    ("bank_card", re.compile(r"\d{15}"), (19, 18, 17, 16, 15), _card_end),
    ("mobile", re.compile(r"1[3-9]\d{9}"), (11,), _mobile_end),
    ("mobile", re.compile(r"01[3-9]\d{9}"), (12,), _mobile_end),
    ("mobile", re.compile(r"861[3-9]\d{9}"), (13,), _mobile_end),
    ("mobile", re.compile(r"00861[3-9]\d{9}"), (15,), _mobile_end),
    ("landline", _LANDLINE, (14, 13, 12, 11, 10), _landline_end),
    ("landline", re.compile(r"[2-8]\d{6}"), (8, 7), _local_end),
)
_FIRST = {"id_card": "12345678", "bank_card": "0123456789", "mobile": "018", "landline": "02345678"}
_BY_FIRST = {digit: tuple(form for form in _FORMS if digit in _FIRST[form[0]]) for digit in "0123456789"}
