"""Licence plates of mainland China."""

import re
from collections.abc import Iterator

from data_contracts.personal.found import Found
from data_contracts.personal.turns import TURN, pieces

_SIGN = r"[A-HJ-NP-Za-hj-np-z0-9٠-٩洞拐勾]"
_GAP = rf"(?:{TURN}|[ ·•.，,、\-]{{0,2}})"
_PLATE = re.compile(
    rf"(?P<province>[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼])牌?{_GAP}[A-HJ-NP-Za-hj-np-z](?:牌)?{_GAP}(?:的|嗯|啊|呃)?{_GAP}"
    rf"(?=(?:[A-HJ-NP-Za-hj-np-z]{_GAP}){{0,2}}[0-9٠-٩洞拐勾])"
    rf"(?:{_SIGN}(?:{_GAP}{_SIGN}){{3}}{_GAP}[挂学警港澳领试超]|{_SIGN}(?:{_GAP}{_SIGN}){{5}}(?![A-Za-z0-9])|{_SIGN}(?:{_GAP}{_SIGN}){{4}}(?![A-Za-z0-9]))"
)
_LETTER = re.compile(r"[A-Za-z]")
_NEW = re.compile(r"[最全更崭创刷重]$|(?:全|最|更|上)新$")
_MODEL = re.compile(r" ?(?:款|型|版|系列|套餐|手机)")


def find(text: str) -> Iterator[Found]:
    """Plates in a text of digits (`spoken.digits`), in order."""
    if not _LETTER.search(text):
        return
    for match in _PLATE.finditer(text):
        is_new = match["province"] in "新云" and _NEW.search(text[max(0, match.start() - 2) : match.start()])
        if not is_new and not _MODEL.match(text, match.end()):
            yield pieces("plate", text, *match.span())
