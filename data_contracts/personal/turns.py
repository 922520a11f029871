"""A number, plate or mail address said over several turns: what the listener says in between, and the spans that leave it out."""

import re

from data_contracts.personal.found import Found

LISTENS = (
    r"(?:嗯+|好嘞|好的?|对的?|是的?|哦|啊|行|可以|收到|记[下好住]了|稍等|不急|慢点|(?:您|你)?请?(?:继续|接着|说|讲|报|念)+"
    r"|然后呢?|后面呢?|还有呢?|接着呢?)"
)
SPEAKER = r"(?:[^\n：:0-9٠-٩]{1,6}[：:] ?)?"
LISTENED = rf"[，,。.！？?、… ]{{0,2}}+\n{SPEAKER}(?:{LISTENS}[，,。！!？?]?){{0,4}}+(?:\n{SPEAKER})?"
TURN = rf"{LISTENED}(?:(?:嗯|呃|啊|那个|然后|接着|再|就是|后面是?)[，, ]?){{0,2}}+"
_TURN = re.compile(TURN)


def pieces(kind: str, text: str, start: int, end: int) -> Found:
    """One piece of personal data, with a span for each line of it."""
    spans = []
    for turn in _TURN.finditer(text, start, end):
        spans.append((start, turn.start()))
        start = turn.end()
    return Found(kind, (*spans, (start, end)))
