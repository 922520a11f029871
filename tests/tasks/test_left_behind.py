"""What `status`, `history` and the control plane tell of a rollout that is not at its end: whose turn it is, and whether it was cut off."""

import json
import os
from pathlib import Path

import pytest
import typer

from configs.settings import Settings
from data_contracts.errors import ApprovalAwaited, RolloutFailed
from deploy import targets
from deploy.operate import lock
from deploy.targets import left_behind
from flows.commands import machine, record
from flows.console import Here
from tasks.controller import Controller
from tests.tasks import rolled
from tests.tasks.rolled import CANARY, FolderTarget, placed

APPROVED = CANARY.model_copy(update={"approval": "required"})
CUT_OFF = "was cut off when it was canary with 10% of the traffic"


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


@pytest.fixture
def asking(tmp_path: Path) -> Controller:
    """Version 1 serves, version 2 waits for a person."""
    control = rolled.controller(tmp_path, APPROVED)
    rolled.controller(tmp_path, CANARY, control.target).rollout(placed(1))  # type: ignore[arg-type]
    with pytest.raises(ApprovalAwaited):
        control.rollout(placed(2))
    return control


@pytest.fixture
def cut_off(asking: Controller) -> Controller:
    """It was approved, and its controller died in the second look of its canary."""
    assert isinstance(asking.target, FolderTarget)
    asking.approve(2, "reviewed")
    with pytest.raises(Killed):
        rolled.controller(asking.home, CANARY, Late(asking.target.place)).rollout(placed(2))
    return asking


class Late(FolderTarget):
    """Its second look at the candidate kills."""

    def look(self, candidate: targets.Placed, at_s: float) -> targets.Look:
        if self.calls.count(("look", 2)) == 1:
            raise Killed
        return super().look(candidate, at_s)


def told(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code and output of `status`. Nothing was released to the target of the settings, so no registry is asked."""
    monkeypatch.setenv("TINGSU_HOME", str(home))
    monkeypatch.setenv("TINGSU_ROLLOUT__TARGET", "kubernetes")
    with pytest.raises(typer.Exit) as ended:
        machine.status()
    return ended.value.exit_code, *capsys.readouterr()


def test_a_version_that_waits_for_a_person_is_no_fault(
    asking: Controller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = told(asking.home, monkeypatch, capsys)

    assert (code, out.splitlines()[-1].split("  ")[-1]) == (0, "version 2: awaiting")
    assert "version 2 is staged and verified on local and waits for a person" in err
    assert "waits for a person" in Here(asking.home, Settings()).status().trouble


def test_one_that_was_approved_waits_for_its_command_and_not_for_a_person(
    asking: Controller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rolled.controller(asking.home, APPROVED, by="王审").approve(2, "reviewed on Monday")

    code, _, err = told(asking.home, monkeypatch, capsys)

    assert code == 0 and "waits for a person" not in err
    assert "version 2 is approved for local by 王审 at " in err and "reviewed on Monday" in err
    assert "approved for local" in Here(asking.home, Settings()).status().trouble


def test_one_that_was_rejected_and_is_not_undone_is_a_fault(
    asking: Controller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with lock.held(targets.lock_file(asking.home, "local")), pytest.raises(RolloutFailed):
        asking.withdraw("it misses refunds", 1)

    code, _, err = told(asking.home, monkeypatch, capsys)

    assert code == 4 and "waits for a person" not in err
    assert "was withdrawn by tester" in err and "it misses refunds" in err and "./tingsu undo --target local" in err


def test_one_that_was_cut_off_is_a_fault_and_its_share_is_told_while_it_has_one(
    cut_off: Controller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = told(cut_off.home, monkeypatch, capsys)
    soon, later = (left_behind.find(cut_off.home, "local", lambda at=at: 1_000_000.0 + at) for at in (500, 700))  # type: ignore[misc]

    assert code == 4 and f"{CUT_OFF}, which ended 600 s after it was last looked at, and nobody watches it" in err
    assert "version 2: canary, step 1 of 2 with 10% of the traffic, 0 of 120 requests of its own and 0 of 10 s" in out
    assert soon and later and f"{CUT_OFF}, and nobody watches it" in soon.said and "which ended" in later.said


def test_one_that_a_living_process_carries_out_is_no_fault_and_its_process_is_named(
    cut_off: Controller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with lock.held(targets.lock_file(cut_off.home, "local")):
        code, out, err = told(cut_off.home, monkeypatch, capsys)
        trouble = Here(cut_off.home, Settings()).status().trouble
        record.history()

    assert (code, err, trouble, capsys.readouterr().err) == (0, "", "", "")
    assert out.splitlines()[-1].endswith(f"0 of 10 s (pid {os.getpid()})")


def test_status_names_what_is_live_on_each_target_and_how_the_last_rollout_ended(
    cut_off: Controller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off.withdraw("enough", 5)
    code, out, err = told(cut_off.home, monkeypatch, capsys)
    with pytest.raises(typer.Exit):
        machine.status(as_json=True)
    place = json.loads(capsys.readouterr().out)[-1]

    assert (code, err) == (0, "")
    assert out.splitlines()[-2].split() == ["target", "live", "url", "rollout"]
    assert out.splitlines()[-1] == "local   version 1  http://here  the last was undone, see ./tingsu history"
    assert (place["name"], place["live"], place["candidate"], place["state"]) == ("local", 1, None, "undone")
    assert "enough" in place["progress"]
