"""Planted personal data in Chinese formats, with valid check digits. Made of random digits; it belongs to nobody."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from data_contracts.samples.grammar import pick

Parts = Mapping[str, Sequence[str]]
SPOKEN = str.maketrans("0123456789", "零幺二三四五六七八九")
ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
KINDS = (
    *("mobile",) * 7,
    *("spoken_mobile",) * 3,
    *("name",) * 4,
    *("titled_name",) * 3,
    *("address",) * 4,
    *("id_card",) * 3,
    *("bank_card",) * 2,
    *("email", "landline", "plate"),
)


@dataclass(frozen=True, slots=True)
class Planted:
    """One piece of personal data, exactly as it stands in the text."""

    kind: str
    value: str


def digits(rng: Random, count: int) -> str:
    return f"{int(rng.random() * 10**count):0{count}d}"


def id_check_digit(first17: str) -> str:
    """The last character of a resident ID number (GB 11643, ISO 7064 MOD 11-2)."""
    total = sum(int(digit) * weight for digit, weight in zip(first17, ID_WEIGHTS, strict=True))
    return "10X98765432"[total % 11]


def luhn_check_digit(body: str) -> str:
    """The digit that makes `body` plus it pass Luhn, as on bank cards."""
    doubled = [int(digit) * 2 for digit in body[::-2]]
    total = sum(value // 10 + value % 10 for value in doubled) + sum(int(digit) for digit in body[-2::-2])
    return str(-total % 10)


def mobile(rng: Random, parts: Parts) -> str:
    return f"1{pick(rng, '3456789')}{digits(rng, 9)}"


def spoken_mobile(rng: Random, parts: Parts) -> str:
    return mobile(rng, parts).translate(SPOKEN)


def landline(rng: Random, parts: Parts) -> str:
    return f"{pick(rng, parts['area_code'])}-{2 + int(7 * rng.random())}{digits(rng, 7)}"


def id_card(rng: Random, parts: Parts) -> str:
    year, month, day = 1945 + int(60 * rng.random()), 1 + int(12 * rng.random()), 1 + int(28 * rng.random())
    first17 = f"{pick(rng, parts['id_area'])}{year}{month:02d}{day:02d}{digits(rng, 3)}"
    return first17 + id_check_digit(first17)


def bank_card(rng: Random, parts: Parts) -> str:
    """19 digits, sixteen for the two credit card prefixes."""
    prefix = pick(rng, parts["card_prefix"])
    body = prefix + digits(rng, 9 if prefix in ("625912", "436742") else 12)
    return body + luhn_check_digit(body)


def email(rng: Random, parts: Parts) -> str:
    letters = "".join(pick(rng, "abcdefghijklmnopqrstuvwxyz") for _ in range(3 + int(5 * rng.random())))
    return f"{letters}{digits(rng, 3)}@{pick(rng, parts['mail_host'])}"


def plate(rng: Random, parts: Parts) -> str:
    return f"{pick(rng, parts['plate_province'])}{pick(rng, 'ABCDEFG')}{pick(rng, 'DFGHJKLMN')}{digits(rng, 4)}"


def address(rng: Random, parts: Parts) -> str:
    number, building, room = 1 + int(199 * rng.random()), 1 + int(20 * rng.random()), 101 + int(1900 * rng.random())
    return f"{pick(rng, parts['district'])}{pick(rng, parts['road'])}{number}号{building}单元{room}"


def name(rng: Random, parts: Parts) -> str:
    return pick(rng, parts["surname"]) + pick(rng, parts["given"])


def titled_name(rng: Random, parts: Parts) -> str:
    return pick(rng, parts["surname"]) + pick(rng, parts["title"])


MAKERS: Mapping[str, Callable[[Random, Parts], str]] = {
    "mobile": mobile,
    "spoken_mobile": spoken_mobile,
    "landline": landline,
    "id_card": id_card,
    "bank_card": bank_card,
    "email": email,
    "plate": plate,
    "address": address,
    "name": name,
    "titled_name": titled_name,
}


def plant(rng: Random, kind: str, parts: Parts) -> Planted:
    return Planted(kind, MAKERS[kind](rng, parts))
