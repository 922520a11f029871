"""Personal data in Chinese formats: found and replaced by masks that keep the type, 〔手机号〕 for a mobile number.

Digits may be ASCII or as speech recognition writes them (幺三八…, 一三八…), with spaces, signs or fillers between, or split
over turns. A number is masked for its form; where the form alone is too weak, for the words around it. A piece said over
several turns gets a mask in each, so that a masked call has the turns it had. How many characters a value had is not kept.

A company's own numbers (10086, 95588, 400-…) are nobody's personal data, and stay; so do parts that name nobody (尾号8899).
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from data_contracts.personal import addresses, emails, names, numbers, plates, spoken
from data_contracts.personal.found import BLANK, Found, blanked

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
Recogniser = Callable[[str, str], Iterable[Found]]  # of a folded text, and of the same with spoken digits read
_NO_DIGIT = re.compile(r"[^0-9Xx]")
_ROUNDS = 4  # what was found may uncover more (a number behind a name); names are looked for again only where it did


class Masked(NamedTuple):
    """A text without personal data, and how many pieces of each type were in it."""

    text: str
    counts: dict[str, int]


def mask(text: str) -> Masked:
    """Replace every piece of personal data; a masked text comes back as it is. Every turn keeps its line."""
    folded = spoken.fold(text)
    return _masked(folded, _pieces(folded))


def mask_cell(text: str) -> Masked:
    """As `mask`, for what nobody said: an id, a region, a header. There tel-13812345678-01 is a number, and no code."""
    folded = spoken.fold(text)
    pieces = _pieces(folded)
    bare = _NO_DIGIT.sub("|", blanked(folded, pieces))
    return _masked(folded, [*pieces, *numbers.find(bare)])


def _masked(folded: str, pieces: list[Found]) -> Masked:
    if not pieces:
        return Masked(folded, {})
    counts: dict[str, int] = {}
    for piece in pieces:
        counts[piece.kind] = counts.get(piece.kind, 0) + 1
    return Masked(_replaced(folded, pieces), counts)


def find(text: str) -> list[Found]:
    """Every piece of personal data, in order of its first character; places are those of `text`."""
    return _pieces(spoken.fold(text))


def _pieces(folded: str) -> list[Found]:
    text = _without_masks(folded)
    pieces: list[Found] = []
    for at in range(_ROUNDS):
        found = _round(text)
        if at and not found:
            break
        text = blanked(text, found)
        named = [
            Found("name", (span,)) for span in names.find(text)
        ]  # reads what is near its own finds again by itself
        text = blanked(text, named)
        pieces += found + named
        if not pieces:
            break
    return sorted(pieces, key=lambda piece: piece.spans)


def _round(text: str) -> list[Found]:
    """All but names. Each recogniser reads what the ones before it left."""
    digits = spoken.digits(text)
    pieces: list[Found] = []
    for recognise in _RECOGNISERS:
        found = list(recognise(text, digits))
        if found:
            pieces += found
            text, digits = blanked(text, found), blanked(digits, found)
    return pieces


def _without_masks(text: str) -> str:
    if "〔" in text:
        for token in MASKS.values():
            text = text.replace(token, BLANK * len(token))
    return text


def _replaced(text: str, pieces: list[Found]) -> str:
    parts: list[str] = []
    at = 0
    for (start, end), kind in sorted((span, piece.kind) for piece in pieces for span in piece.spans):
        parts += (text[at:start], MASKS[kind])
        at = end
    return "".join([*parts, text[at:]])


_RECOGNISERS: tuple[Recogniser, ...] = (
    lambda text, digits: emails.find(digits),
    lambda text, digits: numbers.find(digits),
    lambda text, digits: plates.find(digits),
    addresses.find,
    lambda text, digits: addresses.told(text),
)
