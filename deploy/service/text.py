"""What the model reads of a call: the one place where a served call becomes the text that training saw."""

import re

from data_contracts import personal, transcript
from data_contracts.prompt import ELLIPSIS, Prompt
from data_contracts.schema import Call

CHARS_A_TOKEN = 16
"""No text is read with so many to a token: what lies further inside a longer call would be cut among the tokens anyway."""
AROUND = 1024
"""Characters beyond a cut that are read with it: more than any piece of personal data is long, its pauses and turns counted."""
_BROKEN_END, _BROKEN_START = re.compile(r"〔[^〔〕]{0,4}$"), re.compile(r"^[^〔〕]{0,4}〕")


def prepare(call: Call, prompt: Prompt) -> str:
    """The call as the text that is encoded: cleaned and masked as training calls are.

    Of a call far longer than the prompt has room for, head and tail are read alone. What is cut off there is masked by what follows
    it, or left out: a number never stays as the half of it.
    """
    text = call.flat()
    head, tail = _kept(prompt)
    if len(text) <= head + tail + 2 * AROUND:
        return _read(text)
    first = _alike(_read(text[:head]), _read(text[: head + AROUND]))
    last = _alike(_read(text[len(text) - tail :])[::-1], _read(text[len(text) - tail - AROUND :])[::-1])[::-1]
    return _BROKEN_END.sub("", first) + ELLIPSIS + _BROKEN_START.sub("", last)


def chars(call: Call, prompt: Prompt) -> int:
    """About how many characters `prepare` works through."""
    given = len(call.text) if call.text is not None else sum(len(turn.text) for turn in call.turns or ())
    return min(given, 2 * (sum(_kept(prompt)) + AROUND))


def _kept(prompt: Prompt) -> tuple[int, int]:
    """Characters of the head and of the tail."""
    most = CHARS_A_TOKEN * prompt.max_call_tokens
    head = int(most * prompt.head_share)
    return head, most - head


def _read(text: str) -> str:
    return personal.mask(transcript.clean(text)).text


def _alike(cut: str, longer: str) -> str:
    """What is read the same, whether the text goes on behind the cut or not."""
    same = next((at for at, (a, b) in enumerate(zip(cut, longer, strict=False)) if a != b), min(len(cut), len(longer)))
    return cut[:same]
