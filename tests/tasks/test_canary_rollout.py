"""A candidate on part of the traffic: through every step to live, or back at the first breach, with the evidence kept."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from configs.rollout import CanarySettings, CanaryStep, RolloutSettings
from data_contracts import messages
from data_contracts.errors import (
    ApprovalAwaited,
    ChampionUnavailable,
    ConfigurationError,
    EngineUnavailable,
    GateRefused,
    RolloutFailed,
)
from deploy import targets
from deploy.operate import lock
from deploy.targets import Placed, Record
from tasks import history, plan, why
from tasks.canary import Clock
from tasks.controller import Controller
from tests.tasks import rolled
from tests.tasks.rolled import CANARY, PLAIN, FolderTarget, placed

ROOT = Path(__file__).parent.parent.parent
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
APPROVED = CANARY.model_copy(update={"approval": "required"})
WITHOUT_CANARY = PLAIN.model_copy(update={"approval": "required"})


@pytest.fixture
def target(tmp_path: Path) -> FolderTarget:
    """Version 1 serves."""
    (tmp_path / "target").mkdir()
    found = FolderTarget(tmp_path / "target")
    rolled.controller(tmp_path, CANARY, found).rollout(placed(1))
    found.calls.clear()
    return found


@pytest.fixture
def controller(target: FolderTarget, tmp_path: Path) -> Controller:
    return rolled.controller(tmp_path, CANARY, target)


def record(home: Path) -> Record:
    return targets.read(home, "local")


def states(home: Path) -> list[str]:
    return [step.state for step in record(home).steps]


def test_a_healthy_candidate_goes_through_every_step_to_live(controller: Controller, target: FolderTarget) -> None:
    release = controller.rollout(placed(2))

    canary = record(controller.home).canary
    assert (release.version, release.previous_version, target.serving) == (2, 1, 2)
    assert states(controller.home) == ["planned", "staged", "verified", "canary", "canary", "switching", "live"]
    assert [name for name, _ in target.calls if name != "look"] == ["stage", "verify", "weigh", "weigh", "switch"]
    assert canary and canary.judgement and canary.judgement.decision == "pass" and canary.judgement.step == 2


def test_a_first_version_has_no_canary_and_the_record_says_why(tmp_path: Path, target: FolderTarget) -> None:
    assert states(tmp_path) == ["planned", "staged", "verified", "switching", "live"]
    assert record(tmp_path).steps[-2].note == "no canary: nothing served before"


def test_a_target_that_cannot_split_has_no_canary_and_the_plan_the_log_and_the_record_say_why(
    controller: Controller, target: FolderTarget, caplog: pytest.LogCaptureFixture
) -> None:
    target.whole = "memory has no room for both"
    planned = plan.of(target, record(controller.home), placed(2), CANARY)

    controller.rollout(placed(2))

    assert "canary" not in states(controller.home)
    assert record(controller.home).steps[-2].note == "no canary: memory has no room for both"
    assert "no canary: memory has no room for both" in planned.states and "canary, step" not in str(planned.states)
    assert caplog.messages == [
        "version 2 gets all of the traffic at once, without a canary: memory has no room for both"
    ]


def test_a_canary_that_a_person_can_make_possible_is_not_left_out_and_nothing_is_touched(
    controller: Controller, target: FolderTarget
) -> None:
    target.breaks["unsplit", 2] = ConfigurationError("older code: ./tingsu up")
    before = record(controller.home)

    with pytest.raises(ConfigurationError, match="older code"):
        plan.of(target, before, placed(2), CANARY)
    with pytest.raises(ConfigurationError, match="older code"):
        controller.rollout(placed(2))

    assert (record(controller.home), target.calls) == (before, [])
    assert rolled.controller(controller.home, rolled.PLAIN, target).rollout(placed(2)).version == 2


def faulty(target: FolderTarget, version: int) -> None:
    (target.place / f"faulty-{version}").touch()


def test_a_candidate_that_fails_is_undone_and_the_history_has_the_evidence(
    controller: Controller, target: FolderTarget
) -> None:
    faulty(target, 2)

    with pytest.raises(RolloutFailed, match=r"version 2 is not live: breach in canary step . of 2 at .*errors") as e:
        controller.rollout(placed(2))

    told = history.read(controller.home)[-1].event
    evidence = {one["signal"]: one for one in told.detail["canary"]["evidence"]}  # type: ignore[index]
    assert "Undone: version 1 serves" in str(e.value)
    assert (target.serving, target.staged, target.share) == (1, None, 0.0)
    assert (told.kind, told.version) == ("undone", 2)
    assert evidence["errors"]["candidate"] == 0.5 and evidence["errors"]["e_value"] >= evidence["errors"]["breach_at"]
    for language, canary in (("en", "canary: breach in step 1 of 2; champion"), ("zh", "金丝雀：breach，第 1/2 步")):
        said = why.answer(controller.home, 2, language)  # type: ignore[arg-type]
        assert canary in said and "Undone: version 1 serves" in said


def test_a_breach_is_final_though_its_controller_died_before_it_undid(
    controller: Controller, target: FolderTarget
) -> None:
    faulty(target, 2)
    target.breaks["undo", 1] = Killed()
    with pytest.raises(Killed):
        controller.rollout(placed(2))
    target.breaks.clear()
    (target.place / "faulty-2").unlink()
    target.calls.clear()

    with pytest.raises(RolloutFailed, match="breach in canary step"):
        controller.rollout(placed(2))
    assert target.calls == [("undo", 1)]
    assert target.serving == 1


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


def test_a_canary_goes_on_where_its_controller_died(controller: Controller, target: FolderTarget) -> None:
    target.breaks["switch", 2] = Killed()
    with pytest.raises(Killed):
        controller.rollout(placed(2))
    looks = target.calls.count(("look", 2))
    target.breaks.clear()

    controller.rollout(placed(2))

    assert target.calls.count(("look", 2)) == looks
    assert target.serving == 2


def test_a_candidate_is_not_verified_in_its_canary_where_the_calls_of_a_check_would_be_judged(
    controller: Controller, target: FolderTarget
) -> None:
    target.breaks["look", 2] = Killed()
    with pytest.raises(Killed):
        controller.rollout(placed(2))
    target.breaks.clear()

    controller.rollout(placed(2))

    assert (target.calls.count(("stage", 2)), target.calls.count(("verify", 2))) == (2, 1)


def test_a_candidate_that_does_not_answer_is_undone(controller: Controller, target: FolderTarget) -> None:
    target.breaks["look", 2] = EngineUnavailable("no answer")

    with pytest.raises(RolloutFailed, match="version 2 is not live: no answer"):
        controller.rollout(placed(2))
    assert (target.serving, target.share) == (1, 0.0)


class Silent(FolderTarget):
    """Its live side does not answer the first `times` looks."""

    times = 3

    def look(self, candidate: Placed, at_s: float) -> targets.Look:
        self.times -= 1
        if self.times >= 0:
            raise ChampionUnavailable("the champion is silent")
        return super().look(candidate, at_s)


@pytest.mark.parametrize(("times", "lives"), [(3, True), (1000, False)])
def test_a_live_side_that_is_silent_is_waited_for_and_not_for_ever(
    times: int, lives: bool, controller: Controller, target: FolderTarget
) -> None:
    silent = Silent(target.place)
    silent.times = times
    controller = rolled.controller(controller.home, CANARY, silent)

    if lives:
        assert controller.rollout(placed(2)).version == 2
    else:
        with pytest.raises(RolloutFailed, match="the champion is silent"):
            controller.rollout(placed(2))
        assert controller.clock.now() - 1_000_000 < CANARY.verify_timeout_s + 10


def test_too_little_traffic_is_undone_and_says_the_numbers_and_what_to_do(
    controller: Controller, target: FolderTarget
) -> None:
    target.requests = 0
    slow = RolloutSettings(canary=CANARY.canary.model_copy(update={"longest_s": 60.0}))

    with pytest.raises(RolloutFailed, match=r"step 1 of 2 got 0 of 120 requests at 10%.*rollout\.canary\.steps"):
        rolled.controller(controller.home, slow, target).rollout(placed(2))
    assert (target.serving, target.share) == (1, 0.0)


def test_no_traffic_goes_to_a_candidate_before_a_person_approves_it(
    controller: Controller, target: FolderTarget
) -> None:
    asking = rolled.controller(controller.home, APPROVED, target)

    for _ in range(2):
        with pytest.raises(ApprovalAwaited, match=r"\./tingsu approve 2 --target local --why"):
            asking.rollout(placed(2))

    assert ("weigh", 2) not in target.calls and target.serving == 1
    assert states(controller.home) == ["planned", "staged", "verified", "awaiting"]


def test_who_approved_when_and_why_is_in_the_history(controller: Controller, target: FolderTarget) -> None:
    asking = rolled.controller(controller.home, APPROVED, target)
    with pytest.raises(ApprovalAwaited):
        asking.rollout(placed(2))

    rolled.controller(controller.home, APPROVED, target, by="王审").approve(2, "reviewed on Monday")
    asking.rollout(placed(2))

    approval = history.read(controller.home)[-1].event.detail["approval"]
    assert isinstance(approval, dict)
    assert (approval["by"], approval["why"], approval["version"]) == ("王审", "reviewed on Monday", 2)
    assert approval["at"]


def test_an_approval_is_in_the_history_at_once_and_the_first_one_counts(
    controller: Controller, target: FolderTarget
) -> None:
    asking = rolled.controller(controller.home, APPROVED, target, by="王审")
    with pytest.raises(ApprovalAwaited):
        asking.rollout(placed(2))

    asking.approve(2, "reviewed on Monday")
    again = asking.approve(2, "said twice")
    with pytest.raises(RolloutFailed, match=r"version 2 is approved already, by 王审 at .*: reviewed on Monday"):
        controller.approve(2, "me too")

    event = history.read(controller.home)[-1].event
    assert (event.kind, event.by, event.version) == ("approved", "王审", 2)
    assert (event.detail["target"], event.detail["why"]) == ("local", "reviewed on Monday")
    assert again.approval and again.approval.why == "reviewed on Monday"
    assert [e.event.kind for e in history.read(controller.home)].count("approved") == 1


def test_what_was_rejected_cannot_be_approved_any_more(controller: Controller, target: FolderTarget) -> None:
    asking = rolled.controller(controller.home, APPROVED, target, by="王审")
    with pytest.raises(ApprovalAwaited):
        asking.rollout(placed(2))
    with lock.held(targets.lock_file(controller.home, "local")), pytest.raises(RolloutFailed):
        asking.withdraw("it misses refunds", 1)

    with pytest.raises(RolloutFailed, match=r"version 2 is awaiting: withdrawn by 王审 at .*: it misses refunds"):
        controller.approve(2, "looks fine")
    asking.withdraw("it misses refunds", 5)
    with pytest.raises(RolloutFailed, match=r"version 2 is undone: .*withdrawn by 王审 at .*: it misses refunds"):
        controller.approve(2, "looks fine")


@pytest.mark.parametrize("settings", [APPROVED, WITHOUT_CANARY], ids=["canary", "no canary"])
def test_a_verdict_that_fell_while_a_person_was_asked_is_refused_before_there_is_traffic(
    controller: Controller, target: FolderTarget, settings: RolloutSettings
) -> None:
    asking = rolled.controller(controller.home, settings, target)
    with pytest.raises(ApprovalAwaited):
        asking.rollout(placed(2))

    def fallen(_: Placed) -> None:
        raise GateRefused(messages.told("verdict_none", version=2, bundle="22"))

    later = replace(asking, permit=fallen)
    with pytest.raises(GateRefused):
        later.approve(2, "too late")
    asking.approve(2, "in time")
    with pytest.raises(RolloutFailed, match=r"(?s)\(bundle 22\) has no verdict.*Undone: version 1 serves"):
        later.rollout(placed(2))

    assert ("weigh", 2) not in target.calls and ("switch", 2) not in target.calls
    assert (target.serving, target.staged, targets.read(controller.home, "local").state) == (1, None, "undone")


def test_an_approval_holds_for_one_rollout_only(controller: Controller, target: FolderTarget) -> None:
    asking = rolled.controller(controller.home, APPROVED, target)
    with pytest.raises(ApprovalAwaited):
        asking.rollout(placed(2))
    asking.approve(2, "yes")
    asking.withdraw("no after all", 5)

    with pytest.raises(ApprovalAwaited):
        asking.rollout(placed(2))
    with pytest.raises(RolloutFailed, match="version 3 does not wait for approval on local: version 2 is awaiting"):
        asking.approve(3, "yes")


def test_a_rejected_candidate_is_undone_and_the_history_says_by_whom(
    controller: Controller, target: FolderTarget
) -> None:
    asking = rolled.controller(controller.home, APPROVED, target)
    with pytest.raises(ApprovalAwaited):
        asking.rollout(placed(2))

    rolled.controller(controller.home, APPROVED, target, by="王审").withdraw("it misses refunds", 5)

    steps = history.read(controller.home)[-1].event.detail["steps"]
    assert (target.serving, target.staged) == (1, None)
    assert "withdrawn by 王审" in str(steps) and "it misses refunds" in str(steps)


@pytest.mark.parametrize("method", ["stage", "verify", "weigh", "look", "switch"])
def test_a_rollout_whose_process_is_gone_is_withdrawn_from_any_state(
    method: str, controller: Controller, target: FolderTarget
) -> None:
    target.breaks[method, 2] = Killed()
    with pytest.raises(Killed):
        controller.rollout(placed(2))
    target.breaks.clear()

    ended = controller.withdraw("not now", 5)

    assert ended.state == "undone" and "not now" in ended.steps[-1].note
    assert (target.serving, target.staged, target.share) == (1, None, 0.0)
    assert target.calls[-1] == ("undo", 1)


class Withdrawn(FolderTarget):
    """While it does `method`, a person takes the rollout back in another process."""

    method = ""

    def _step(self, name: str, placed: Placed) -> None:
        super()._step(name, placed)
        if name == self.method:
            with pytest.raises(RolloutFailed, match="it was told to undo"):
                rolled.controller(self.place.parent, CANARY, FolderTarget(self.place)).withdraw("stop", 3.5)


@pytest.mark.parametrize("method", ["stage", "verify", "weigh", "look", "switch"])
def test_the_process_that_carries_a_rollout_out_undoes_it_when_told(
    method: str, controller: Controller, target: FolderTarget, caplog: pytest.LogCaptureFixture
) -> None:
    told = Withdrawn(target.place)
    told.method = method

    with pytest.raises(RolloutFailed, match=r"withdrawn by tester at .*: stop\. Undone: version 1 serves"):
        rolled.controller(controller.home, CANARY, told).rollout(placed(2))
    assert (target.serving, target.staged, target.share) == (1, None, 0.0)
    assert [name for name, _ in told.calls][-2:] == [method, "undo"]
    assert f"(pid {os.getpid()}) was told" in caplog.text and "end that process (kill -9)" in caplog.text


def test_a_process_between_two_looks_heeds_an_undo_of_another_at_once(
    controller: Controller, target: FolderTarget
) -> None:
    program = "import sys; from pathlib import Path; from tests.tasks import rolled; rolled.endless(Path(sys.argv[1]))"
    argv = [sys.executable, "-P", "-c", program, str(controller.home)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=ENV) as process:
        while target.share == 0.0:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        began = time.monotonic()
        ended = rolled.controller(controller.home, CANARY, target, by="王审", clock=Clock()).withdraw("stop", 50)
        took_s = time.monotonic() - began
        told = process.communicate(timeout=60)[1]

    assert took_s < 5 and process.returncode == 1 and "withdrawn by 王审" in told
    assert (ended.state, target.serving, target.share) == ("undone", 1, 0.0)


def test_nothing_under_way_cannot_be_withdrawn(controller: Controller, target: FolderTarget) -> None:
    with pytest.raises(RolloutFailed, match="no rollout to local is under way; nothing was touched"):
        controller.withdraw("stop", 5)
    assert target.calls == []


def test_going_back_needs_no_canary_and_no_approval(controller: Controller, target: FolderTarget) -> None:
    controller.rollout(placed(2))
    target.calls.clear()

    rolled.controller(controller.home, APPROVED, target).undo(1)

    assert (target.serving, target.calls) == (1, [("switch", 1)])


def test_a_plan_names_every_state_and_change_and_touches_nothing(controller: Controller, target: FolderTarget) -> None:
    before = {path: path.read_bytes() for path in controller.home.rglob("*") if path.is_file()}

    found = plan.of(target, record(controller.home), placed(2), APPROVED)

    assert [state.partition(":")[0] for state in found.states if ":" in state] == [
        *("staged", "verified", "awaiting", "canary, step 1 of 2", "canary, step 2 of 2", "live")
    ]
    assert "about 1,440 requests" in str(found.states)
    assert found.changes[0].after == "version 2\n"
    assert {path: path.read_bytes() for path in controller.home.rglob("*") if path.is_file()} == before
    assert target.calls == []


def test_evidence_holds_counts_and_no_text(controller: Controller, target: FolderTarget) -> None:
    controller.rollout(placed(2))

    told = history.read(controller.home)[-1].event.detail["canary"]
    assert set(json.loads(json.dumps(told))["candidate"]) >= {"requests", "errors", "categories"}


STEP = CanaryStep(weight=0.5, calls=60, seconds=0)


def test_a_canary_keeps_the_steps_it_began_with(controller: Controller, target: FolderTarget) -> None:
    target.breaks["look", 2] = Killed()
    with pytest.raises(Killed):
        controller.rollout(placed(2))
    target.breaks.clear()
    other = RolloutSettings(canary=CanarySettings(steps=(STEP,)))

    rolled.controller(controller.home, other, target).rollout(placed(2))

    assert states(controller.home).count("canary") == 2
