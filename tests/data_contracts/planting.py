"""Sentences of calls with planted personal data, and how well the recognisers find what was planted.

A planted piece is found if spans of its own type cover all of it. A found piece is right if it overlaps a planted one of its type
and goes beyond planted pieces by at most SLACK characters in all; it is wrong otherwise.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml

from data_contracts import personal
from data_contracts.personal.found import Found
from tests.data_contracts import spoken
from tests.data_contracts.values import CONTINUES, KINDS, LISTENS, MAKERS, TRAPS, Parts, Value

FOLDER = Path(__file__).with_name("planted")
SETS = tuple(sorted(path.stem for path in (*FOLDER.glob("*.yaml"), *FOLDER.glob("*.jsonl"))))
SLACK = 3
FILLERS = ("嗯，", "那个，", "呃", "就是说", "哎", "我跟你说，", "")
_SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")  # {name}: made by values or spoken; {name:titles}: one of the pool titles


@dataclass(frozen=True)
class Text:
    """Some turns, and what was planted in them; a piece said over several turns has several spans."""

    text: str
    planted: tuple[Found, ...]


@dataclass(frozen=True)
class Score:
    """Of one type: pieces planted, those of them found, pieces given, those of them right."""

    planted: int
    found: int
    given: int
    right: int

    @property
    def recall(self) -> float:
        return self.found / self.planted

    @property
    def precision(self) -> float:
        return self.right / self.given if self.given else 0.0


def texts(which: str, each: int, seed: int) -> Iterator[Text]:
    """Every sentence of the file about `each` times per slot; traps as often as the sentences of one slot.

    Of calls written out whole (.jsonl), each once.
    """
    if (FOLDER / f"{which}.jsonl").exists():
        yield from _written(which)
        return
    rng = Random(f"{which} {seed}")
    lines: dict[str, Any] = yaml.safe_load((FOLDER / f"{which}.yaml").read_text(encoding="utf-8"))
    parts = {name: pool.split() for name, pool in lines.pop("parts").items()}
    for group, sentences in lines.items():
        for at in range(each * (3 if group == "traps" else 1)):
            yield made(rng, sentences[at % len(sentences)], parts)


def _written(which: str) -> Iterator[Text]:
    for line in (FOLDER / f"{which}.jsonl").read_text(encoding="utf-8").splitlines():
        call = json.loads(line)
        yield Text(call["text"], tuple(Found(kind, ((start, end),)) for start, end, kind in call["spans"]))


def made(rng: Random, sentence: str, pools: Parts) -> Text:
    """The sentence with its slots filled, after and before other talk, as speech recognition writes it."""
    parts: list[str] = []
    planted: list[Found] = []
    at, length = 0, 0

    def put(text: str) -> int:
        nonlocal length
        parts.append(text)
        length += len(text)
        return length

    for slot in _SLOT.finditer(sentence):
        put(heard(rng, sentence[at : slot.start()]))
        at = slot.end()
        kind = slot[1]
        if kind in TRAPS:
            put(TRAPS[kind](rng))
            continue
        spans = []
        for turn, piece in enumerate(value(rng, kind, slot[2], pools)):
            if turn:
                put(turn_before(rng, piece, "".join(parts)))
            start = length
            spans.append((start, put(piece.removeprefix(spoken.TURN))))
        kind = kind.removeprefix("told_")
        planted.append(Found(KINDS.get(kind, kind), tuple(spans)))
    put(heard(rng, sentence[at:]))
    return Text("".join(parts), tuple(planted))


def value(rng: Random, kind: str, pool: str | None, pools: Parts) -> Value:
    return (rng.choice(pools[pool]),) if pool else (MAKERS | spoken.MAKERS)[kind](rng, pools)


def turn_before(rng: Random, piece: str, so_far: str) -> str:
    """How the turn of this piece of a number begins: the other speaks it at once (TURN), or says something and the speaker goes on."""
    if not piece.startswith(spoken.TURN):
        return between(rng, so_far)
    return f"\n{'客服' if so_far.rpartition(spoken.TURN)[2].startswith('客户') else '客户'}：{rng.choice(('', '', '嗯', '对'))}"


def between(rng: Random, so_far: str) -> str:
    """The listener's turn in the middle of a number."""
    speaker = "客服" if so_far.rpartition("\n")[2].startswith("客户") else "客户"
    other = "客户" if speaker == "客服" else "客服"
    return f"{rng.choice(('', '，', '。'))}\n{speaker}：{rng.choice(LISTENS)}{rng.choice(('', '。'))}\n{other}：{rng.choice(CONTINUES)}"


def heard(rng: Random, text: str) -> str:
    """Turns on lines of their own; a comma lost or a filler more here and there."""
    lines = []
    for line in text.split("/"):
        speaker, colon, said = line.rpartition("：")
        if said[1:] and rng.random() < 0.25:
            said = rng.choice(FILLERS) + said if colon else said
        if rng.random() < 0.15 and not said.endswith("，"):
            said = said.replace("，", rng.choice(("", " ")), 1)
        lines.append(speaker + colon + said)
    return "\n".join(lines)


def scores(cases: Sequence[Text]) -> dict[str, Score]:
    """Per type of personal data."""
    planted, found, given, right = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for case in cases:
        pieces = personal.find(case.text)
        for piece in case.planted:
            planted[piece.kind] += 1
            found[piece.kind] += not missing(piece, pieces)
        for piece in pieces:
            given[piece.kind] += 1
            right[piece.kind] += is_right(piece, case.planted)
    return {kind: Score(planted[kind], found[kind], given[kind], right[kind]) for kind in personal.MASKS}


def places(piece: Found) -> set[int]:
    return {at for start, end in piece.spans for at in range(start, end)}


def missing(piece: Found, given: Sequence[Found]) -> set[int]:
    """The characters of a planted piece that no given piece of its type covers."""
    return places(piece) - {at for other in given if other.kind == piece.kind for at in places(other)}


def is_right(piece: Found, planted: Sequence[Found]) -> bool:
    own = {at for other in planted if other.kind == piece.kind for at in places(other)}
    return bool(places(piece) & own) and len(places(piece) - own) <= SLACK


def mistakes(cases: Sequence[Text]) -> Iterator[tuple[str, str, str, str]]:
    """What was missed or given wrongly: type, which of the two, the piece, the text."""
    for case in cases:
        pieces = personal.find(case.text)
        for piece in case.planted:
            if missing(piece, pieces):
                yield piece.kind, "missed", said(piece, case.text), case.text
        for piece in pieces:
            if not is_right(piece, case.planted):
                yield piece.kind, "wrong", said(piece, case.text), case.text


def said(piece: Found, text: str) -> str:
    return "…".join(text[start:end] for start, end in piece.spans)
