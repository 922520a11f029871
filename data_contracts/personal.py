"""Personal data in Chinese formats: found and replaced by masks that keep the type, 〔手机号〕 for a mobile number.

Digits may be ASCII or as speech recognition writes them (幺三八…, 一三八…), with spaces, dashes or commas between, or
split over turns. A number is masked for its form; where the form alone is too weak, for the words before it.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from data_contracts import surnames

MASKS = {
    "mobile": "〔手机号〕",
    "landline": "〔座机〕",
    "id_card": "〔身份证〕",
    "bank_card": "〔银行卡〕",
    "email": "〔邮箱〕",
    "plate": "〔车牌〕",
    "address": "〔地址〕",
    "name": "〔姓名〕",
}


class Masked(NamedTuple):
    """A text without personal data, and how many pieces of each type were in it."""

    text: str
    counts: dict[str, int]


class Found(NamedTuple):
    """One piece, as a span of the text it was found in."""

    kind: str
    start: int
    end: int


# Spoken digits become Arabic-Indic ones: `\d` matches both, and a change of script ends a number (13812345678一共).
SPOKEN = tuple(zip("零〇幺一二两三四五六七八九", "٠٠١١٢٢٣٤٥٦٧٨٩", strict=True))
WIDTH = {
    0xFEE0 + code: code for code in [*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B), *map(ord, "@+-.")]
}
TURN = r"[，,。]?\n客服：(?:嗯|好|好的|对|是|是的|继续|您继续|您说|请说)?[，,。]?\n客户：(?:然后|后面是|接着)?[，,]?"
SEP = rf"(?:[ \-—－·.,，、]{{1,2}}|{TURN})?"
START = r"(?:(?<![0-9])(?=[0-9])|(?<![٠-٩])(?=[٠-٩]))"
END = r"(?:(?<=[0-9])(?![0-9])|(?<=[٠-٩])(?![٠٢-٩]|١[٠-٩]))"
DENIED = re.compile(r"(?:订单|单号|工单|流水|编号|受理|案件|票号|快递|物流|运单|宽带账号)[号码]*(?:是|为|叫)?[:： ]?$")

_ANY_NUMBER = re.compile(r"\d(?:\D{0,2}\d){6}|\d[，,。]?\n客服：[^\n]{0,6}\n客户：\D{0,4}\d")
_WIDE = re.compile("[" + re.escape("".join(map(chr, WIDTH))) + "]")
_EMAIL = re.compile(
    r"[A-Za-z0-9٠-٩][A-Za-z0-9٠-٩._%+\-]*[ ]?(?:@|艾特)[ ]?[A-Za-z0-9٠-٩\-]+(?:[ ]?(?:\.|点)[ ]?[A-Za-z]{2,8})+",
    re.IGNORECASE,
)
_ID = re.compile(rf"{START}\d(?:{SEP}\d){{16}}{SEP}(?:\d|[xX叉])(?![0-9])")
_OLD_ID = re.compile(rf"{START}\d(?:{SEP}\d){{14}}{END}")
_CARD = re.compile(rf"{START}[3-6٣-٦](?:{SEP}\d){{14,18}}{END}")
_MOBILE = re.compile(rf"(?:(?<!\d)(?:\+|00)?(?:86|٨٦){SEP})?{START}[1١]{SEP}[3-9٣-٩](?:{SEP}\d){{9}}{END}")
_AREA = r"[0٠](?:[1١][0٠]|[2٢]\d|[3-9٣-٩]\d\d)"
_LANDLINE = re.compile(
    rf"(?:[(（]{_AREA}[)）]|{START}{_AREA}){SEP}[2-8٢-٨](?:{SEP}\d){{6,7}}{END}(?:(?:转|分机)\d{{1,5}})?"
)
_LOCAL = re.compile(rf"{START}[2-8٢-٨](?:{SEP}\d){{6,7}}{END}")
_PLATE = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][ ·\-]?"
    r"(?=[A-HJ-NP-Z]{0,2}[0-9٠-٩])(?:[A-HJ-NP-Z0-9٠-٩]{5,6}|[A-HJ-NP-Z0-9٠-٩]{4}[挂学警港澳])(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_NUMBER = r"[0-9٠-٩十百]{1,5}"
_UNIT = rf"(?:[，, ]?{_NUMBER}(?:号楼|栋|幢|座|单元|层|楼|室|号|户))"
_HAN = r"[\u4e00-\u9fff٠-٩]"
_PLACE = rf"(?:{_HAN}{{2,7}}(?:省|自治区))?(?:{_HAN}{{2,4}}市)?(?:{_HAN}{{1,6}}(?:区|县|镇|乡))?"
_ROOM = r"[，, ]?[0-9٠-٩]{2,4}(?![0-9٠-٩年月日号块元点])"
_ADDRESS = re.compile(
    rf"{_PLACE}{_HAN}{{1,8}}?(?:大道|路|街|巷|弄|胡同|道)(?:[东西南北中]段)?{_NUMBER}(?:弄{_NUMBER})?号(?:院)?"
    rf"(?:{_HAN}{{2,8}}(?:小区|花园|家园|公寓|大厦|苑|城))?{_UNIT}*(?:{_ROOM})?"
    rf"|{_PLACE}{_HAN}{{1,8}}?(?:小区|花园|家园|公寓|新村|大厦|苑|城|府|里){_NUMBER}(?:号楼|栋|幢|座|号){_UNIT}*"
    rf"(?:{_UNIT}|{_ROOM})"
)
_ANY_ADDRESS = re.compile(rf"(?:[道路街巷弄同区园寓村厦苑城府里]|中段|[东西南北]段){_NUMBER}(?:弄|号|栋|幢|座)")
_LEAD = re.compile(
    r"^.*(?:客户：|客服：|住址是|地址是|地址|住在|家在|位于|送到|寄到|搬到|装在|就在|我在|是在|在|到|从|住|是|址)(?=.{3})",
    re.DOTALL,
)


def mask(text: str) -> Masked:
    """Replace every piece of personal data; a masked text comes back as it is."""
    folded = text.translate(WIDTH) if _WIDE.search(text) else text
    counts: dict[str, int] = {}
    digits = _digits(folded)
    for find in (_emails, _numbers, _plates, _addresses, _names):
        masked = _replace(folded, find(folded, digits), counts)
        if masked is not folded:
            folded, digits = masked, _digits(masked)
    return Masked(folded, counts)


def _digits(text: str) -> str:
    for spoken, digit in SPOKEN:  # five times as fast as `translate`
        text = text.replace(spoken, digit)
    return text


def _replace(text: str, pieces: Iterator[Found], counts: dict[str, int]) -> str:
    parts: list[str] = []
    at = 0
    for kind, start, end in pieces:
        if start >= at:
            parts += (text[at:start], MASKS[kind])
            at = end
            counts[kind] = counts.get(kind, 0) + 1
    return "".join([*parts, text[at:]]) if parts else text


def _emails(text: str, digits: str) -> Iterator[Found]:
    if "@" in text or "艾特" in text:
        yield from (Found("email", *m.span()) for m in _EMAIL.finditer(digits))


def _numbers(text: str, digits: str) -> Iterator[Found]:
    """Non-overlapping, in order; at one place the longer kind wins: ID, bank card, mobile, landline."""
    if not _ANY_NUMBER.search(digits):
        return
    found: list[Found] = []
    for kind, pattern, holds in _KINDS:
        for start, end in _matches(pattern, digits, holds):
            if all(end <= f.start or start >= f.end for f in found):
                found.append(Found(kind, start, end))
    yield from sorted(found, key=lambda f: f.start)


def _matches(pattern: re.Pattern[str], digits: str, holds: Callable[[str, str], bool]) -> Iterator[tuple[int, int]]:
    """Spans that match and hold; a span that does not hold gives its tail back to the search."""
    at = 0
    while match := pattern.search(digits, at):
        if holds(_plain(match.group()), digits[max(0, match.start() - 24) : match.start()]):
            yield match.span()
            at = match.end()
        else:
            at = match.start() + 1


def _plain(number: str) -> str:
    return "".join(str(int(c)) if c.isdigit() else "X" for c in number if c.isdigit() or c in "xX叉")


def _is_id(number: str, before: str) -> bool:
    from stdnum.cn import ric

    if not _is_birth_date(number[6:14]):
        return False
    return bool(ric.calc_check_digit(number) == number[17]) or "身份证" in before


def _is_old_id(number: str, before: str) -> bool:
    return "身份证" in before and _is_birth_date("19" + number[6:12])


def _is_birth_date(digits: str) -> bool:
    try:
        return 1900 <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year <= 2100
    except ValueError:
        return False


def _is_card(number: str, before: str) -> bool:
    from stdnum import luhn

    if DENIED.search(before) or (len(number) == 15 and number[:2] not in ("34", "37")):
        return False
    return bool(luhn.is_valid(number)) or bool(re.search(r"(?:卡号|银行卡|储蓄卡|信用卡|账号)", before))


def _is_mobile(number: str, before: str) -> bool:
    return not DENIED.search(before)


def _is_landline(number: str, before: str) -> bool:
    return not DENIED.search(before) and (_has_area_code(number) or bool(re.search(r"座机|固话|电话", before)))


@lru_cache(maxsize=4096)
def _has_area_code(number: str) -> bool:
    """Whether the area code exists and the length fits it, by the numbering plan that phonenumbers keeps."""
    import phonenumbers

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number[:12], "CN"))
    except phonenumbers.NumberParseException:
        return False


def _is_local(number: str, before: str) -> bool:
    return bool(re.search(r"(?:座机|固话|电话|家里电话)[号码]{0,2}(?:是|为)?[:：，, ]?$", before))


_KINDS: tuple[tuple[str, re.Pattern[str], Callable[[str, str], bool]], ...] = (
    ("id_card", _ID, _is_id),
    ("id_card", _OLD_ID, _is_old_id),
    ("bank_card", _CARD, _is_card),
    ("mobile", _MOBILE, _is_mobile),
    ("landline", _LANDLINE, _is_landline),
    ("landline", _LOCAL, _is_local),
)


def _plates(text: str, digits: str) -> Iterator[Found]:
    yield from (Found("plate", *m.span()) for m in _PLATE.finditer(digits))


def _addresses(text: str, digits: str) -> Iterator[Found]:
    for match in _ADDRESS.finditer(digits) if _ANY_ADDRESS.search(digits) else ():
        lead = _LEAD.match(text[match.start() : match.end()])
        yield Found("address", match.start() + (lead.end() if lead else 0), match.end())


def _names(text: str, digits: str) -> Iterator[Found]:
    yield from (Found("name", *span) for span in surnames.spans(text))
