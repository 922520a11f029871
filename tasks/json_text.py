"""JSON taken apart as it is written, so that what stays the same keeps its letters: 1.10, 1e400, an escape, a space.

Both take text that `json.loads` has read already.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

_SPACE = " \t\r\n"


class Part(NamedTuple):
    """A value of an object (with its name) or of a list (without), and where it stands in the text."""

    name: str
    start: int
    end: int


def members(text: str) -> list[Part]:
    """The values of the object that the text is."""
    return list(_parts(text, named=True))


def elements(text: str) -> list[str]:
    """What the list that the text is holds, each as it is written."""
    return [text[part.start : part.end] for part in _parts(text, named=False)]


def _parts(text: str, named: bool) -> Iterator[Part]:
    read = json.JSONDecoder().raw_decode
    at = _next(text, _next(text, 0) + 1)  # after the bracket
    while text[at] not in "]}":
        name = ""
        if named:
            name, at = read(text, at)
            at = _next(text, _next(text, at) + 1)  # after the colon
        start, end = at, read(text, at)[1]
        yield Part(name, start, end)
        at = _next(text, end)
        at = _next(text, at + 1) if text[at] == "," else at


def _next(text: str, at: int) -> int:
    """Where the next character stands that is no space."""
    while text[at] in _SPACE:
        at += 1
    return at
