"""What a dataset can teach: how well each category could be measured, and which calls are too long to be read whole."""

import math

import polars as pl
import pytest
from scipy.stats import binomtest

from deploy.tokenizer import Tokens
from tasks import base, teach
from tasks.teach import Use

FILE = base.tokenizer_of("builtin:tiny")


@pytest.mark.parametrize("calls", [10, 100, 400, 2000])
def test_the_width_is_that_of_scipys_wilson_interval_at_one_half(calls: int) -> None:
    interval = binomtest(calls // 2, calls).proportion_ci(method="wilson")

    assert teach.half_width(calls) == pytest.approx((interval.high - interval.low) / 2, abs=1e-4)


def test_the_calls_that_are_asked_for_are_enough_and_one_less_is_not() -> None:
    need = teach.calls_for(0.05)

    assert teach.half_width(need) <= 0.05 < teach.half_width(need - 1)


def test_more_calls_are_asked_for_by_the_share_that_becomes_gold() -> None:
    few, many = teach.lessons({"a": 100, "b": 5000}, None, Use(gold_share=0.2))

    assert (few["gold"], few["more"]) == (20, math.ceil((teach.calls_for() - 20) / 0.2))
    assert (many["gold"], many["more"]) == (1000, 0)


def test_a_frozen_gold_set_counts_as_it_is_whatever_is_submitted() -> None:
    (lesson,) = teach.lessons({"a": 100_000}, {"a": 30}, Use())

    assert lesson["gold"] == 30 and lesson["half_width"] == teach.half_width(30)


def test_whatever_may_be_too_long_is_counted_as_the_prompt_counts_it() -> None:
    assert FILE is not None
    texts = ["短" * 20, "我要投诉你们多扣了我的话费" * 40, "ok " * 200, "", "客户：你好" * 9]
    limit = 100
    counted = teach.tokens_of(pl.Series(texts), Use(max_call_tokens=limit, tokenizer=str(FILE.parent))).to_list()
    exact = [len(Tokens.load(FILE.parent).text_ids(text)) for text in texts]

    assert [n for n, m in zip(counted, exact, strict=True) if n is not None and n != m] == []
    assert [at for at, n in enumerate(exact) if n > limit] == [at for at, n in enumerate(counted) if n and n > limit]
    assert counted[0] is None


def test_every_call_is_in_one_bar_of_the_histogram() -> None:
    bars = teach.lengths(pl.Series(["a" * n for n in (*range(1, 400), 20_000)]))

    assert sum(rows for _, rows in bars) == 400
    assert [start for start, _ in bars] == sorted({start for start, _ in bars})
    assert teach.lengths(pl.Series([], dtype=pl.String)) == []
