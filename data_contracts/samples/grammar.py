"""Lines with choices and slots: `我<上个月|这个月>多扣了$amount` says four things with one line.

A line is compiled once and rendered many times; a slot keeps its value for a whole call, as a caller would.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

Item = TypeVar("Item")
Fill = Callable[[Random], str]
TOKEN = re.compile(r"<([^<>]*)>|\$([a-z_]+)")


@dataclass(frozen=True, slots=True)
class Slot:
    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    options: "tuple[Line, ...]"


Line = tuple[str | Slot | Choice, ...]


def pick(rng: Random, items: Sequence[Item]) -> Item:
    """One item, each as likely. Three times as fast as `Random.choice`, and a million calls draw 40 million times."""
    return items[int(rng.random() * len(items))]


def compile_line(text: str) -> Line:
    parts: list[str | Slot | Choice] = []
    end = 0
    for found in TOKEN.finditer(text):
        parts.append(text[end : found.start()])
        options, slot = found.groups()
        parts.append(Slot(slot) if slot else Choice(tuple(compile_line(option) for option in options.split("|"))))
        end = found.end()
    parts.append(text[end:])
    return tuple(part for part in parts if part != "")


def compile_lines(texts: Sequence[str]) -> tuple[Line, ...]:
    return tuple(compile_line(text) for text in texts)


@dataclass(frozen=True, slots=True)
class Voice:
    """What one call's lines are said with: its randomness and the slot values said so far."""

    rng: Random
    fills: Mapping[str, Fill]
    values: dict[str, str] = field(default_factory=dict)

    def say(self, line: Line) -> str:
        return "".join([part if type(part) is str else self._fill(part) for part in line])

    def say_one(self, lines: Sequence[Line]) -> str:
        return self.say(pick(self.rng, lines))

    def _fill(self, part: str | Slot | Choice) -> str:
        if isinstance(part, Choice):
            return self.say(pick(self.rng, part.options))
        if isinstance(part, str):
            return part
        value = self.values.get(part.name)
        if value is None:
            value = self.values[part.name] = self.fills[part.name](self.rng)
        return value
