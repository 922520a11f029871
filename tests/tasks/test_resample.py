import time

import numpy as np

from tasks import metrics
from tasks.answered import Answers
from tasks.resample import resample
from tests.tasks.scored import TAXONOMY, random_answers

TABLE = metrics.table(TAXONOMY)


def test_intervals_widen_when_customers_call_often() -> None:
    a = random_answers(600, 2)
    right = np.repeat(np.random.default_rng(0).random(60) < 0.8, 10)
    a = Answers(**{**vars(a), "predicted": np.where(right, a.truth, (a.truth + 1) % 4)})

    def width(groups: np.ndarray) -> float:
        interval = (
            resample([Answers(**{**vars(a), "groups": groups})], TABLE, 1000, 1).one("accuracy_share").interval(0.95)
        )
        return interval.high - interval.low

    assert width((np.arange(600) // 10).astype(str)) > 2 * width(np.arange(600).astype(str))


def test_three_right_of_three_is_no_proof() -> None:
    a = random_answers(300, 3, right=1.0)
    a = Answers(**{**vars(a), "truth": (t := np.where(np.arange(300) < 3, 2, 0)), "predicted": t})

    interval = resample([a], TABLE, 500, 1).one("top_severity_recall_share").interval(0.95)

    assert interval.value == 1
    assert interval.low < 0.5


def test_a_95_percent_interval_holds_the_truth_about_95_times_in_100() -> None:
    hits = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        a = random_answers(400, seed)
        right = rng.random(200).repeat(2) * 0.3 + rng.random(400) * 0.7 < 0.7
        a = Answers(**{**vars(a), "predicted": np.where(right, a.truth, (a.truth + 1) % 4)})
        interval = (
            resample([a], {"accuracy_share": TABLE["accuracy_share"]}, 400, seed).one("accuracy_share").interval(0.95)
        )
        hits.append(interval.low <= _truth() <= interval.high)

    assert 0.90 <= np.mean(hits) <= 0.99


def _truth() -> float:
    rng = np.random.default_rng(99)
    return float((rng.random(400_000) * 0.3 + rng.random(400_000) * 0.7 < 0.7).mean())


def test_2000_resamples_of_2000_calls_take_less_than_three_seconds() -> None:
    pair = [random_answers(2000, 1), random_answers(2000, 2)]

    started = time.perf_counter()
    resample(pair, TABLE, 2000, 1)

    assert time.perf_counter() - started < 3


def test_the_difference_of_a_hop_with_itself_is_zero_and_yet_not_certain() -> None:
    a = random_answers(300, 1)

    difference = resample([a, a], TABLE, 500, 1).difference("macro_f1", 0, 1).interval(0.95)

    assert difference.value == 0
    assert -0.03 < difference.low < 0 < difference.high < 0.03


def test_pairing_makes_differences_of_like_models_narrow() -> None:
    a = random_answers(1000, 1)
    predicted = np.where(np.arange(1000) % 50 == 0, (a.truth + 1) % 4, a.predicted)
    like = Answers(**{**vars(a), "predicted": predicted})

    drawn = resample([a, like], TABLE, 500, 1)

    paired, alone = drawn.difference("accuracy_share", 0, 1).interval(0.95), drawn.one("accuracy_share").interval(0.95)
    assert paired.high - paired.low < 0.7 * (alone.high - alone.low)
