"""Sentences of calls with planted names, and without, from which names are learned.

Their frames are in names_text: `{P}` is anybody as people are called, `{F}` a full name, `{T}` a surname with its title, `{W}` a
common word; the others are in `_SLOTS`. A name also stands where other talk has a comma, and between halves of two frames.
"""

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from random import Random

from data_contracts.personal.name_model import KIN
from tests.bench._names_words import REPEATED_NAMES, SPELT_BY, TEXT, Pool, Words

Span = tuple[int, int]
Said = list[tuple[str, bool]]  # pieces of text; whether each is a name
_SLOT = re.compile(r"\{(\w+)\}")
_STOP = re.compile("[，。, ！？]")
_PERSON = re.compile(
    "(?<!其)[他她](?![们人乡])|(?<![自本])我(?!们)|(?:你们|我们|那个|那位|这位|我)?(?:老板|客服|服务员|老公|老婆|朋友|儿子|女儿|同事|卖家|店主|师傅|经理|前台)(?!们)"
)
_COMMON_TITLES = ("先生", "女士", "先生", "女士", "小姐", "师傅", "经理", "老师", "主任")


class Sentences:
    """Draws texts of one to four sentences; the same seed gives the same texts. `talk`: plain sentences without names."""

    def __init__(self, words: Words, talk: list[str], seed: int) -> None:
        self._words, self._talk, self._rng = words, talk, Random(seed)
        self._with, self._without = (
            (TEXT / name).read_text(encoding="utf-8").splitlines() for name in ("with_names.txt", "without_names.txt")
        )
        last = [frame.rpartition("/")[2] for frame in self._with]
        halves = [
            (frame[: slot.start()], frame[slot.end() :]) for frame in last for slot in re.finditer(r"\{[FPT]\}", frame)
        ]
        self._before = [before for before, _ in halves if "{" not in before]
        self._after = [after for _, after in halves if "{" not in after]

    def texts(self, count: int) -> Iterator[tuple[str, set[Span]]]:
        """Texts with the spans of their names."""
        for _ in range(count):
            text, names = "", set[Span]()
            for at in range(self._rng.randint(1, 4)):
                said, spans = self._filled(self._frame())
                text += "\n" * bool(at)
                names |= {(start + len(text), end + len(text)) for start, end in spans}
                text += said
            yield text, names

    def _frame(self) -> str:
        rng = self._rng
        drawn = rng.random()
        if drawn < 0.36:
            return rng.choice(self._with)
        if drawn < 0.42:
            return self._told_of(rng.choice(self._persons))
        if drawn < 0.55:
            return rng.choice(self._before) + rng.choice(("{F}", "{P}")) + rng.choice(self._after)
        if drawn < 0.58:
            return self._put_in(rng.choice(self._talk) if rng.random() < 0.8 else rng.choice(self._without))
        if drawn < 0.62:
            talk = rng.choice(self._talk)
            if rng.random() < 0.35:
                return f"{talk[: rng.randrange(len(talk))][-20:]}{{P}}{rng.choice(self._after)}"
            return f"{rng.choice(self._before)}{{P}}{talk[:30]}"
        if drawn < 0.8:
            return rng.choice(self._without)
        return rng.choice(("客户：", "")) + rng.choice(self._talk)

    @cached_property
    def _persons(self) -> list[tuple[str, str]]:
        """What stands before and after somebody in plain talk: before and after 他 in 他说不行."""
        found = [
            (line[: who.start()][-24:], line[who.end() :][:24]) for line in self._talk for who in _PERSON.finditer(line)
        ]
        return [(before, after) for before, after in found if not (before + after).count("{")]

    def _told_of(self, sides: tuple[str, str]) -> str:
        """Plain talk in which a name stands for 他 or 老板."""
        return sides[0] + self._rng.choice(("{F}", "{F}", "{P}", "{N}", "{G}")) + sides[1]

    def _put_in(self, talk: str) -> str:
        """A name between two parts of other talk: an apposition, somebody addressed."""
        at = self._rng.choice([stop.end() for stop in _STOP.finditer(talk)] or [0, len(talk)])
        sign = self._rng.choice(("，", "，", "，", "", " ", "。"))
        before = "" if not at or _STOP.match(talk, at - 1) else sign
        return f"{talk[:at]}{before}{self._rng.choice(('{F}', '{F}', '{P}'))}{sign}{talk[at:]}"

    def _filled(self, frame: str) -> tuple[str, set[Span]]:
        text, names, at, last = "", set[Span](), 0, ""
        for slot in _SLOT.finditer(frame):
            text += self._heard(frame[at : slot.start()])
            at = slot.end()
            for piece, is_name in self._explained(last) if slot[1] == "SPF" else self._slots[slot[1]]():
                if is_name:
                    names.add((len(text), len(text) + len(piece)))
                    last = piece
                text += piece
        return text + self._heard(frame[at:]), names

    def _heard(self, text: str) -> str:
        text = text.replace("/", "\n")
        if "，" in text and self._rng.random() < 0.3:
            return text.replace("，", self._rng.choice(("", "", " ", "。", "嗯")))
        return text

    def _surname(self) -> str:
        drawn = self._rng.random()
        if drawn < 0.55:
            return self._words.frequent[min(int(self._rng.expovariate(1 / 35)), len(self._words.frequent) - 1)]
        return self._rng.choice(self._words.surnames if drawn < 0.94 else self._words.own["compound"])

    def _given(self) -> str:
        rng, drawn = self._rng, self._rng.random()
        if drawn < 0.5:
            return rng.choice(self._words.given_names if drawn < 0.38 else self._words.own["given"])
        if drawn < 0.7:
            return self._char() + self._char()
        if drawn < 0.78:
            return self._char() * 2 if drawn < 0.73 else rng.choice(self._given_words)
        return self._char()

    def _char(self) -> str:
        return self._chars.draw(self._rng)

    def _full(self) -> str:
        if self._rng.random() < 0.006 and len(word := self._surname_words.draw(self._rng)) == 2:
            return word  # 高兴 and 周末 are names, too
        if self._rng.random() < 0.02:
            return "".join(self._rng.choices(self._words.frequent, k=2)) + self._rng.choice(self._words.given_names)
        return self._surname() + self._given()

    def _titled(self) -> Said:
        if self._rng.random() < 0.1:
            return [(self._char(), True), (self._rng.choice(KIN), False)]
        titles = _COMMON_TITLES if self._rng.random() < 0.5 else self._words.own["titles"]
        name = self._surname() if self._rng.random() < 0.85 else self._full()
        return [(name, True), (self._rng.choice(titles), False)]

    def _familiar(self) -> str:
        if self._rng.random() < 0.12:
            return self._char() + self._rng.choice("子子子仔")
        head = self._rng.choice("小小小小老老阿大")
        return head + (
            self._surname()[0] if head == "老" or (head == "小" and self._rng.random() < 0.8) else self._char()
        )

    def _alone(self) -> str:
        drawn = self._rng.random()
        if drawn < 0.4:
            return self._rng.choice(self._twice) if drawn < 0.3 else self._char() * 2
        return self._rng.choice(self._words.given_names if drawn < 0.7 else self._words.own["given"])

    def _anybody(self) -> Said:
        drawn = self._rng.random()
        if 0.5 <= drawn < 0.74:
            return self._titled()
        if drawn >= 0.975:
            return [(self._full(), True), (self._rng.choice(_COMMON_TITLES), False)]
        ways: tuple[tuple[float, Callable[[], str]], ...] = (
            (0.5, self._full),
            (0.86, self._familiar),
            (0.96, self._alone),
            (1, lambda: self._rng.choice(self._words.own["latin"])),
        )
        return [(next(way for until, way in ways if drawn < until)(), True)]

    def _word(self) -> str:
        drawn = self._rng.random()
        if drawn < 0.12:
            return self._rng.choice(self._size_words)
        if drawn < 0.34:
            return self._rng.choice(self._surname_words.words)
        return (self._surname_words if drawn < 0.74 else self._any_words).draw(self._rng)

    def _explained(self, name: str) -> Said:
        """章敏, 文章的章，敏捷的敏."""
        chars = name if self._rng.random() < 0.5 else self._rng.sample(name, max(1, len(name) - 1))
        said = [f"{self._rng.choice(self._spellings.get(char, [char + '字']))}的{char}" for char in chars]
        return [(self._rng.choice(("，", "")).join(said), False)]

    def _tibetan(self) -> str:
        return "".join(self._rng.sample(self._words.own["syllables"], 2 if self._rng.random() < 0.7 else 1))

    def _number(self) -> str:
        digits = "".join(self._rng.choices("0123456789", k=self._rng.randint(2, 6)))
        return self._rng.choice(("〕" * 11, "〕" * 8, digits))  # masked already, or nobody's

    @cached_property
    def _slots(self) -> dict[str, Callable[[], Said]]:
        own, rng = self._words.own, self._rng
        named: dict[str, Callable[[], str]] = {
            "F": self._full, "N": self._familiar, "G": self._alone, "S": self._surname, "S0": self._surname, "G1": self._char,
            "L": lambda: rng.choice(own["latin"]), "TB": self._tibetan,
            "M": lambda: f"{rng.choice(own['transliterated'])}·{rng.choice(own['transliterated'])}",
        }  # fmt: skip
        other: dict[str, Callable[[], str]] = {
            "W": self._word, "X": self._number, "D": lambda: str(rng.randint(2, 90)), "FN": self._full,
            "SC": lambda: rng.choice(self._words.surnames), "SW": lambda: rng.choice(self._size_words),
            "FK": lambda: rng.choice(self._words.frequent) + (self._given() if rng.random() < 0.4 else "家"),
        }  # fmt: skip
        lists = {
            "T0": own["titles_alone"][:6], "ROLE0": own["titles_alone"], "ROLE": own["roles"], "M0": own["money"], "SP": own["spelt"],
            "B": own["brands"], "PLAN": own["plans"], "R0": own["owners"], "REL": own["relations"], "JOB": own["jobs"],
            "Q": list(own["counters"][0]) if len(own["counters"]) == 1 else own["counters"],
            "PL": list(self._words.tagged(20, tags=("ns",))), "V": self._verbs, "NN": self._nouns, "RD": self._repeated,
        }  # fmt: skip
        return {
            "P": self._anybody,
            "T": self._titled,
            "GG": lambda: [("叫", False), (self._given(), True)],
            **{slot: lambda make=make: [(make(), True)] for slot, make in named.items()},  # type: ignore[misc]
            **{slot: lambda make=make: [(make(), False)] for slot, make in other.items()},  # type: ignore[misc]
            **{slot: lambda words=words: [(rng.choice(words), False)] for slot, words in lists.items()},  # type: ignore[misc]
        }

    @cached_property
    def _chars(self) -> Pool:
        return Pool(self._words.given_chars)

    @cached_property
    def _given_words(self) -> list[str]:
        """Common words that somebody may be called: 和平, 希望."""
        odds = self._words.in_given
        words = self._words.tagged(100, 2, ("n", "v", "a", "vn", "an", "nz", "b", "t", "d"))
        return [word for word in words if len(word) == 2 and all(odds.get(char, -1) > 0.3 for char in word)]

    @cached_property
    def _twice(self) -> list[str]:
        return [given for given in self._words.own["given"] if given[0] == given[1]]

    @cached_property
    def _any_words(self) -> Pool:
        common = {word: count for word, count in self._words.tagged(15).items() if len(word) > 1}
        return Pool({word: count**0.5 for word, count in common.items() if set(word) & set(self._words.surnames)})

    @cached_property
    def _surname_words(self) -> Pool:
        common = {word: count for word, count in self._words.tagged(15).items() if len(word) > 1}
        return Pool(
            {word: min(count, 3000) ** 0.5 for word, count in common.items() if word[0] in self._words.surnames}
        )

    @cached_property
    def _size_words(self) -> list[str]:
        return [word for word in self._words.tagged(5, 3) if len(word) > 1 and set(word) & set("小老阿大")]

    @cached_property
    def _repeated(self) -> list[str]:
        words = self._words.tagged(20, 2)
        return [word for word in words if len(word) == 2 and word[0] == word[1] and word not in REPEATED_NAMES]

    @cached_property
    def _verbs(self) -> list[str]:
        return list(self._words.tagged(801, 1, ("v", "vg", "vn")))

    @cached_property
    def _nouns(self) -> list[str]:
        return list(self._words.tagged(501, 1, ("n", "ng")))

    @cached_property
    def _spellings(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for word in self._words.tagged(SPELT_BY + 1, 2):
            for char in sorted(set(word)) if len(word) == 2 else ():
                found.setdefault(char, []).append(word)
        return found
