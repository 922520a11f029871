"""A linear model of what is a person's name: candidates in a text, what is seen of each, and the weights of what is seen.

A score is a sum: of the candidate's own characters, of the two characters on each side, and of how common the words are that it
is, or would cut. What a candidate's own characters say is looked up once and remembered; most text is out of the question by it.
`./tingsu bench names` learns the weights, `names.json`, from sentences with planted names.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from data_contracts.errors import ConfigurationError
from data_contracts.personal.found import BLANK

FILE = Path(__file__).with_name("names.json")
DIGEST = "8db7ffed577cdfb8943d413bb75e623455e3588274f13441e04ec817a6602376"
"""SHA-256 of the weights; it stands here so that other weights are other code, to stages and to services."""

PAD = "\n\n\n\n\n"  # before and after a text, so that every candidate has characters on both sides
LONGEST = 5  # characters of a candidate and its title
OWN_FLOOR, FLOOR = -6.5, -6.0  # of a candidate's own characters, and of all: below, it is no name in any call
ANSWER_WITHIN, QUESTION = 9, 14  # characters of an answer before a name, and of the question before it
_ASKS = "姓名叫谁哪称"
SPELT_WITHIN = 14  # characters after a name in which it is spelt: 章敏，立早章，敏捷的敏

KIN = "哥姐叔姨嫂婶"  # 飞哥: they stay, as titles do
FAMILIAR = f"{KIN}子仔"  # 强子

Keys = tuple[str, ...]


class Candidate(NamedTuple):
    """What may be a name: `kind` F a full name, T a surname before a title, N 小王, 老李 and 飞哥, G a given name alone.

    size: characters of the name; after: of the name and its title; keys: what is seen of these characters.
    """

    kind: str
    length: str
    size: int
    after: int
    keys: Keys


class Vocabulary:
    """Surnames, titles, characters of given names, common words with a grade of how common they are (P: a place), parts of speech."""

    def __init__(self, content: dict[str, str]) -> None:
        self.surnames = frozenset(content["surnames"])
        self.compound = frozenset(content["compound"].split())
        self.given, self.first, self.last = (frozenset(content[part]) for part in ("given", "first", "last"))
        self.titles = tuple(sorted(content["titles"].split(), key=len, reverse=True))
        self.latin = frozenset(content["latin"].split())
        self.words = {word: grade for grade in "1234P" for word in content[f"words_{grade}"].split()}
        self.speech = {
            word: part[7:] for part in content if part.startswith("speech_") for word in content[part].split()
        }
        heads = "".join(sorted({*self.surnames, *self.first, *"小老阿大", *(name[0] for name in self.compound)}))
        tails = {
            *self.given,
            *self.last,
            *self.surnames,
            *(title[0] for title in self.titles),
            *(name[1] for name in self.compound),
            *FAMILIAR,
        }
        self.starts = re.compile(f"[{heads}](?=[{''.join(sorted(tails))}])")

    def candidates(self, said: str) -> Iterator[Candidate]:
        """Those that begin with the first character of some; `said` has LONGEST characters."""
        head, two = said[0], said[:2]
        if head in self.surnames and head != said[1]:  # 师师傅: a stutter
            yield from self._named(said, 1)
        if two in self.compound:
            yield from self._named(said, 2)
        elif head in self.surnames and said[1] in self.surnames and {said[2], said[3]} <= self.given:
            yield self._full(said, 2, 4)  # both parents' surnames: 李周欣然
        if head in self.first and said[1] in FAMILIAR and head not in self.surnames:
            size = 1 if said[1] in KIN else 2
            yield Candidate("N", "", size, 2, (said[1], head, two, self.words.get(two, ""), "K"))
        if head in "小老阿大" and (said[1] in self.surnames or (head != "老" and said[1] in self.given)):
            keys = (head, said[1], two, self.words.get(two, ""), "S" if said[1] in self.surnames else "")
            yield Candidate("N", "", 2, 2, keys)
        if head in self.first and said[1] in self.last:
            is_twice = "twice" if head == said[1] else ""
            yield Candidate("G", "", 2, 2, (head, said[1], two, self.words.get(two, ""), is_twice))

    def _named(self, said: str, surname: int) -> Iterator[Candidate]:
        if said[surname] in self.given:
            yield self._full(said, surname, surname + 1)
            if said[surname + 1] in self.given:
                yield self._full(said, surname, surname + 2)
        title = next((title for title in self.titles if said.startswith(title, surname)), "")
        if title:
            own = said[:surname]
            keys = (own, title, own + title, self.words.get(own + title[0], ""))
            yield Candidate("T", "", surname, surname + len(title), keys)

    def _full(self, said: str, surname: int, size: int) -> Candidate:
        grade, given = self.words.get, said[surname:size]
        is_double = surname == 2 and said[:2] not in self.compound
        own = said[:1] if is_double else said[:surname]
        name = (given[0], given[1], "", grade(given, "")) if len(given) == 2 else ("", "", given, "")
        keys = (own, grade(said[:2], ""), grade(said[:3], ""), *name)
        return Candidate("F", f"{3 if is_double else surname}{len(given)}", size, size, keys)

    def left(self, text: str, start: int) -> Keys:
        """What stands before a candidate: characters, how common a word its beginning would cut, the word's part of speech."""
        two, grade = text[start - 2 : start], self.words.get
        two = BLANK * 2 if two[-1] == BLANK else two  # however long what was masked is
        part = self.speech.get(text[start - 3 : start]) or self.speech.get(two) or self.speech.get(two[1], "")
        return text[start - 1], two, grade(text[start - 1 : start + 1], ""), grade(two, ""), part, asked(text, start)

    def right(self, text: str, start: int, after: int) -> Keys:
        """What stands after a candidate, as `left`; and both sides together."""
        two, grade, speech = text[after : after + 2], self.words.get, self.speech.get
        two = BLANK * 2 if two[0] == BLANK else two
        part = speech(text[after : after + 3]) or speech(two) or speech(two[0]) or two[0]
        before = text[start - 1]
        around = (speech(text[start - 2 : start]) or speech(before) or before) + part
        return two[0], two, grade(text[after - 1 : after + 1], ""), grade(two, ""), before + two[0], part, around


def asked(text: str, start: int) -> str:
    """Of what stands at the beginning of a turn: Q if the turn before it speaks of somebody's name, else T; elsewhere nothing."""
    turn = text.rfind("\n", start - ANSWER_WITHIN, start)
    if turn < 1:
        return ""
    return "Q" if any(cue in text[max(0, turn - QUESTION) : turn] for cue in _ASKS) else "T"


def is_spelt(text: str, start: int, candidate: Candidate) -> bool:
    """Whether one of its characters is explained right after it: 顾佳，顾客的顾."""
    after = start + candidate.after
    said = text[after : after + SPELT_WITHIN]
    return "的" in said and any(f"的{char}" in said for char in text[start : start + candidate.size])


class Weights(NamedTuple):
    """Of one kind of candidate: by length, and by what is seen left, in the name and right (a table for each key)."""

    length: dict[str, float]
    left: list[dict[str, float]]
    own: list[dict[str, float]]
    right: list[dict[str, float]]
    spelt: float


class Scored(NamedTuple):
    """How likely a candidate is a name (log odds), and where it stands in the text."""

    score: float
    start: int
    end: int
    kind: str


def scored(text: str, near: Iterable[tuple[int, int]] = ()) -> list[Scored]:
    """The candidates that are not hopeless: of the whole text, or of what is `near` some spans."""
    vocabulary, weights = model()
    found = []
    windows = [(max(0, start - LONGEST), end + LONGEST) for start, end in near] or [(0, len(text))]
    text = f"{PAD}{text}{PAD}"
    for first, past in windows:
        for match in vocabulary.starts.finditer(text, first + len(PAD), min(past + len(PAD), len(text) - len(PAD))):
            start = match.start()
            for candidate, own in _promising(text[start : start + LONGEST]):
                score = own + _of_context(text, start, candidate, vocabulary, weights[candidate.kind])
                if score > FLOOR:
                    at = start - len(PAD)
                    found.append(Scored(score, at, at + candidate.size, candidate.kind))
    return found


@lru_cache(maxsize=1 << 16)
def _promising(said: str) -> tuple[tuple[Candidate, float], ...]:
    """The candidates at the beginning of some characters that may be names in some call, with the score of these characters."""
    vocabulary, weights = model()
    scores = [
        (
            candidate,
            weights[candidate.kind].length[candidate.length] + _sum(weights[candidate.kind].own, candidate.keys),
        )
        for candidate in vocabulary.candidates(said)
    ]
    return tuple(scored for scored in scores if scored[1] > OWN_FLOOR)


def _of_context(text: str, start: int, candidate: Candidate, vocabulary: Vocabulary, weights: Weights) -> float:
    score = _sum(weights.left, vocabulary.left(text, start))
    score += _sum(weights.right, vocabulary.right(text, start, start + candidate.after))
    return score + weights.spelt if is_spelt(text, start, candidate) else score


def _sum(tables: list[dict[str, float]], keys: Keys) -> float:
    score = 0.0
    for table, key in zip(tables, keys):  # noqa: B905 - as many; `strict` costs a tenth
        if key in table:
            score += table[key]
    return score


@cache
def model() -> tuple[Vocabulary, dict[str, Weights]]:
    """The vocabulary and the weights of each kind.

    Raises:
        ConfigurationError: the file is not the one that goes with this code.
    """
    raw = FILE.read_bytes()
    if hashlib.sha256(raw).hexdigest() != DIGEST:
        raise ConfigurationError(
            f"{FILE} is not what this version of Tingsu was made with, and personal data would be masked otherwise than measured: "
            "restore it from the repository, or learn it anew (./tingsu bench names)"
        )
    content = json.loads(raw)
    return Vocabulary(content["vocabulary"]), {kind: Weights(**of) for kind, of in content["weights"].items()}
