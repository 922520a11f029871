"""What the synthetic calls promise, checked on one stream of a fixed seed."""

import json
from collections import Counter
from datetime import datetime
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from statistics import mean

import pytest
import yaml

from data_contracts import samples
from data_contracts.samples import Record, Truth, generate, generate_with_truth
from data_contracts.samples.personal import MAKERS, id_check_digit, luhn_check_digit

CALLS = 3000
LABELS = {"complaint_category", "confidence_score"}
TAXONOMY = Path(samples.__file__).parents[1] / "taxonomy.yaml"


@cache
def stream() -> list[tuple[Record, Truth]]:
    return list(generate_with_truth(CALLS, seed=71))


def text_of(record: Record) -> str:
    turns = record["turns"]
    assert isinstance(turns, list)
    return "\n".join(turn["text"] for turn in turns)


def values_of(kind: str) -> list[str]:
    return [planted.value for _, truth in stream() for planted in truth.planted if planted.kind == kind]


def test_asking_for_no_calls_gives_none() -> None:
    assert list(generate(0, seed=1)) == []


def test_the_same_seed_gives_the_same_calls() -> None:
    assert list(generate(50, seed=3)) == list(generate(50, seed=3))


def test_another_seed_gives_other_calls_of_other_customers() -> None:
    ours, theirs = ({record["customer_id"] for record in generate(300, seed=seed)} for seed in (3, 4))

    assert not ours & theirs


def test_fewer_calls_are_the_first_of_more() -> None:
    assert list(generate(10, seed=5)) == list(islice(generate(100, seed=5), 10))


def test_calls_are_streamed() -> None:
    assert next(generate(10**12, seed=1))["synthetic"] is True


def test_unlabelled_calls_are_the_labelled_ones_without_label_and_confidence() -> None:
    labelled = [{key: value for key, value in record.items() if key not in LABELS} for record in generate(50, seed=6)]

    assert list(generate(50, seed=6, labelled=False)) == labelled


def test_every_record_survives_json_and_says_it_is_synthetic() -> None:
    records = [record for record, _ in stream()]

    assert json.loads(json.dumps(records)) == records
    assert all(record["synthetic"] is True for record in records)


def test_categories_are_those_of_the_taxonomy_and_all_occur() -> None:
    taxonomy = yaml.safe_load(TAXONOMY.read_text(encoding="utf-8"))
    keys = {category["key"] for category in taxonomy["categories"]}

    assert {record["complaint_category"] for record, _ in stream()} == keys
    assert {truth.true_category for _, truth in stream()} == keys


def test_the_taxonomy_has_one_letter_a_category_in_order() -> None:
    taxonomy = yaml.safe_load(TAXONOMY.read_text(encoding="utf-8"))

    assert "".join(category["code"] for category in taxonomy["categories"]) == "ABCDEFGHIJKL"
    assert taxonomy["none_key"] == "not_complaint"


def test_no_complaint_is_the_commonest_and_the_rarest_is_about_three_percent() -> None:
    counts = Counter(truth.true_category for _, truth in stream())

    assert counts.most_common(1)[0][0] == "not_complaint"
    assert 0.27 < counts["not_complaint"] / CALLS < 0.33
    assert 0.02 < min(counts.values()) / CALLS < 0.045


def test_every_category_has_at_least_five_scenarios() -> None:
    scenarios = {truth.scenario for _, truth in stream()}

    assert min(Counter(scenario.split("/")[0] for scenario in scenarios).values()) >= 5


def test_about_three_percent_are_labelled_wrong_and_the_truth_says_which() -> None:
    wrong = [record["complaint_category"] != truth.true_category for record, truth in stream()]

    assert wrong == [truth.wrong_label for _, truth in stream()]
    assert 0.02 < mean(wrong) < 0.04


def test_annotators_are_less_sure_of_wrong_and_of_mixed_calls() -> None:
    sure = [(float(str(record["confidence_score"])), truth) for record, truth in stream()]
    plain = mean(score for score, truth in sure if not truth.wrong_label and not truth.secondary)

    assert all(0 <= score <= 1 for score, _ in sure)
    assert mean(score for score, truth in sure if truth.wrong_label) < plain - 0.1
    assert mean(score for score, truth in sure if truth.secondary) < plain - 0.04


def test_customers_call_about_twice_and_a_few_call_often() -> None:
    counts = Counter(record["customer_id"] for record, _ in stream())

    assert 1.7 < CALLS / len(counts) < 2.4
    assert max(counts.values()) >= 10
    assert Counter(counts.values()).most_common(1)[0][0] == 1


def test_a_customer_lives_in_one_region() -> None:
    places = {(record["customer_id"], record["region"]) for record, _ in stream()}

    assert len(places) == len({customer for customer, _ in places})


def test_calls_spread_over_six_months_in_beijing_time() -> None:
    starts = [datetime.fromisoformat(str(record["started_at"])) for record, _ in stream()]

    assert all(str(record["started_at"]).endswith("+08:00") for record, _ in stream())
    assert {start.month for start in starts} == {1, 2, 3, 4, 5, 6}
    assert {start.year for start in starts} == {2026}


@pytest.mark.parametrize("field", ["conversation_id", "customer_id"])
def test_ids_reveal_nothing_of_the_category(field: str) -> None:
    by_first_digit = Counter(
        (str(record[field]).split("-")[1][0], truth.true_category == "not_complaint") for record, truth in stream()
    )
    shares = [
        by_first_digit[digit, True] / (by_first_digit[digit, True] + by_first_digit[digit, False])
        for digit in "0123456789abcdef"
    ]

    assert max(shares) - min(shares) < 0.25
    assert all(len(str(record[field])) == len(str(stream()[0][0][field])) for record, _ in stream())


def test_conversation_ids_are_unique() -> None:
    assert len({record["conversation_id"] for record, _ in stream()}) == CALLS


def test_calls_have_four_to_nine_turns_of_alternating_speakers() -> None:
    for record, _ in stream():
        turns = record["turns"]
        assert isinstance(turns, list)
        speakers = [turn["speaker"] for turn in turns]

        assert 4 <= len(turns) <= 9
        assert all(first != second for first, second in pairwise(speakers))


def test_a_call_is_about_250_characters_long() -> None:
    lengths = sorted(len(text_of(record)) for record, _ in stream())

    assert 220 < mean(lengths) < 280
    assert lengths[CALLS // 20] > 120
    assert lengths[-CALLS // 20] < 400


def test_no_slot_or_choice_is_left_unfilled() -> None:
    assert not any(mark in text_of(record) for record, _ in stream() for mark in "$<>|")


def test_hard_negatives_are_no_complaints_and_common() -> None:
    hard = [truth.true_category for _, truth in stream() if truth.hard_negative]

    assert set(hard) == {"not_complaint"}
    assert 0.1 < len(hard) / CALLS < 0.3


def test_about_a_third_of_calls_hold_personal_data_exactly_as_planted() -> None:
    assert 0.31 < mean(bool(truth.planted) for _, truth in stream()) < 0.39
    for record, truth in stream():
        assert all(planted.value in text_of(record) for planted in truth.planted)


def test_every_kind_of_personal_data_occurs() -> None:
    kinds = {planted.kind for _, truth in stream() for planted in truth.planted}

    assert kinds == set(MAKERS)


def test_planted_identity_numbers_have_a_valid_check_digit() -> None:
    assert id_check_digit("11010519491231002") == "X"
    assert all(len(value) == 18 and id_check_digit(value[:-1]) == value[-1] for value in values_of("id_card"))


def test_planted_bank_cards_pass_luhn() -> None:
    assert luhn_check_digit("7992739871") == "3"
    assert all(len(value) in (16, 19) and luhn_check_digit(value[:-1]) == value[-1] for value in values_of("bank_card"))


def test_planted_mobiles_are_eleven_digits_of_a_mobile_range() -> None:
    mobiles = values_of("mobile")

    assert all(len(value) == 11 and value.isdigit() and "13" <= value[:2] <= "19" for value in mobiles)
    assert all(len(value) == 11 and value[0] == "幺" for value in values_of("spoken_mobile"))


def test_the_package_says_that_everything_is_synthetic() -> None:
    assert "synthetic" in str(samples.__doc__)
