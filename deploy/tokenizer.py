"""A model folder's tokenizer, read by the `tokenizers` library alone, as the prompt's Encoder."""

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.errors import ModelLoadError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
BREAK = "\ufdd0"
"""No character: set into a control token that stands in a text, it keeps it a text while a template is rendered around it."""
LOST = "\ufffd"
WINDOW = 64
"""Tokens that may wait for the rest of a character; more of them are no text at all."""
PART = 250
"""Texts a thread encodes at a time."""
LONG_CHARS = 2000
"""Texts of more are encoded without Python's lock, for others go on meanwhile, and not remembered, for they hold much memory."""


class Tokens:
    """Text to token ids. Control tokens exist only through `control_id`; written in a text they are letters."""

    def __init__(self, plain: "Tokenizer", control: dict[str, int]) -> None:
        self._plain = plain
        self._control = control
        self._control_ids = frozenset(control.values())
        longest_first = sorted(control, key=len, reverse=True)
        self._any_control = re.compile(f"({'|'.join(map(re.escape, longest_first))})")
        self._cached = lru_cache(maxsize=64)(self._encode)  # the prompt asks for its own parts again with every call

    @classmethod
    def load(cls, folder: Path) -> "Tokens":
        """Read `folder/tokenizer.json`.

        Raises:
            ModelLoadError: it is missing or not a tokenizer; says how to make one.
        """
        from tokenizers import Tokenizer

        path = folder / FILE
        if not path.is_file():
            raise ModelLoadError(f"{folder} has no {FILE}. Make it once: {conversion(folder)}")
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            added = tree.get("added_tokens") or []
            tree |= {"added_tokens": [t for t in added if not _is_control(t)], "truncation": None, "padding": None}
            plain = Tokenizer.from_str(json.dumps(tree))
        except Exception as error:  # the library raises bare Exception
            raise ModelLoadError(
                f"{path} cannot be read as a tokenizer: {error}. Copy it from the checkpoint again"
            ) from error
        return cls(plain, {t["content"]: int(t["id"]) for t in added if _is_control(t)})

    def text_ids(self, text: str) -> list[int]:
        """Ids of plain text; control tokens written in it stay text."""
        return list(self._cached(text) if len(text) < LONG_CHARS else self._encode(text))

    def batch_ids(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """`text_ids` of each text; many of them on every core."""
        if len(texts) < 2:
            yield from map(self.text_ids, texts)
            return
        parts = [texts[at : at + PART] for at in range(0, len(texts), PART)]
        with ThreadPoolExecutor() as threads:  # the library leaves Python's lock to the others while it works
            for part, found in zip(parts, threads.map(self._batch, parts), strict=True):
                yield from (self._guarded(text, ids) for text, ids in zip(part, found, strict=True))

    @cached_property
    def longest(self) -> int:
        """Characters of the longest token: a text has at least its characters divided by this."""
        return max(map(len, self._plain.get_vocab()))

    def control_id(self, token: str) -> int | None:
        """Id of a control token, or None where the vocabulary has none."""
        return self._control.get(token)

    def text(self, ids: list[int]) -> str:
        """The plain text of ids; control tokens are left out."""
        return str(self._plain.decode([i for i in ids if i not in self._control_ids], skip_special_tokens=False))

    def guard(self, text: str) -> str:
        """A text that may stand in a template: what it holds of control tokens stays text in `rendered_ids`."""
        text = text.replace(BREAK, "")
        return self._any_control.sub(lambda found: found[0][0] + BREAK + found[0][1:], text) if self._control else text

    def rendered_ids(self, text: str) -> list[int]:
        """Ids of a rendered template: its control tokens are themselves, guarded text is text."""
        pieces = self._any_control.split(text) if self._control else [text]
        ids: list[int] = []
        for piece in pieces:
            known = self._control.get(piece)
            ids += [known] if known is not None else self.text_ids(piece.replace(BREAK, ""))
        return ids

    def _encode(self, text: str) -> tuple[int, ...]:
        ids = (
            self._plain.encode(text, add_special_tokens=False).ids if len(text) < LONG_CHARS else self._batch([text])[0]
        )
        return tuple(self._guarded(text, ids))

    def _batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [found.ids for found in self._plain.encode_batch_fast(texts, add_special_tokens=False)]

    def _guarded(self, text: str, ids: list[int]) -> list[int]:
        if self._control_ids.isdisjoint(ids):
            return ids
        # Vocabularies that hold their control tokens as ordinary words too: cut each after its first letter.
        for token in self._control:
            text = text.replace(token, f"{token[0]}\0{token[1:]}")
        return [i for piece in text.split("\0") for i in self._plain.encode(piece, add_special_tokens=False).ids]


class TextStream:
    """The text of ids as they come. A piece never ends within a character, and the pieces together are the whole text, without the
    character that it broke off in."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._before: list[int] = []
        self._ids: list[int] = []
        self._given = 0

    def push(self, token: int) -> str:
        """What is new and whole; empty within a character."""
        self._ids.append(token)
        text = self._text()
        whole = text[:-1] if text.endswith(LOST) and len(self._ids) < WINDOW else text
        piece, self._given = whole[self._given :], len(whole)
        if whole == text:
            self._before, self._ids, self._given = self._ids, [], 0
        return piece

    def end(self) -> str:
        """What was kept back and is whole."""
        return self._text()[self._given :].removesuffix(LOST)

    def _text(self) -> str:
        """Of the ids since the last whole piece, which decides how a decoder treats a space at the front."""
        return self._tokens.text([*self._before, *self._ids])[len(self._tokens.text(self._before)) :]


def conversion(folder: Path) -> str:
    """The command that writes a checkpoint folder anew, with safetensors weights and a fast tokenizer."""
    old, new = f"'{folder}'", f"'{folder}-safetensors'"
    return (
        f'python -c "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; '
        f'M.from_pretrained({old}).save_pretrained({new}); T.from_pretrained({old}).save_pretrained({new})"'
    )


def _is_control(token: dict[str, Any]) -> bool:
    return bool(token.get("special")) or str(token["content"]).startswith("<")
