"""Cleaning of one transcript: what speech recognition and exports add to a call and no reader needs.

Training and service clean a call with this same function, so that a model is asked what it was taught.
"""

import re

ZERO_WIDTH = dict.fromkeys([*range(0x200B, 0x2010), *range(0x202A, 0x202F), 0x2060, 0xFEFF, 0xAD])
CONTROLS = dict.fromkeys([*range(0x00, 0x09), 0x0B, 0x0C, *range(0x0E, 0x20), *range(0x7F, 0xA0)])
# NFKC would also turn ，。！？：；（） into ASCII; only letters, digits and the signs inside numbers are folded.
WIDTH = {
    0xFEE0 + code: code for code in [*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B), *map(ord, "@+-./%#_")]
}
SPACES = dict.fromkeys([0x09, 0xA0, 0x3000, *range(0x2000, 0x200B), 0x202F, 0x205F], " ")
FOLD = {**ZERO_WIDTH, **CONTROLS, **WIDTH, **SPACES, 0x2028: "\n", 0x2029: "\n"}
SPOKEN_DIGITS = "零〇幺一二两三四五六七八九"

_ODD = re.compile("[" + "".join(map(re.escape, map(chr, FOLD))) + "]")
_LINES = re.compile(r"\r\n?|\n")
_CJK_SPACE = re.compile(r"(?<=[\u3400-\u9fff，。！？：；、]) +(?=[\u3400-\u9fff，。！？：；、])")
_SPACE_RUN = re.compile(r" {2,}")
_FILLER = re.compile(r"(?<![\u3400-\u9fff])[嗯呃唔]+[，,、。]?(?=[\u3400-\u9fffA-Za-z0-9])|[呃]+")
_STUTTER = re.compile(rf"([^\W\d_{SPOKEN_DIGITS}])\1{{2,}}")
_PHRASE = re.compile(r"(?=(..).{0,7}\1)([^\s\d〔〕：]{2,8}?)(?:[，,、]?\2){2,}")  # the lookahead only makes it fast
_PUNCTUATION = re.compile(r"([，。！？；、,!?;~])\1+")
_SPEAKER = re.compile(r"^(客户|客服)：")


def clean(text: str) -> str:
    """The call without widths, controls, fillers, stutters and repeated turns; Chinese punctuation stays.

    Never empties a call that had words: one that is nothing but fillers keeps them.
    """
    folded = _LINES.sub("\n", text)
    folded = folded.translate(FOLD) if _ODD.search(folded) else folded
    kept: list[str] = []
    for line in folded.split("\n"):
        tidy = _line(line.strip(" "))
        if tidy and (not kept or kept[-1] != tidy):
            kept.append(tidy)
    return "\n".join(kept) or _SPACE_RUN.sub(" ", folded.replace("\n", " ")).strip()


def shorten(text: str, max_chars: int, head_share: float = 0.6) -> str:
    """At most `max_chars` characters: the head and the tail, joined by an ellipsis line."""
    if len(text) <= max_chars:
        return text
    room = max_chars - len("\n……\n")
    head = int(room * head_share)
    return f"{text[:head]}\n……\n{text[len(text) - (room - head) :]}"


def _line(line: str) -> str:
    speaker = _SPEAKER.match(line)
    head = speaker.group() if speaker else ""
    before, body = None, line[len(head) :].strip(" ")
    while body != before:  # removing one thing may join two others
        before, body = body, _tidy(body)
    return head + body if body.strip("，。、,. ") else ""


def _tidy(body: str) -> str:
    body = _SPACE_RUN.sub(" ", _CJK_SPACE.sub("", body)).strip(" ")
    body = _FILLER.sub("", body)
    body = _STUTTER.sub(r"\1", body)
    body = _PHRASE.sub(_once, body)
    return _PUNCTUATION.sub(r"\1", body)


def _once(match: re.Match[str]) -> str:
    """A phrase said three times, once; but digits said three times are a number."""
    phrase = match.group(2)
    return match.group() if all(c in SPOKEN_DIGITS or c in "，,、" for c in phrase) else phrase
