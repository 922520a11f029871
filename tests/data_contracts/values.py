"""Made-up values of personal data as people say them, and of what only looks like it. Random digits: they belong to nobody."""

from collections.abc import Callable, Mapping, Sequence
from random import Random

Parts = Mapping[str, Sequence[str]]
Value = tuple[str, ...]  # what is said, turn by turn; more than one where the listener says something in between
PROVINCES = "京沪粤浙苏川鄂陕鲁湘豫皖闽渝津辽黑吉冀晋赣桂云贵甘"
YAO, YI = "零幺二三四五六七八九", "零一二三四五六七八九"
SEVEN = ("0771", "0592", "0991", "0951", "0351", "0535")  # areas with local numbers of seven digits
LISTENS = [
    "嗯",
    "好的",
    "嗯，您继续",
    "对",
    "是",
    "好，您说",
    "然后呢",
    "嗯嗯",
    "请继续",
    "好的，您请说",
    "记下了",
    "哦",
]
CONTINUES = ("", "", "", "然后", "后面是", "接着", "嗯，", "再")


def digits(rng: Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def grouped(rng: Random, number: str, sizes: tuple[int, ...] | None = None) -> list[str]:
    sizes = sizes or rng.choice(((3, 4, 4), (3, 4, 4), (3, 3, 5), (4, 4, 3), (3, 8), (7, 4)))
    parts, at = [], 0
    for size in sizes:
        parts.append(number[at : at + size])
        at += size
    return [*parts, number[at:]] if number[at:] else parts


def said(number: str, table: str) -> str:
    return "".join(table[int(c)] if c.isdigit() else c for c in number)


def dictated(rng: Random, number: str, parts: list[str]) -> Value:
    """One of the ways a number gets into a transcript."""
    table = rng.choice((YAO, YAO, YI))
    way = rng.randrange(14)
    if way < 4:
        return (number,)
    if way < 6:
        return (said(number, table),)
    if way == 6:
        return (" ".join(parts),)
    if way == 7:
        return (rng.choice(("-", "，", "、")).join(parts),)
    if way == 8:
        return ("，".join(said(p, table) for p in parts),)
    if way == 9:
        fillers = ("嗯", "，嗯，", "啊", "那个", "，那个", "，呃，", "，然后", "，后面是", "…", "。")
        return ("".join(p + (rng.choice(fillers) if i + 1 < len(parts) else "") for i, p in enumerate(parts)),)
    if way == 10:
        return ("".join(chr(ord(c) + 0xFEE0) if c.isascii() else c for c in number),)
    if way == 11:
        return (rng.choice((" ", "，")).join(number if rng.random() < 0.5 else said(number, table)),)
    if way == 12:
        return tuple(parts)
    return tuple(said(p, table) for p in parts)


def mobile(rng: Random, parts: Parts) -> Value:
    number = f"1{rng.choice('3456789')}{digits(rng, 9)}"
    way = rng.randrange(16)
    if way == 0:
        return (f"{rng.choice(('+86', '+86 ', '86', '0086', '+86-'))}{number}",)
    if way == 1:
        return (
            (f"{number[:2]}开头的，{number[2:]}",)
            if rng.random() < 0.5
            else (f"{number[:3]}开头，{said(number[3:], YAO)}",)
        )
    return dictated(rng, number, grouped(rng, number))


def landline(rng: Random, parts: Parts) -> Value:
    area = rng.choice(parts["areas"])
    number = rng.choice("2345678") + digits(rng, 6 if area in SEVEN else 7)
    way = rng.randrange(10)
    if way < 3:
        return (f"{area}-{number}",)
    if way == 3:
        return (f"{area} {number}",)
    if way == 4:
        return (f"({area}){number}",) if rng.random() < 0.5 else (f"（{area}）{number}",)
    if way == 5:
        return (f"{area}-{number}{rng.choice(('转', '转分机', '分机'))}{digits(rng, rng.choice((3, 4)))}",)
    if way == 6:
        return (f"{said(area, YAO)}杠{said(number, YAO)}",)
    return dictated(rng, area + number, [area, *grouped(rng, number, (4,))])


def local(rng: Random, parts: Parts) -> Value:
    return (rng.choice("345678") + digits(rng, rng.choice((6, 7))),)


def id_card(rng: Random, parts: Parts) -> Value:
    first = f"{rng.choice(parts['id_areas'])}"
    first += f"{rng.randint(1945, 2006)}{rng.randint(1, 12):02d}{rng.randint(1, 28):02d}{digits(rng, 3)}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    check = "10X98765432"[sum(int(d) * w for d, w in zip(first, weights, strict=True)) % 11]
    number = first + (rng.choice(("X", "x", "X")) if check == "X" else check)
    return dictated(rng, number, grouped(rng, number, rng.choice(((6, 4, 4), (6, 8), (3, 3, 4, 4), (6, 4, 2, 2)))))


def bank_card(rng: Random, parts: Parts) -> Value:
    prefix = rng.choice(parts["banks"])
    body = prefix + digits(rng, (9 if prefix[0] in "435" or prefix == "625912" else 12))
    doubled = [int(d) * 2 for d in body[::-2]]
    total = sum(v // 10 + v % 10 for v in doubled) + sum(int(d) for d in body[-2::-2])
    number = body + str(-total % 10)
    return dictated(rng, number, grouped(rng, number, (4, 4, 4, 4)))


def email(rng: Random, parts: Parts) -> Value:
    word, tail, host = rng.choice(parts["words"]), digits(rng, rng.randint(0, 5)), rng.choice(parts["hosts"])
    name = rng.choice(
        (
            word + tail,
            f"{word}.{rng.choice(parts['words'])}",
            f"{word}_{tail or '1'}",
            digits(rng, 9),
            f"{word[0]}{tail or '88'}",
        )
    )
    way = rng.randrange(6)
    if way < 3:
        return (f"{name}@{host}",)
    loud = name.replace(".", "点").replace("_", "下划线")
    if way == 3:
        return (f"{loud}艾特{host.replace('.', '点')}",)
    if way == 4:
        return (f"{said(loud, YAO)}艾特{said(host, YAO).replace('.', '点')}",)
    return (f"{name} @ {host}",)


def plate(rng: Random, parts: Parts) -> Value:
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    head = rng.choice(PROVINCES) + rng.choice(letters[:12])
    tail = rng.choice(
        (
            digits(rng, 5),
            rng.choice(letters) + digits(rng, 4),
            digits(rng, 3) + rng.choice(letters) + digits(rng, 1),
            f"{rng.choice('DF')}{digits(rng, 5)}",
            digits(rng, 2) + rng.choice(letters) + rng.choice(letters) + digits(rng, 1),
        )
    )
    way = rng.randrange(6)
    if way == 0:
        return (f"{head}·{tail}",)
    if way == 1:
        return (f"{head} {tail}",)
    if way == 2:
        return (head + said(tail, YAO),)
    if way == 3:
        return ((head + tail).lower(),)
    return (head + tail,)


def address(rng: Random, parts: Parts) -> Value:
    city, road, compound, n = (
        rng.choice(parts["cities"]),
        rng.choice(parts["roads"]),
        rng.choice(parts["compounds"]),
        rng.randint,
    )
    room = f"{n(1, 32)}0{n(1, 9)}"
    way = rng.randrange(9)
    made = (
        f"{city}{road}{n(1, 999)}号",
        f"{city}{road}{n(1, 999)}号{compound}{n(1, 40)}栋{n(1, 4)}单元{room}",
        f"{compound}{n(1, 40)}{rng.choice(('栋', '号楼', '幢'))}{n(1, 4)}单元{room}{rng.choice(('', '室'))}",
        f"{city}{compound}{n(1, 30)}号楼{room}",
        f"{road}{n(1, 999)}弄{n(1, 99)}号{room}室",
        f"{city}{rng.choice(parts['villages'])}{n(1, 12)}组{n(1, 80)}号",
        f"{compound}{rng.choice('ABCD')}座{room}",
        f"{road}{n(1, 300)}号院{n(1, 9)}号楼{n(1, 6)}单元{room}",
        f"{compound}{said(str(n(1, 9)), YI)}栋{said(str(n(1, 4)), YI)}单元{said(room, YI)}",
    )
    return (made[way],)


def name(rng: Random, parts: Parts) -> Value:
    return (rng.choice(parts["surnames"]) + rng.choice(parts["given"]),)


def surname(rng: Random, parts: Parts) -> Value:
    return (rng.choice(parts["surnames"]),)


MAKERS: dict[str, Callable[[Random, Parts], Value]] = {
    "mobile": mobile,
    "landline": landline,
    "local": local,
    "id_card": id_card,
    "bank_card": bank_card,
    "email": email,
    "plate": plate,
    "address": address,
    "name": name,
    "surname": surname,
}
TITLES = (*("先生", "女士") * 2, *"总哥姐工", *("经理", "主任", "师傅", "阿姨", "老师", "小姐", "医生", "大爷", "大姐"))
KINDS = {"local": "landline", "surname": "name"}  # slots whose type has another name
TRAPS: dict[str, Callable[[Random], str]] = {
    "code11": lambda r: f"1{r.choice('3456789')}{digits(r, 9)}",
    "code12": lambda r: f"{r.choice(('SF', 'YT', 'JD', '7', '4'))}{digits(r, 12)}",
    "code19": lambda r: f"20260{r.randint(1, 9)}{r.randint(10, 28)}{digits(r, 11)}",
    "code28": lambda r: f"42000{digits(r, 23)}",
    "code6": lambda r: digits(r, 6),
    "code4": lambda r: digits(r, 4),
    "code3": lambda r: digits(r, 3),
    "plan": lambda r: r.choice(("39", "59", "79", "99", "129", "138", "158", "169", "199", "239", "299")),
    "money": lambda r: r.choice(
        (f"{r.randint(1, 999)}块{r.randint(1, 9)}", f"{r.randint(1, 2000)}.{digits(r, 2)}元", f"{r.randint(1, 300)}元")
    ),
    "chinesemoney": lambda r: r.choice(("三千八百六十五块四毛二", "一百三十八块整", "两万一千五", "七百八十九元")),
    "date": lambda r: r.choice(
        (
            f"2026年{r.randint(1, 12)}月{r.randint(1, 28)}号",
            f"2026-{r.randint(1, 12):02d}-{r.randint(1, 28):02d}",
            f"{r.randint(1, 12)}月{r.randint(1, 28)}日",
            f"2025{r.randint(1, 12):02d}{r.randint(10, 28)}",
        )
    ),
    "small": lambda r: str(r.randint(2, 300)),
    "hotline": lambda r: r.choice(
        ("400-810-8888", "4008111222", "800-820-8820", "95588", "12315", "12381", "10019", "10086转2")
    ),
    "imei": lambda r: f"86{digits(r, 13)}",
    "serial": lambda r: f"{r.choice(('HWTC', 'ZTEG', 'SN', 'FHTT'))}{digits(r, 8)}",
    "train": lambda r: f"{r.choice('GDKZ')}{digits(r, 4)}次",
    "flight": lambda r: f"{r.choice(('CA', 'MU', 'CZ', 'HU'))}{digits(r, 4)}",
    "iccid": lambda r: f"898600{digits(r, 14)}",
    "model": lambda r: r.choice(
        ("华为Mate60", "小米14Pro", "OPPO R17", "iPhone15", "荣耀X50", "京东A3000", "新V2024款")
    ),
    "contract": lambda r: f"HT2026{digits(r, 8)}",
    "title": lambda r: r.choice(TITLES),
    "clock": lambda r: r.choice(("两点", "九点半", "14:30", "八点四十五")),
    "ip": lambda r: f"192.168.{r.randint(0, 255)}.{r.randint(0, 255)}",
}
