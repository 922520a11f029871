"""A rollout whose process is killed by SIGKILL before any write of it, and run again: the same end, and never without a server."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from data_contracts.errors import ApprovalAwaited, RolloutFailed
from deploy import targets
from tasks import history
from tests import killer
from tests.killer import Plan
from tests.tasks import rolled
from tests.tasks.rolled import CANARY, PLAIN, FolderTarget, placed

WRITES = r"^(os\.rename|open w) .*/(rollouts/local[.\w]*\.json|history\.jsonl|target/\w+\.state)$"
APPROVED = CANARY.model_copy(update={"approval": "required"})


def healthy(home: Path) -> None:
    """Staged, verified, approved, through two steps, live."""
    control = rolled.controller(home, APPROVED)
    with suppress(ApprovalAwaited):
        control.rollout(placed(2))
    if targets.read(home, "local").state == "awaiting":
        control.approve(2, "reviewed")
    control.rollout(placed(2))


def faulty(home: Path) -> None:
    """Breaks in the canary, and is undone."""
    (home / "target/faulty-2").touch()
    with suppress(RolloutFailed):
        rolled.controller(home).rollout(placed(2))


def taken_back(home: Path) -> None:
    """Cut off in the canary by whatever, then withdrawn by one command."""
    control = rolled.controller(home)
    if targets.read(home, "local").candidate == placed(1):
        broken = FolderTarget(home / "target", breaks={("look", 2): KeyboardInterrupt()})
        with suppress(KeyboardInterrupt):
            rolled.controller(home, CANARY, broken).rollout(placed(2))
    if not targets.read(home, "local").is_finished:
        control.withdraw("not today", 5)


def gone_back(home: Path) -> None:
    """Live for good, then back to the version before."""
    record = targets.read(home, "local")
    if record.live == placed(1) and not record.is_return:
        rolled.controller(home, PLAIN).rollout(placed(2))
    rolled.controller(home, PLAIN).undo(1)


def begun(home: Path) -> FolderTarget:
    """Version 1 serves."""
    home.mkdir()
    rolled.controller(home).rollout(placed(1))
    return FolderTarget(home / "target")


def events(home: Path) -> list[tuple[str, int | None]]:
    return [(entry.event.kind, entry.event.version) for entry in history.read(home)]


ENDS: dict[Callable[[Path], None], tuple[int, str, list[tuple[str, int | None]]]] = {
    healthy: (2, "live", [("released", 1), ("approved", 2), ("released", 2)]),
    faulty: (1, "undone", [("released", 1), ("undone", 2)]),
    taken_back: (1, "undone", [("released", 1), ("undone", 2)]),
    gone_back: (1, "live", [("released", 1), ("released", 2), ("released", 1)]),
}


@pytest.mark.parametrize("story", ENDS, ids=lambda story: story.__name__)
def test_killed_before_any_write_and_run_again_it_ends_as_if_it_had_not_been(
    story: Callable[[Path], None], tmp_path: Path
) -> None:
    begun(tmp_path / "whole")
    assert killer.run(story, tmp_path / "whole", plan=Plan(WRITES, 0, str(tmp_path / "writes"))) == 0
    writes = list(killer.told(tmp_path / "writes"))
    assert len(writes) > 10 and any("history" in line for line in writes)

    for nth, line in enumerate(writes, 1):
        home = tmp_path / str(nth)
        target = begun(home)
        assert killer.run(story, home, plan=Plan(WRITES, nth)) == -9, line
        between = target.serving
        assert killer.run(story, home) == 0, line

        serving, state, told = ENDS[story]
        record = targets.read(home, "local")
        assert between in (1, 2), line
        assert (target.serving, target.staged, target.share, record.state) == (serving, None, 0.0, state), line
        assert events(home) == told and history.verify(home) is None, line
        assert record.live == placed(serving), line


def test_every_state_is_one_that_a_process_was_killed_in(tmp_path: Path) -> None:
    """The writes above are of every state that a rollout has."""
    seen: set[str] = set()
    for story in ENDS:
        home = tmp_path / story.__name__
        begun(home)
        killer.run(story, home, plan=Plan(WRITES, 0, str(tmp_path / "log")))
        seen |= {step.state for step in targets.read(home, "local").steps}
    assert "rollouts/local.approve.json" in (tmp_path / "log").read_text()
    assert seen >= {"planned", "staged", "verified", "awaiting", "canary", "switching", "live", "undoing", "undone"}
