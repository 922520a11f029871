"""Values for `$slots`: words from `words.yaml`, and numbers as callers say them."""

from collections.abc import Mapping, Sequence
from functools import partial
from random import Random

from data_contracts.samples.grammar import Fill, pick

TENS = ("二十", "三十", "四十", "五十", "六十", "八十", "一百", "一百二", "两百", "三百", "五百", "一千二")
CENTS = ("", "", "", "点五", "点九", "块五")


def amount(rng: Random) -> str:
    """A sum a caller would fight over, about 20 to 800 yuan."""
    if rng.random() < 0.4:
        return pick(rng, TENS) + pick(rng, ("块钱", "多块", "块", "来块钱"))
    return f"{20 + int(780 * rng.random() ** 2)}{pick(rng, ('块', '元', '块钱', '多块钱'))}"


def small(rng: Random) -> str:
    """A monthly fee, 3 to 40 yuan."""
    return f"{3 + int(37 * rng.random())}{pick(rng, ('块', '元', '块钱', '块五', '块九'))}"


def gigabytes(rng: Random) -> str:
    return f"{pick(rng, (5, 8, 10, 15, 20, 30, 40, 60, 100))}{pick(rng, ('G', '个G', 'G流量'))}"


def worker(rng: Random) -> str:
    """An agent's number: of an agent, so not personal data of a customer."""
    return f"{100 + int(8900 * rng.random())}号"


def past_date(rng: Random, weekdays: Sequence[str]) -> str:
    """A day before the call, said relative to it, so that it agrees with any `started_at`."""
    if rng.random() < 0.4:
        return f"{pick(rng, ('上周', '上礼拜', '上个星期'))}{pick(rng, weekdays)}"
    return f"{pick(rng, ('上个月', '上个月', '上上个月'))}{1 + int(28 * rng.random())}号"


def due_date(rng: Random) -> str:
    """A day after the call."""
    if rng.random() < 0.5:
        return f"下个月{1 + int(28 * rng.random())}号"
    return f"{pick(rng, ('明年', '后年'))}{1 + int(12 * rng.random())}月"


def slot_fills(words: Mapping[str, Sequence[str]]) -> dict[str, Fill]:
    """Every slot's maker, by name."""
    fills: dict[str, Fill] = {name: partial(pick, items=items) for name, items in words.items()}
    made: dict[str, Fill] = {"amount": amount, "small": small, "gb": gigabytes, "worker": worker, "due": due_date}
    return fills | made | {"date": partial(past_date, weekdays=words["weekday"])}
