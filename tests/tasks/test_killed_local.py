"""The controller killed by SIGKILL after every single state, on this machine, under load: it ends the same, and nobody loses an answer."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.settings import Settings
from deploy import targets
from deploy.operate import processes
from deploy.targets import Placed
from deploy.targets.local import Local
from tasks import history, rollout
from tasks.controller import Controller
from tests import killer
from tests.killer import Plan
from tests.tasks import test_local_canary
from tests.tasks.test_local_canary import UNDO_S, Load, command, placed

pytestmark = pytest.mark.slow
settings = test_local_canary.settings
RECORD = r"os\.rename .*/rollouts/local\.json"
ATTEMPTS = 60


def controlled(home: Path, settings: Settings) -> Controller:
    made = rollout._controller(settings, home, "operator")
    target = Local(home, settings, command)
    return Controller(target, home, made.by, made.permit, made.settings, made.categories, made.clock)


def go(home: Path, settings: Settings, candidate: Placed) -> None:
    controlled(home, settings).rollout(candidate)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for process in processes.recorded(tmp_path):
        processes.stop(tmp_path, process.name, limit_s=2)


def test_killed_after_every_state_it_goes_live_and_nobody_loses_an_answer(home: Path, settings: Settings) -> None:
    first, second = placed(home, 1), placed(home, 2)
    load = Load(controlled(home, settings).rollout(first).endpoint)
    left = []
    for _ in range(ATTEMPTS):  # each writes one state, and dies before the next
        code = killer.run(go, home, settings, second, plan=Plan(RECORD, 2))
        load.more(5)
        left.append(targets.read(home, "local").state)
        if code != -9:
            break
    load.more(50)
    load.end()

    assert code == 0
    assert {"planned", "staged", "verified", "canary", "switching", "live"} <= set(left)
    assert set(load.versions[-20:]) == {"2"} and "1" in load.versions
    assert targets.read(home, "local").live == second
    assert [(e.event.kind, e.event.version) for e in history.read(home)] == [("released", 1), ("released", 2)]


@pytest.mark.parametrize("state", ["staged", "verified", "canary", "switching"])
def test_what_was_cut_off_in_a_state_is_taken_back_in_seconds(state: str, home: Path, settings: Settings) -> None:
    first, second = placed(home, 1), placed(home, 2)
    load = Load(controlled(home, settings).rollout(first).endpoint)
    for _ in range(ATTEMPTS):
        assert killer.run(go, home, settings, second, plan=Plan(RECORD, 2)) == -9
        if targets.read(home, "local").state == state:
            break

    began = time.monotonic()
    ended = controlled(home, settings).withdraw("not today", 5)
    took_s = time.monotonic() - began
    load.more(10)
    after = set(load.more(50))
    load.end()

    assert (ended.state, after) == ("undone", {"1"}) and took_s < UNDO_S
    assert [process.name for process in processes.running(home)] == ["service"]
