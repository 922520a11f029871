"""Made-up values the way a telephone makes them sound: military digits, runs ("三个八"), groups repeated by the listener, letters spelled.

A piece that begins with TURN is the other's turn: the listener repeats what was said (as personal as what it repeats), or it goes on.
"""

import re
from collections.abc import Callable
from random import Random

from tests.data_contracts import values
from tests.data_contracts.values import YAO, YI, Parts, Value, digits, grouped, said

TURN = "\n"
MILITARY = "洞幺两三四五六拐八勾"
BREATHS = (" ", "嗯", "，对，", "，然后是", "，嗯那个", "啊", " 对 ", "，就是", "。", "，哎")


def runs(number: str, table: str) -> str:
    """Three or four equal digits in a row as a count: 8888 is 四个八."""
    told, at = [], 0
    while at < len(number):
        end = at
        while end < min(len(number), at + 4) and number[end] == number[at]:
            end += 1
        same = end - at
        told.append(f"{'三四'[same - 3]}个{table[int(number[at])]}" if same > 2 else said(number[at:end], table))
        at = end
    return "".join(told)


def told(rng: Random, groups: list[str]) -> Value:
    """A number of these groups, one of the ways people tell it."""
    table = rng.choice((YAO, YAO, YI))
    loud = [said(g, table) for g in groups]
    way = rng.randrange(10)
    if way == 0:
        return (said("".join(groups), MILITARY),)
    if way == 1:
        return (" ".join(loud),)
    if way == 2:
        return ("".join(rng.choice(pair) for pair in zip(groups, loud, strict=True)),)
    if way == 3:
        return (runs("".join(groups), table),)
    if way in {4, 5}:
        each = rng.choice((groups, loud))
        repeated = (
            part for g, own in zip(each, groups, strict=True) for part in (TURN + g, TURN + rng.choice((g, own)))
        )
        return (each[0], *list(repeated)[1:])
    if way == 6:
        return (rng.choice(BREATHS).join(rng.choice((groups, loud))),)
    if way == 7:
        return ("".join(g + (rng.choice(BREATHS) if i + 1 < len(loud) else "") for i, g in enumerate(loud)),)
    if way == 8:
        return ("".join(groups),)
    return ("".join(loud),)


def doubled(rng: Random, number: str) -> str:
    """With a run of three or four equal digits near its end, now and then, as numbers people pay for have."""
    if rng.random() < 0.6:
        return number
    size, at = rng.choice((3, 4)), rng.randrange(3, len(number) - 4)
    return number[:at] + rng.choice("0123456789") * size + number[at + size :]


def mobile(rng: Random, parts: Parts) -> Value:
    number = doubled(rng, f"1{rng.choice('3456789')}{digits(rng, 9)}")
    if rng.random() < 0.08:
        return (rng.choice(("+86 ", "+86", "加八六", "八六", "0086 ")) + number,)
    return told(rng, grouped(rng, number))


def landline(rng: Random, parts: Parts) -> Value:
    area = rng.choice(parts["areas"])
    number = rng.choice("2345678") + digits(rng, 6 if len(area) == 4 and area in values.SEVEN else 7)
    halves = [number[:-4], number[-4:]]
    way = rng.randrange(8)
    if way == 0:
        return (f"{area}-{number}",)
    if way == 1:
        return (f"{said(area, YAO)}，{said(number, YAO)}",)
    if way == 2:
        return (f"{said(area, YAO)}{said(number, YAO)}转{said(digits(rng, 3), YAO)}",)
    if way == 3:
        return (f"{area}，{number}转{digits(rng, 4)}",)
    if way == 4:
        return (f"86-{area.removeprefix('0')}-{number}",) if rng.random() < 0.5 else (f"{area}-{'-'.join(halves)}",)
    return told(rng, [area, *halves])


def id_card(rng: Random, parts: Parts) -> Value:
    number = "".join(values.id_card(Fixed(rng), parts)).upper()
    if number[-1] == "X" and rng.random() < 0.7:
        number = number[:-1] + rng.choice(("叉", "大写的X", "大X", "最后是X", "x"))
    tail = number[17:]
    sizes = rng.choice(((4, 4, 4, 4, 2), (3, 3, 4, 4, 4), (6, 4, 4, 4), (6, 8, 4), (4, 4, 4, 6)))
    groups = grouped(rng, number[:17], sizes)
    groups = [g for g in groups if g]
    made = list(told(rng, groups))
    if tail.isdigit():
        tail = tail if made[-1][-1:].isdigit() else YAO[int(tail)]
    last = {-1, -2} if made[-1].startswith(TURN) else {-1}  # a turn that repeats the last group repeats this too
    return tuple(part + tail if at - len(made) in last else part for at, part in enumerate(made))


class Fixed(Random):
    """A Random that always takes the plain way of writing a number (way 0 of `dictated`)."""

    def __init__(self, rng: Random) -> None:
        super().__init__(rng.random())

    def randrange(self, *args: int, **_: int) -> int:  # type: ignore[override]
        return 0 if args == (14,) else super().randrange(*args)


def bank_card(rng: Random, parts: Parts) -> Value:
    number = "".join(values.bank_card(Fixed(rng), parts))
    return told(rng, grouped(rng, number, rng.choice(((4, 4, 4, 4), (6, 4, 4), (4, 4, 4), (6, 6, 4), (4, 6, 6)))))


def email(rng: Random, parts: Parts) -> Value:
    word, tail, host = rng.choice(parts["words"]), digits(rng, rng.randint(1, 4)), rng.choice(parts["hosts"])
    name = rng.choice(
        (word + tail, f"{word}_{tail}", f"{word}-{tail}", f"{word}.{rng.choice(parts['words'])}", digits(rng, 10))
    )
    way = rng.randrange(8)
    if way == 0:
        return (f"{name}@{host}",)
    at = rng.choice(("艾特", "艾特", "at", " at ", "圈a", "@", "艾特符号", "爱特"))
    dot = rng.choice(("点", " 点 ", "点"))
    for sign, words in ((".", (dot,)), ("_", ("下划线",)), ("-", ("杠", "中划线", "减号", "横杠"))):
        name = name.replace(sign, rng.choice(words))
    host = host.replace(".", dot).replace("com", rng.choice(("com", "com", "康姆", "c o m", "抗姆")))
    if way in {1, 2}:
        return (re.sub(r"(?<=[A-Za-z0-9])(?=.)|(?=[A-Za-z0-9])(?<=.)", " ", name) + f" {at} " + host,)
    if way == 3:
        return (said(name, YAO) + at + said(host, YAO),)
    if way == 4:
        return (name.upper() + at + host.upper(),)
    if way == 5:
        return (f"{name}，{at}，{host}",)
    if way == 6:
        return (name, at.strip() + host)
    return (name + at + host,)


def plate(rng: Random, parts: Parts) -> Value:
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    province, city = rng.choice(values.PROVINCES), rng.choice(letters[:14])
    five = rng.choice((digits(rng, 5), digits(rng, 2) + rng.choice(letters) + digits(rng, 2)))
    five = rng.choice(
        (
            five,
            rng.choice("DF") + digits(rng, 5),
            rng.choice(letters) + digits(rng, 1) + rng.choice(letters) + digits(rng, 2),
        )
    )
    way = rng.randrange(9)
    made = (
        f"{province}{city}·{five}",
        f"{province}{city}{said(five, YAO)}",
        f"{province}{city} {five}",
        f"{province} {city} {' '.join(five)}",
        f"{province}{city}，{said(five, YAO)}",
        f"{province}{city}的{five}" if rng.random() < 0.3 else f"{province}{city}{said(five, YI)}",
        f"{province}{city}{said(five, MILITARY)}",
        f"{province}{city}-{five}",
        f"{province}{city}{five}",
    )[way]
    if rng.random() < 0.12:
        cut = rng.randint(1, 3)
        return (f"{province}{city}{five[:cut]}", five[cut:])
    return (made,)


def address(rng: Random, parts: Parts) -> Value:
    n = rng.randint
    city, road, home, village = (rng.choice(parts[k]) for k in ("cities", "roads", "compounds", "villages"))
    alley, shop, room = rng.choice(parts["alleys"]), rng.choice(parts["shops"]), f"{n(1, 32)}0{n(1, 9)}"
    made = (
        f"{city}{road}{n(1, 999)}号{home}{n(1, 3)}期{n(1, 40)}栋{room}",
        f"{home}{said(str(n(1, 3)), YI)}期{said(str(n(1, 9)), YI)}栋{said(str(n(1, 4)), YI)}单元{said(room, YAO)}",
        f"{city}{village}{said(str(n(1, 9)), YI)}组",
        f"{city}{village}{n(1, 15)}组{n(1, 90)}号",
        f"{village}{n(1, 9)}社{n(1, 90)}号",
        f"{alley}{n(1, 90)}号",
        f"{city}{alley}甲{n(1, 90)}号",
        f"{road}{n(10, 999)}弄{n(1, 80)}号{n(1, 6)}0{n(1, 4)}",
        f"{road}{said(str(n(10, 999)), YI)}号{home}{rng.choice('ABCD')}座{room}",
        f"{shop}{n(1, 5)}楼{n(1, 3)}{n(10, 60)}号商铺",
        f"{city}{road}{n(1, 300)}号{shop}{n(2, 20)}层",
        f"{home}{n(1, 12)}区{n(1, 40)}号楼{n(1, 6)}门{room}",
        f"{city}{road}{n(1, 99)}号",
        f"{road}和{rng.choice(parts['roads'])}交叉口{home}{n(1, 9)}栋",
        f"{home}{n(1, 60)}-{n(1, 4)}-{room}",
        f"{city}{home}{n(1, 30)}号楼 {n(1, 6)}单元 {room}",
    )
    return (rng.choice(made),)


MAKERS: dict[str, Callable[[Random, Parts], Value]] = {
    "told_mobile": mobile,
    "told_landline": landline,
    "told_id_card": id_card,
    "told_bank_card": bank_card,
    "told_email": email,
    "told_plate": plate,
    "told_address": address,
}
