"""Ends a text before the first of some words, also where a word comes in pieces."""

from collections.abc import Sequence


class StopWords:
    """Fed with pieces of a text; gives out what can no longer become part of a stop word."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)
        self._held = ""
        self.is_found = False

    def push(self, piece: str) -> str:
        """What may be given out now; nothing any more once a word was found."""
        if self.is_found:
            return ""
        text = self._held + piece
        at = min((i for word in self._words if (i := text.find(word)) >= 0), default=None)
        if at is not None:
            self.is_found, self._held = True, ""
            return text[:at]
        keep = max((n for word in self._words for n in range(1, len(word)) if text.endswith(word[:n])), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def end(self) -> str:
        """What was held back: the text ended before it became a stop word."""
        return self._held
