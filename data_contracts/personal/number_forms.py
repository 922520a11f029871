"""What a person's number looks like, kind by kind: how it begins, how long it is, and what must be true of it and around it."""

import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache

from data_contracts.personal import cues
from data_contracts.personal.dictation import WITHIN
from data_contracts.personal.spoken import DIGIT

_X = re.compile(
    rf"(?:{WITHIN})?+(?:一?个)?(?:大写的?|小写的?|大|小|英文的?|字母的?){{0,2}}(?:[xX×叉]|[艾爱]克斯)(?![A-Za-z0-9])"
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


def past_x(text: str, end: int) -> int:
    """Where an identity number ends that may have a spoken X as its check digit."""
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
BY_FIRST = {digit: tuple(form for form in _FORMS if digit in _FIRST[form[0]]) for digit in "0123456789"}
"""The forms that may begin with a digit, the longer kind first."""
