"""Token ids as text, for servers that take and give nothing else."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.errors import ModelLoadError
from deploy.tokenizer import FILE

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class Spelling:
    """Token ids as the text that is read as exactly these ids, for servers that take only text."""

    def __init__(self, whole: "Tokenizer", pieces: dict[int, bytes], controls: tuple[str, ...]) -> None:
        self.controls = controls
        self._whole = whole
        self._pieces = pieces
        self._alike = Counter(pieces.values())

    @classmethod
    def load(cls, folder: Path) -> "Spelling":
        """Of a byte-level tokenizer, as every GGUF model that we write has.

        Raises:
            ModelLoadError: it is missing or of another kind.
        """
        from tokenizers import Tokenizer

        tree = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if "ByteLevel" not in json.dumps(tree.get("decoder")):
            raise ModelLoadError(f"{folder / FILE} is no byte-level tokenizer, so its tokens cannot be spelled as text")
        tree |= {"truncation": None, "padding": None}
        added = {int(t["id"]): str(t["content"]).encode() for t in tree.get("added_tokens") or []}
        letters = _bytes_of_letters()
        vocabulary = {
            int(i): bytes(letters[c] for c in piece)
            for piece, i in tree["model"]["vocab"].items()
            if int(i) not in added
        }
        return cls(
            Tokenizer.from_str(json.dumps(tree)), {**vocabulary, **added}, tuple(t.decode() for t in added.values())
        )

    def text(self, ids: Sequence[int]) -> str | None:
        """The text, control tokens spelled out; None where there is none: within a character, or read otherwise."""
        try:
            text = b"".join(self._pieces[i] for i in ids).decode()
        except (KeyError, UnicodeDecodeError):
            return None
        return text if self.ids(text) == list(ids) else None

    def ids(self, text: str) -> list[int]:
        """What a server reads: control tokens are taken for what they spell."""
        return list(self._whole.encode(text, add_special_tokens=False).ids)

    def word(self, token_id: int) -> str | None:
        """The text of one token that no other token has; None where there is none."""
        piece = self._pieces.get(token_id)
        if piece is None or self._alike[piece] > 1:
            return None
        try:
            return piece.decode()
        except UnicodeDecodeError:
            return None


def _bytes_of_letters() -> dict[str, int]:
    """Byte-level tokenizers write each byte as a printable letter: itself where it is one, else one from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
