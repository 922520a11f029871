"""What a submitter or a reviewer reads is said in both languages, and names the same values in each."""

import re
from pathlib import Path

import pytest

from data_contracts import errors, messages
from data_contracts.messages import Said, emergencies, refusals, requests, told, verdicts

ROOT = Path(__file__).parents[2]
SOURCES = "".join(
    path.read_text(encoding="utf-8")
    for layer in ("flows", "tasks", "deploy", "data_contracts")
    for path in sorted((ROOT / layer).rglob("*.py"))
    if path.parent.name != "messages"
)
TOLD = refusals.TABLE | requests.TABLE | verdicts.TABLE | emergencies.TABLE


def test_every_message_names_the_same_values_in_both_languages() -> None:
    def values(text: str) -> set[str]:
        return {re.sub(r"_?(en|zh)$", "", name) for name in re.findall(r"(?<!{){(\w+)", text)}

    assert [code for code, (en, zh) in messages.TABLE.items() if values(en) != values(zh)] == []


def test_every_error_of_these_subjects_is_raised_somewhere_and_everything_raised_is_in_the_table() -> None:
    asked = set(re.findall(r'(?<![.\w])(?:told|tell|say|_both)\(\s*"(\w+)"', SOURCES))
    reasons = {code for code in TOLD if not code.endswith(".remedy")}

    assert asked <= messages.TABLE.keys()
    assert {code for code in reasons if f'"{code}"' not in SOURCES} == set()
    assert {code for code in TOLD if code.removesuffix(".remedy") not in reasons} == set()
    assert {
        code for code in refusals.TABLE | requests.TABLE if f"{code.removesuffix('.remedy')}.remedy" not in TOLD
    } == set()


@pytest.mark.parametrize(
    "kind", [errors.ContractViolation, errors.WrongRequest, errors.GateRefused, errors.ApprovalAwaited]
)
def test_an_error_that_submitters_and_reviewers_read_keeps_its_message_for_machines(kind: type[errors.Told]) -> None:
    said = told("dataset_none", family="june")
    again = errors.revived(kind.__name__, str(kind(said)))

    assert kind(said).answer["refusals"] == [said._asdict()] and said.code == "dataset_none"
    assert str(kind(said)).splitlines() == [said.en, said.zh]
    assert isinstance(again, kind) and str(again) == str(said)  # as another process tells of it


def test_a_command_at_the_end_of_a_message_can_be_pasted() -> None:
    said = Said("x", "There is none.", "没有。", "./tingsu retrain", "请运行 ./tingsu retrain")

    assert (said.en, said.zh) == ("There is none. ./tingsu retrain", "没有。请运行 ./tingsu retrain")
