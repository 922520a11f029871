"""The rollout controller against a target that fails, or is killed, at any step."""

import re
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data_contracts.errors import (
    ApprovalAwaited,
    BundleCorrupt,
    ConfigurationError,
    EngineUnavailable,
    GateRefused,
    RolloutFailed,
)
from data_contracts.messages import Said
from deploy import targets
from deploy.operate import lock
from deploy.operate.canary_window import Look
from deploy.targets import Placed, left_behind
from flows.commands import machine
from tasks import history, on_off, what_was_live
from tasks.controller import Controller
from tests.tasks import rolled
from tests.tasks.rolled import FolderTarget, placed
from tests.tmpfs import Disk, mounted

STEPS = ("stage", "verify", "switch")


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs."""


@pytest.fixture
def target(tmp_path: Path) -> FolderTarget:
    (tmp_path / "target").mkdir()
    return FolderTarget(tmp_path / "target")


@pytest.fixture
def controller(target: FolderTarget, tmp_path: Path) -> Controller:
    return rolled.controller(tmp_path, rolled.PLAIN, target)


def states(controller: Controller) -> list[str]:
    return [step.state for step in targets.read(controller.home, "local").steps]


def test_a_first_version_goes_live_through_every_state(controller: Controller, target: FolderTarget) -> None:
    release = controller.rollout(placed(1))

    assert (release.version, release.previous_version, release.endpoint) == (1, None, "http://here")
    assert states(controller) == ["planned", "staged", "verified", "switching", "live"]
    assert [name for name, _ in target.calls] == list(STEPS)


def test_the_previous_version_is_kept_and_comes_back_on_undo(controller: Controller, target: FolderTarget) -> None:
    controller.rollout(placed(1))
    controller.rollout(placed(2))

    release = controller.undo(1)

    assert (release.version, release.previous_version, target.serving) == (1, 2, 1)


def test_undo_without_a_previous_version_touches_nothing(controller: Controller, target: FolderTarget) -> None:
    controller.rollout(placed(1))
    target.calls.clear()

    with pytest.raises(RolloutFailed, match=r"cannot go back to version 9: live is version 1, before it none"):
        controller.undo(9)
    assert target.calls == []


def test_undo_to_a_version_whose_verdict_fell_is_refused(target: FolderTarget, tmp_path: Path) -> None:
    def refuse(_: Placed) -> None:
        raise GateRefused(Said("changed", "changed", "已改动"))

    controller = Controller(target, tmp_path, "tester", refuse, rolled.PLAIN)
    controller.rollout(placed(1))
    controller.rollout(placed(2))

    with pytest.raises(GateRefused):
        controller.undo(1)
    assert target.serving == 2


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_at_any_step_leaves_the_old_version_serving(
    step: str, controller: Controller, target: FolderTarget
) -> None:
    controller.rollout(placed(1))
    target.breaks[step, 2] = EngineUnavailable("no weights")

    with pytest.raises(
        RolloutFailed, match=r"version 2 is not live: no weights\. Undone: version 1 serves at http://here"
    ):
        controller.rollout(placed(2))
    record = targets.read(controller.home, "local")
    assert (target.serving, target.staged, record.state) == (1, None, "undone")
    assert record.live == placed(1)


def test_a_failure_of_the_first_version_leaves_nothing_serving_and_says_so(
    controller: Controller, target: FolderTarget
) -> None:
    target.breaks["switch", 1] = EngineUnavailable("no weights")

    with pytest.raises(RolloutFailed, match="nothing served before, and what there was of it is withdrawn"):
        controller.rollout(placed(1))
    assert target.serving is None


def lost(controller: Controller, target: FolderTarget) -> None:
    """Version 1 went live, then 2; the rollout of 3 failed, and 2 cannot be brought back."""
    controller.rollout(placed(1))
    controller.rollout(placed(2))
    target.breaks = {("switch", 3): EngineUnavailable("no weights"), ("undo", 2): EngineUnavailable("port held")}
    with pytest.raises(RolloutFailed):
        controller.rollout(placed(3))


def test_an_undo_that_fails_is_tried_again_and_then_says_what_to_do(
    controller: Controller, target: FolderTarget
) -> None:
    began = controller.clock.now()
    lost(controller, target)

    record = targets.read(controller.home, "local")
    assert record.state == "undoing" and target.calls.count(("undo", 2)) == 4
    assert 5 < controller.clock.now() - began < 20
    said = r"version 3 is not live: no weights\. Version 2, which served before, could not be brought back: port held\. To mend it: look"
    assert re.search(said, record.steps[-1].note)
    assert [entry.event.kind for entry in history.read(controller.home)] == ["released", "released"]


def test_an_undo_that_is_not_done_is_done_before_anything_else_and_never_goes_a_version_too_far(
    controller: Controller, target: FolderTarget
) -> None:
    asked = {
        "withdraw": lambda: controller.withdraw("back", 5),
        "rollout of the same": lambda: controller.rollout(placed(3)),
        "rollout of another": lambda: controller.rollout(placed(4)),
    }
    for what, ask in asked.items():
        lost(controller, target)
        with pytest.raises(RolloutFailed, match=r"no weights.*could not be brought back: port held"):
            ask()
        assert targets.read(controller.home, "local").state == "undoing", what
        target.breaks.clear()
        target.calls.clear()

        with suppress(RolloutFailed):
            ask()

        record = targets.read(controller.home, "local")
        assert target.calls[0] == ("undo", 2) and record.is_finished, what
        assert target.serving == (4 if "another" in what else 2), what
        assert record.previous == placed(2 if "another" in what else 1), what
        assert [e.event.kind for e in history.read(controller.home)].count("undone") == 1, what
        (controller.home / "history.jsonl").unlink()
        (controller.home / "rollouts/local.json").unlink()
        target.undo(None, placed(target.serving or 0))


def test_what_cannot_be_brought_back_does_not_bar_the_way_to_the_version_before_it(
    controller: Controller, target: FolderTarget
) -> None:
    lost(controller, target)

    release = controller.undo(1)

    assert (release.version, target.serving) == (1, 1)
    assert targets.read(controller.home, "local").state == "live"


def test_what_serves_without_a_record_here_is_what_an_undo_brings_back(
    controller: Controller, target: FolderTarget
) -> None:
    controller.rollout(placed(1))
    (controller.home / "rollouts/local.json").rename(controller.home / "moved-away")
    target.breaks["switch", 2] = EngineUnavailable("no weights")

    with pytest.raises(RolloutFailed, match="Undone: version 1 serves at http://here"):
        replace(controller, known=lambda digest: registered(1, digest)).rollout(placed(2))

    told = [(entry.event.kind, entry.event.version) for entry in history.read(controller.home)]
    assert (target.serving, target.staged) == (1, None)
    assert told == [("released", 1), ("adopted", 1), ("undone", 2)]


def test_what_was_put_in_the_place_of_the_live_version_by_hand_is_what_an_undo_brings_back(
    controller: Controller, target: FolderTarget
) -> None:
    controller.rollout(placed(1))
    controller.rollout(placed(2))
    target.switch(placed(1))

    release = replace(controller, known=lambda digest: registered(1, digest)).rollout(placed(3))

    record = targets.read(controller.home, "local")
    assert (release.previous_version, record.live, record.previous) == (1, placed(3), placed(1))


def registered(version: int, digest: str) -> Placed:
    """The one version of a registry."""
    if not placed(version).bundle_digest.startswith(digest):
        raise ConfigurationError(f"no version has bundle {digest}")
    return placed(version)


@pytest.mark.parametrize("has_record", [False, True])
def test_what_this_home_does_not_know_is_not_rolled_over(
    has_record: bool, controller: Controller, target: FolderTarget
) -> None:
    if has_record:
        controller.rollout(placed(1))
        controller.rollout(placed(2))
    target.switch(placed(7))
    before = targets.read(controller.home, "local")
    target.calls.clear()

    for ask in (lambda: controller.rollout(placed(3)), lambda: controller.undo(1))[: 1 + has_record]:
        with pytest.raises(
            RolloutFailed, match=r"local serves bundle 77777777 at http://here.*nothing was touched.*end it"
        ):
            ask()
    assert (target.serving, target.calls) == (7, [])
    assert targets.read(controller.home, "local") == before


def test_a_fault_of_the_program_takes_the_traffic_back_and_is_raised(
    controller: Controller, target: FolderTarget
) -> None:
    controller.rollout(placed(1))
    target.breaks["look", 2] = KeyError("text of a call")

    with pytest.raises(KeyError):
        rolled.controller(controller.home, rolled.CANARY, target).rollout(placed(2))

    record = targets.read(controller.home, "local")
    assert (target.serving, target.staged, target.share, record.state) == (1, None, 0.0, "undone")
    assert "a fault of Tingsu itself, KeyError" in record.steps[-1].note and "text" not in record.model_dump_json()


class OnFullDisk(FolderTarget):
    """The disk of the home is full from its second look on."""

    disk: Disk

    def look(self, candidate: Placed, at_s: float) -> Look:
        if self.calls.count(("look", candidate.version)) == 1:
            self.disk.fill()
        return super().look(candidate, at_s)


def test_a_full_disk_in_a_canary_takes_the_traffic_back_though_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with mounted(tmp_path / "disk", megabytes=2) as disk:
        target = OnFullDisk(tmp_path / "target")
        target.disk = disk
        control = replace(rolled.controller(tmp_path, rolled.CANARY, target), home=disk.at)
        control.rollout(placed(1))
        (target.place / "faulty-2").touch()

        with pytest.raises(
            RolloutFailed, match=r"cannot write .*No space left.*Undone: version 1 serves.*not on record"
        ):
            control.rollout(placed(2))
        assert (target.serving, target.staged, target.share) == (1, None, 0.0)
        assert targets.read(disk.at, "local").state == "canary"

        disk.free()
        assert control.withdraw("enough", 5).state == "undone"


def test_down_ends_a_canary_that_was_cut_off_and_the_history_tells(
    controller: Controller, target: FolderTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.rollout(placed(1))
    target.breaks["look", 2] = Killed()
    with pytest.raises(Killed):
        rolled.controller(controller.home, rolled.CANARY, target).rollout(placed(2))
    left = left_behind.find(controller.home, "local", lambda: 1_000_000.0)
    assert left and left.is_fault
    assert "was cut off when it was canary with 10% of the traffic, and nobody watches it" in left.said
    monkeypatch.setenv("TINGSU_HOME", str(controller.home))

    for _ in range(2):
        machine.down()

    lines = history.read(controller.home)
    assert targets.read(controller.home, "local").state == "undone"
    assert left_behind.find(controller.home, "local") is None
    assert [entry.event.kind for entry in lines] == ["released", "undone", "stopped"]
    assert what_was_live.find(lines, "local", datetime.now(UTC)).stopped == "version 1, ./tingsu down"
    controller.rollout(placed(1))
    assert history.read(controller.home)[-1].event.kind == "started"


def test_up_takes_back_a_canary_that_was_cut_off_but_not_one_that_somebody_watches_or_a_person_is_asked_about(
    controller: Controller, target: FolderTarget
) -> None:
    controller.rollout(placed(1))
    asking = rolled.controller(controller.home, rolled.CANARY.model_copy(update={"approval": "required"}), target)
    with pytest.raises(ApprovalAwaited):
        asking.rollout(placed(2))
    on_off.started(controller, "./tingsu up", 5)
    waiting = targets.read(controller.home, "local").state
    controller.withdraw("later", 5)
    target.breaks["look", 2] = Killed()
    with pytest.raises(Killed):
        rolled.controller(controller.home, rolled.CANARY, target).rollout(placed(2))

    with lock.held(targets.lock_file(controller.home, "local")):
        on_off.started(controller, "./tingsu up", 5)
        watched = target.share
    on_off.started(controller, "./tingsu up", 5)

    record = targets.read(controller.home, "local")
    assert (waiting, watched, target.share, target.staged, record.state) == ("awaiting", 0.1, 0.0, None, "undone")
    assert "./tingsu up found it cut off" in record.steps[-1].note


def test_a_version_gone_back_to_is_read_after_it_has_the_traffic_and_that_it_was_changed_is_said(
    controller: Controller, target: FolderTarget
) -> None:
    controller.rollout(placed(1))
    controller.rollout(placed(2))

    def changed(_: Placed) -> None:
        assert target.serving == 1 and targets.read(controller.home, "local").state == "live"
        raise BundleCorrupt("weights were changed")

    assert replace(controller, intact=changed).undo(1).version == 1
    record = targets.read(controller.home, "local")
    assert record.state == "live" and "cannot be loaded again: weights were changed" in record.steps[-1].note


def test_a_live_version_that_was_judged_again_is_not_its_own_predecessor(
    controller: Controller, target: FolderTarget
) -> None:
    controller.rollout(placed(1))
    controller.rollout(placed(2))
    judged = placed(2).model_copy(update={"verdict_signature": "anew"})
    target.calls.clear()

    release = controller.rollout(judged)

    record = targets.read(controller.home, "local")
    assert (release.version, release.previous_version, release.verdict_signature) == (2, 1, "anew")
    assert (record.live, record.previous, target.calls) == (judged, placed(1), [("switch", 2)])
    assert len(history.read(controller.home)) == 2


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_rollout_goes_on_when_run_again(step: str, controller: Controller, target: FolderTarget) -> None:
    controller.rollout(placed(1))
    target.breaks[step, 2] = Killed()
    with pytest.raises(Killed):
        controller.rollout(placed(2))
    target.breaks.clear()

    release = controller.rollout(placed(2))

    assert (release.version, release.previous_version, target.serving) == (2, 1, 2)
    assert states(controller) == ["planned", "staged", "verified", "switching", "live"]


@pytest.mark.parametrize("asked", ["the same", "another", "undo", "withdraw"])
def test_a_rollout_that_was_cut_off_displaces_nothing_that_somebody_else_made_live_since(
    asked: str, controller: Controller, target: FolderTarget
) -> None:
    controller.rollout(placed(1))
    target.breaks["verify", 2] = Killed()
    with pytest.raises(Killed):
        controller.rollout(placed(2))
    target.breaks.clear()
    target.switch(placed(7))  # from another home
    target.calls.clear()
    ask = {
        "the same": lambda: controller.rollout(placed(2)),
        "another": lambda: controller.rollout(placed(3)),
        "undo": lambda: controller.undo(1),
        "withdraw": lambda: controller.withdraw("late", 5.0),
    }[asked]

    with suppress(RolloutFailed):  # to take back is done then: it was over
        ask()

    assert (target.serving, target.calls) == (7, [])
    assert states(controller)[-1] == "undone"
    assert "serves bundle 77777777" in targets.read(controller.home, "local").steps[-1].note


def test_a_target_that_does_not_say_what_it_serves_is_not_rolled_over_without_a_record(
    controller: Controller, target: FolderTarget
) -> None:
    target.switch(placed(7))
    target.calls.clear()
    target.untold = "it asks for another key"

    with pytest.raises(RolloutFailed, match="nothing was touched: it asks for another key"):
        controller.rollout(placed(1))

    assert (target.serving, target.calls) == (7, [])


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_rollout_is_undone_before_another_version_is_rolled_out(
    step: str, controller: Controller, target: FolderTarget, caplog: pytest.LogCaptureFixture
) -> None:
    controller.rollout(placed(1))
    target.breaks[step, 2] = Killed()
    with pytest.raises(Killed):
        controller.rollout(placed(2))

    release = controller.rollout(placed(3))

    assert ("undo", 1) in target.calls
    assert (release.version, release.previous_version) == (3, 1)
    assert "version 2 is taken back from local first: it was cut off" in caplog.messages


def test_a_killed_undo_goes_on_when_run_again(controller: Controller, target: FolderTarget) -> None:
    controller.rollout(placed(1))
    controller.rollout(placed(2))
    target.breaks["switch", 1] = Killed()
    with pytest.raises(Killed):
        controller.undo(1)
    target.breaks.clear()

    release = controller.undo(1)

    assert (release.version, release.previous_version, target.serving) == (1, 2, 1)


def test_an_undo_that_ended_before_it_was_told_is_only_checked_when_run_again(
    controller: Controller, target: FolderTarget
) -> None:
    controller.rollout(placed(1))
    controller.rollout(placed(2))
    controller.undo(1)
    target.calls.clear()

    release = controller.undo(1)

    assert target.calls == [("switch", 1)]
    assert (release.version, release.previous_version) == (1, 2)


def test_the_live_version_rolled_out_again_is_only_checked(controller: Controller, target: FolderTarget) -> None:
    controller.rollout(placed(1))
    controller.rollout(placed(2))
    target.calls.clear()

    release = controller.rollout(placed(2))

    assert target.calls == [("switch", 2)]
    assert (release.version, release.previous_version) == (2, 1)


def test_a_second_rollout_at_the_same_time_is_refused_and_touches_nothing(
    controller: Controller, target: FolderTarget
) -> None:
    with (
        lock.held(targets.lock_file(controller.home, "local")),
        pytest.raises(RolloutFailed, match=r"is under way .pid"),
    ):
        controller.rollout(placed(1))
    assert target.calls == []


def test_the_history_tells_releases_and_undone_rollouts(controller: Controller, target: FolderTarget) -> None:
    controller.rollout(placed(1))
    controller.rollout(placed(1))
    target.breaks["verify", 2] = EngineUnavailable("no weights")
    with pytest.raises(RolloutFailed):
        controller.rollout(placed(2))

    events = [entry.event for entry in history.read(controller.home)]
    assert [(e.kind, e.version, e.by) for e in events] == [("released", 1, "tester"), ("undone", 2, "tester")]
