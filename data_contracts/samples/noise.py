"""What speech recognition does to a line: homophones, dropped and repeated characters, fillers, lost punctuation."""

from random import Random

from data_contracts.samples.grammar import pick

PAIRS = (
    "在再 的得 得的 做作 作做 他她 她他 那哪 哪那 吗嘛 是事 事是 因音 以已 已以 有又 又有 "
    "帐账 账帐 象像 像象 一以 里理 费废 网往 号好 退推 没每 话化 期其"
)
HOMOPHONES = {pair[0]: pair[1] for pair in PAIRS.split()}
FILLERS = ("嗯", "那个", "就是说", "呃", "这个", "然后", "就是", "啊")
KEEP_PUNCTUATION_SHARE = 0.9
WORST_RATE = 0.06  # errors a character on the worst line; the mean is a third of it


def error_rate(rng: Random) -> float:
    """A call's share of characters misheard: most lines are clear, a few are bad."""
    return WORST_RATE * rng.random() ** 2


def mishear(rng: Random, text: str, rate: float) -> str:
    """`text` with about `rate` errors a character. Digits and Latin letters are left as they are."""
    chars = list(text)
    for _ in range(int(rate * len(chars) + rng.random())):
        at = int(rng.random() * len(chars))
        chars[at] = _misheard(rng, chars[at])
    return "".join(chars)


def _misheard(rng: Random, char: str) -> str:
    if char in HOMOPHONES:
        return HOMOPHONES[char]
    if char in "，。？":
        return char + pick(rng, FILLERS) if rng.random() < 0.7 else ""
    if char < "一":
        return char
    return "" if rng.random() < 0.5 else char * 2


def hesitate(rng: Random, text: str) -> str:
    """A filler before `text`, as callers do."""
    return pick(rng, FILLERS) + ("，" if rng.random() < 0.6 else "") + text
