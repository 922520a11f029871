"""The auditor's answer names evidence, people and the way back."""

import json
from pathlib import Path

import pytest

from data_contracts.errors import ConfigurationError
from deploy.targets import Placed, Record
from tasks import history, question, why
from tasks.history import Event
from tests.tasks.verdicts import verdict


def test_why_names_evidence_people_and_undo(tmp_path: Path) -> None:
    detail: dict[str, object] = {"verdict": verdict().model_dump(mode="json"), "dataset": "march"}
    history.append(tmp_path, Event(kind="promoted", version=1, by="ops"))
    history.append(tmp_path, Event(kind="recorded", version=2, by="pipeline", bundle_digest="b" * 64, detail=detail))
    moved = history.append(
        tmp_path, Event(kind="promoted", version=2, by="王工", bundle_digest="b" * 64, detail={"previous_version": 1})
    )

    text = why.answer(tmp_path, 2)

    for part in (
        "march",
        "d" * 64,
        "g" * 64,
        "0.830 [0.800, 0.860]",
        "王工",
        moved.at,
        "version 1 the champion again",
        "synthetic",
    ):
        assert part in text
    assert "宏平均F1" in why.answer(tmp_path, 2, "zh")
    assert "not the champion" in why.answer(tmp_path, 1)


def test_a_champion_is_live_by_the_verdict_it_was_promoted_by_whatever_was_judged_later(tmp_path: Path) -> None:
    for decision, kind in (("PROMOTE", "promoted"), ("REJECT", "")):
        judged = verdict(decision=decision).model_dump(mode="json")
        detail: dict[str, object] = {"verdict": judged, "decision": decision}
        history.append(tmp_path, Event(kind="recorded", version=1, by="pipeline", detail=detail))
        if kind == "promoted":
            history.append(tmp_path, Event(kind="promoted", version=1, by="ops"))

    text = why.answer(tmp_path, 1)

    assert "Verdict: PROMOTE" in text
    assert "Verdict: REJECT" not in text
    assert "Judged again at" in text and ": REJECT; it was promoted by the verdict above" in text


@pytest.mark.parametrize("head", ["x", "0:x", "-3:x", "9999999:x", ":"])
def test_a_damaged_note_of_the_newest_line_is_told(tmp_path: Path, head: str) -> None:
    history.append(tmp_path, Event(kind="recorded", version=1, by="me"))

    said = history.verify(tmp_path, head)

    assert said is not None
    assert ("no such note" in said) != ("tail was cut" in said)


def test_why_of_an_unknown_version_names_the_known_ones(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        history.append(tmp_path, Event(kind="recorded", version=n, by="me"))

    with pytest.raises(ConfigurationError, match="version 7"):
        why.answer(tmp_path, 7)


def test_why_says_when_the_chain_is_broken(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        history.append(tmp_path, Event(kind="recorded", version=n, by="me"))
    path = tmp_path / history.FILE
    first, _, third = (json.loads(line) for line in path.read_text().splitlines())
    path.write_text("\n".join(json.dumps(x) for x in (first, third)) + "\n")

    assert "WARNING" in why.answer(tmp_path, 3)


def test_who_is_asked_for_approval_sees_what_it_rests_on_and_how_to_answer_in_both_languages(tmp_path: Path) -> None:
    detail: dict[str, object] = {"verdict": verdict().model_dump(mode="json"), "dataset": "march"}
    history.append(tmp_path, Event(kind="recorded", version=2, by="pipeline", bundle_digest="b" * 64, detail=detail))
    placed = Placed(version=2, bundle_digest="b" * 64, folder=str(tmp_path), verdict_signature="s")

    text = question.markdown(tmp_path, Record(target="server", candidate=placed))

    for part in (
        "**Version 2**",
        "版本 2",
        "`bbbbbbbbbbbb`",
        "march",
        "(id dddddddddddd)",
        "Verdict: PROMOTE",
        "0.830 [0.800, 0.860]",
        "宏平均F1",
    ):
        assert part in text
    for command in ("approve", "reject"):
        assert text.count(f"./tingsu {command} 2 --target server --why REASON") == 2
    assert str(tmp_path) not in text
