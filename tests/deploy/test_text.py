"""What the model reads of a call: of a long one head and tail, and at the cut no half of a number."""

from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.prompt import ELLIPSIS, Prompt
from data_contracts.schema import Call, Turn
from deploy.service.text import CHARS_A_TOKEN, prepare

PROMPT = Prompt(template="plain", instruction="", max_call_tokens=64)
HEAD = int(64 * CHARS_A_TOKEN * PROMPT.head_share)
TAIL = 64 * CHARS_A_TOKEN - HEAD
NUMBERS = {
    "13812345678": "13812345678",
    "138 1234 5678": "13812345678",
    "幺三八一二三四五六七八": "幺三八一二三四五六七八",
    "11010519491231002X": "11010519491231002X",
    "138\n客服：嗯\n客户：1234\n客服：好的\n客户：5678": "13812345678",
    "wangxiaoming@example.com": "wangxiaoming",
}
WORDS = "上个月多扣了三十块钱我要投诉你们没有人管这件事情宽带又断网络很慢"


def filler(length: int, line: int) -> str:
    """Words of a customer; no line is like the one before."""
    text = "".join(WORDS[i * i % len(WORDS)] for i in range(length))
    return "\n".join(text[at : at + line] for at in range(0, length, line))[:length]


@settings(max_examples=300, deadline=None)
@given(
    given_as=st.sampled_from(sorted(NUMBERS)),
    before=st.integers(-40, 10),
    line=st.sampled_from([20, 100_000]),
    at_head=st.booleans(),
)
def test_no_half_of_a_number_stays_where_a_long_call_is_cut(
    given_as: str, before: int, line: int, at_head: bool
) -> None:
    """The number begins or ends around the last character that is kept of the head, or the first of the tail."""
    left, right = filler(6000, line) + "，电话", "，" + filler(6000, line)
    if at_head:
        text = left[len(left) - HEAD - before :] + given_as + right
    else:
        text = left + given_as + right[: TAIL + before]

    read = prepare(Call(text=text), PROMPT)

    number = NUMBERS[given_as]
    halves = {number[at : at + 4] for at in range(len(number) - 3)}
    digits = "".join(c for c in read if c.isalnum())
    assert ELLIPSIS in read and len(read) < 2 * (HEAD + TAIL)
    assert not [half for half in halves if half in digits]


def test_of_a_long_call_head_and_tail_are_read_as_those_of_the_whole() -> None:
    turns = [Turn(speaker="customer", text=f"第{i}句我说{WORDS[i % 20 :]}") for i in range(2000)]
    whole = Call(turns=tuple(turns))

    read = prepare(whole, PROMPT)

    first, last = read.split(ELLIPSIS)
    everything = prepare(whole, PROMPT.model_copy(update={"max_call_tokens": 100_000}))
    assert everything.startswith(first) and len(first) > HEAD - 50
    assert everything.endswith(last) and len(last) > TAIL - 50


def test_a_call_that_says_one_thing_again_and_again_keeps_it() -> None:
    assert "我要投诉" in prepare(Call(text="客户：我要投诉\n" * 5000), PROMPT)
