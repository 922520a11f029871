"""The rollout controller against a target that fails, or is killed, at any step."""

from pathlib import Path

import pytest

from data_contracts.errors import EngineUnavailable, GateRefused, RolloutFailed
from deploy import targets
from deploy.operate import lock
from deploy.targets import Placed
from tasks import history
from tasks.controller import Controller
from tests.tasks import rolled
from tests.tasks.rolled import FolderTarget, placed

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
        raise GateRefused("changed")

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

    with pytest.raises(RolloutFailed, match="nothing served before, and nothing serves now"):
        controller.rollout(placed(1))
    assert target.serving is None


def test_an_undo_that_fails_too_says_what_to_do(controller: Controller, target: FolderTarget) -> None:
    controller.rollout(placed(1))
    target.breaks = {("switch", 2): EngineUnavailable("no weights"), ("undo", 1): EngineUnavailable("port held")}

    with pytest.raises(RolloutFailed, match=r"Version 1, which served before, could not be brought back.*port held"):
        controller.rollout(placed(2))


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


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_rollout_is_undone_before_another_version_is_rolled_out(
    step: str, controller: Controller, target: FolderTarget
) -> None:
    controller.rollout(placed(1))
    target.breaks[step, 2] = Killed()
    with pytest.raises(Killed):
        controller.rollout(placed(2))

    release = controller.rollout(placed(3))

    assert ("undo", 1) in target.calls
    assert (release.version, release.previous_version) == (3, 1)


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
