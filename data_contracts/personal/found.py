"""What a recogniser gives."""

from typing import NamedTuple


class Found(NamedTuple):
    """One piece of personal data: its type, and where it stands; in several places where it was said over several turns."""

    kind: str
    spans: tuple[tuple[int, int], ...]

    @property
    def start(self) -> int:
        return self.spans[0][0]

    @property
    def end(self) -> int:
        return self.spans[-1][1]


BLANK = "〕"  # stands for every character of what was found: nothing is read across it, as nothing is across a mask


def blanked(text: str, found: list[Found]) -> str:
    """The text with BLANK where something was found; as long as before."""
    parts: list[str] = []
    at = 0
    for start, end in sorted(span for piece in found for span in piece.spans):
        parts += (text[at:start], BLANK * (end - start))
        at = end
    return "".join([*parts, text[at:]])
