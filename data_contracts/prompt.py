"""The one prompt: rendered for training, evaluation and service by the same object, and its answer parsed by it.

A call becomes token ids as `head + call + tail`; the answer is the single token that follows. Head and tail are the same
for every call of a bundle, so engines may compute the head once. Text from a call is encoded as plain text: a transcript
that contains `<|im_end|>` cannot close its own turn.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

from pydantic import Field

from data_contracts.schema import Frozen

Template = Literal["qwen3", "chatml", "plain"]
ELLIPSIS = "\n……\n"


class Encoder(Protocol):
    """The little of a tokenizer that the prompt needs; `tasks` and `deploy` adapt a real one."""

    def text_ids(self, text: str) -> list[int]:
        """Ids of plain text; control tokens written in it stay text."""
        ...

    def batch_ids(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """`text_ids` of each text."""
        ...

    def control_id(self, token: str) -> int | None:
        """Id of a control token such as `<|im_start|>`, or None where the vocabulary has none."""
        ...


class Encoded(Frozen):
    """A rendered call. `head_tokens` leading ids are the same for every call; `truncated` counts ids left out."""

    ids: tuple[int, ...]
    head_tokens: int
    truncated: int


class Prompt(Frozen):
    """The instruction, with the categories listed, and the template around it.

    `max_call_tokens` bounds the call alone; a longer one keeps its first `head_share` and its last part.
    """

    template: Template
    instruction: str
    max_call_tokens: int = Field(default=1024, ge=16)
    head_share: float = Field(default=0.6, ge=0, le=1)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def encode(self, call_text: str, encoder: Encoder) -> Encoded:
        """Token ids up to and without the answer."""
        return next(self.encode_all([call_text], encoder))

    def encode_all(self, call_texts: Sequence[str], encoder: Encoder) -> Iterator[Encoded]:
        """Each call encoded, as `encode` does it, at a fraction of its price for many."""
        head, tail = self.frame(encoder)
        for ids in encoder.batch_ids(call_texts):
            body, truncated = self._fit(ids, encoder)
            whole = (*head, *body, *tail)
            yield Encoded.model_construct(ids=whole, head_tokens=len(head), truncated=truncated)  # ids need no check

    def frame(self, encoder: Encoder) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids before and after the call."""
        return _ids(_HEAD[self.template], self.instruction, encoder), _ids(_TAIL[self.template], "", encoder)

    def longest(self, encoder: Encoder) -> int:
        """Tokens of the longest prompt that `encode` gives, whatever the call."""
        head, tail = self.frame(encoder)
        return len(head) + max(self.max_call_tokens, len(encoder.text_ids(ELLIPSIS)) + 2) + len(tail)

    def _fit(self, ids: list[int], encoder: Encoder) -> tuple[list[int], int]:
        if len(ids) <= self.max_call_tokens:
            return ids, 0
        mark = encoder.text_ids(ELLIPSIS)
        room = max(self.max_call_tokens - len(mark), 2)
        first = int(room * self.head_share)
        last = room - first
        return [*ids[:first], *mark, *ids[len(ids) - last :]], len(ids) - room


def instruct(names: list[tuple[str, str, str]], tells: Literal["codes", "names", "definitions"]) -> str:
    """The instruction text from (code, Chinese name, definition) of each category, in order."""
    ask = "判断这通电话的投诉类别，只回答代号。"
    if tells == "codes":
        return ask
    if tells == "names":
        return ask + "\n" + "；".join(f"{code} {name}" for code, name, _ in names)
    return ask + "\n" + "\n".join(f"{code} {name}" + (f"：{text}" if text else "") for code, name, text in names)


def choose_template(encoder: Encoder) -> Template:
    """The richest template whose control tokens this vocabulary has."""
    if encoder.control_id("<|im_start|>") is None or encoder.control_id("<|im_end|>") is None:
        return "plain"
    return "qwen3" if encoder.control_id("<think>") is not None else "chatml"


# Control tokens stand alone in these lists; "{}" is the instruction. Qwen3's non-thinking template is pinned here, not
# taken from the checkpoint, because checkpoints of one family differ in it (thinking or not by default).
_HEAD: dict[str, list[str]] = {
    "qwen3": ["<|im_start|>", "system\n{}", "<|im_end|>", "\n", "<|im_start|>", "user\n"],
    "chatml": ["<|im_start|>", "system\n{}", "<|im_end|>", "\n", "<|im_start|>", "user\n"],
    "plain": ["{}\n\n通话：\n"],
}
_TAIL: dict[str, list[str]] = {
    "qwen3": ["<|im_end|>", "\n", "<|im_start|>", "assistant\n", "<think>", "\n\n", "</think>", "\n\n"],
    "chatml": ["<|im_end|>", "\n", "<|im_start|>", "assistant\n"],
    "plain": ["\n\n类别代号：\n"],
}
_CONTROL = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")


def _ids(parts: list[str], instruction: str, encoder: Encoder) -> tuple[int, ...]:
    ids: list[int] = []
    for part in parts:
        control = encoder.control_id(part) if part in _CONTROL else None
        ids.extend([control] if control is not None else encoder.text_ids(part.replace("{}", instruction)))
    return tuple(ids)
