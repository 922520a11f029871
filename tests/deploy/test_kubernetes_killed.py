"""The controller of a cluster killed at any moment, by kill -9 too: it ends the same, no call is lost, and nobody else is kept out."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from configs.settings import Settings
from data_contracts.errors import Busy, ConfigurationError, RolloutFailed
from deploy import keys, operators, targets
from deploy.targets import Placed
from deploy.targets import kubernetes_lease as lease
from deploy.targets import kubernetes_sides as sides
from deploy.targets import kubernetes_traffic as traffic
from deploy.targets.kubernetes import Kubernetes
from tasks import history
from tasks.controller import Controller
from tests import killer
from tests.deploy import served
from tests.deploy.kube_nodes import Callers
from tests.deploy.kube_world import Cluster
from tests.killer import Plan

RECORD = r"os\.rename .*/rollouts/kubernetes\.json"
ATTEMPTS = 60
CANARY = {"steps": [{"weight": 0.5, "calls": 60, "seconds": 1}], "look_every_s": 0.2, "latency_ratio": 50}


def controlled(home: Path, settings: Settings) -> Controller:
    target = Kubernetes(home, settings)
    return Controller(target, home, "ops", lambda _: None, settings.rollout, lambda _: served.TAXONOMY.keys)


def go(home: Path, settings: Settings, candidate: Placed) -> None:
    controlled(home, settings).rollout(candidate)


def begun(cluster: Cluster, folder: Path, canary: dict[str, Any]) -> tuple[Path, Settings, Placed]:
    """Version 1 is live; and version 9, which is the same bundle, so that a canary of it passes."""
    one = cluster.versions[0]
    home = cluster.another_home(folder)
    settings = cluster.target(home, canary=canary).settings
    go(home, settings, one)
    return home, settings, one.model_copy(update={"version": 9})


@pytest.mark.parametrize(
    ("canary", "nth", "states"),
    [
        ({"steps": []}, 5, {"switching", "live"}),
        pytest.param(
            CANARY, 2, {"planned", "staged", "verified", "canary", "switching", "live"}, marks=pytest.mark.slow
        ),
    ],
    ids=["at the switch", "every state"],
)
def test_killed_after_a_state_the_same_command_ends_live_and_no_call_is_lost(
    quick: Cluster, tmp_path: Path, canary: dict[str, Any], nth: int, states: set[str]
) -> None:
    home, settings, nine = begun(quick, tmp_path, canary)
    callers, left = Callers(quick.nodes, keys.own(home)), []
    with callers.calling():
        for _ in range(ATTEMPTS):  # each dies before it writes its nth state
            code = killer.run(go, home, settings, nine, plan=Plan(RECORD, nth))
            left.append(targets.read(home, "kubernetes").state)
            assert sum(quick.serving().values()) == 100
            if code != -9:
                break

    assert code == 0 and states <= set(left)
    assert callers.failed == [] and callers.answers.total() > 50
    assert quick.serving() == {"1": 0, "9": 100} and targets.read(home, "kubernetes").live == nine
    assert [(e.event.kind, e.event.version) for e in history.read(home)] == [("released", 1), ("released", 9)]


@pytest.mark.slow
@pytest.mark.parametrize("state", ["staged", "verified", "canary", "switching"])
def test_what_was_cut_off_in_a_state_is_taken_back_and_no_call_is_lost(
    quick: Cluster, tmp_path: Path, state: str
) -> None:
    home, settings, nine = begun(quick, tmp_path, CANARY)
    callers = Callers(quick.nodes, keys.own(home))
    with callers.calling():
        for _ in range(ATTEMPTS):
            assert killer.run(go, home, settings, nine, plan=Plan(RECORD, 2)) == -9
            if targets.read(home, "kubernetes").state == state:
                break
        ended = controlled(home, settings).withdraw("not today", 5)

    assert ended.state == "undone" and callers.failed == []
    assert quick.serving() == {"1": 100} and list(quick.sizes()) == ["tingsu-blue"]


class Killed(BaseException):
    """As kill -9: nothing of the controller's runs after it."""


def cut(target: Kubernetes, after: int) -> None:
    """The controller dies when it is about to write once more."""
    left = [after]
    send = target.open()._raw

    def dying(method: str, path: str, query: Any, *more: Any) -> bytes:
        if method != "GET" and "dryRun" not in query:
            if not left[0]:
                raise Killed
            left[0] -= 1
        return send(method, path, query, *more)

    target.open()._raw = dying  # type: ignore[method-assign]


def whole(cluster: Cluster) -> str:
    """What is wanted of the cluster, without what tells how often it was written, and from when on a candidate counts as there already."""
    found = {}
    for key, made in cluster.server.snapshot().items():
        if key[1] not in ("pods", "secrets"):
            shown = {k: v for k, v in made["metadata"].items() if k in ("name", "labels")}
            found["/".join(key)] = {**made, "metadata": shown, "status": None}
    return re.sub(r'\\"before\\": \S+ ', "", json.dumps(found, sort_keys=True))


@pytest.mark.slow
def test_a_controller_that_is_killed_before_any_write_goes_on_to_the_same_end_and_loses_no_traffic(
    quick: Cluster,
) -> None:
    one, two = quick.versions

    def roll(target: Kubernetes) -> None:
        target.stage(two)
        target.weigh(two, 0.25)
        target.switch(two)

    def anew() -> None:
        cluster = quick.target().open()
        traffic.close(cluster, "tingsu", "gateway")
        for name in ("blue", "green"):
            traffic.remove(cluster, "tingsu", name)
        sides.forget(cluster, "tingsu")
        quick.live()

    def died(after: int) -> None:
        anew()
        dying = quick.target()
        cut(dying, after)
        with pytest.raises(Killed):
            roll(dying)
        assert sum(quick.serving().values()) == 100

    anew()
    quick.server.writes.clear()
    roll(quick.target())
    writes, wanted = len(quick.server.writes), whole(quick)
    for after in range(writes):
        died(after)
        roll(quick.target())
        assert whole(quick) == wanted, after
        died(after)
        quick.target().undo(one, two)
        assert quick.serving() == {"1": 100} and "tingsu-green" not in whole(quick), after
    assert writes > 15


def test_a_second_home_is_refused_with_the_name_of_who_rolls_out(quick: Cluster, tmp_path: Path) -> None:
    _, two = quick.versions
    target, other = quick.live(), quick.target(quick.another_home(tmp_path))
    with target.held("ana"):
        with pytest.raises(Busy, match=r"under way by ana on .* since 20\d\d-"), other.held("bob"):
            pass
        target.stage(two)
        assert target._lease is not None
        target._lease._renewed_s = float("-inf")  # as if the API server had not answered for a minute
        quick.server.writes.clear()
        with pytest.raises(RolloutFailed, match="could not be renewed"):
            target.switch(two)
        assert [made for made in quick.server.writes if "leases" not in made] == []

    with other.held("bob"):
        assert quick.server.of("leases")["tingsu-rollout"]["spec"]["holderIdentity"].startswith("bob on ")


def test_callers_that_another_home_let_in_are_not_shut_out(quick: Cluster, tmp_path: Path) -> None:
    _, two = quick.versions
    home, file = quick.another_home(tmp_path), keys.file(quick.home)
    keys.file(home).unlink(missing_ok=True)
    keys.add(home, "own", ["classify"])
    before = file.read_bytes() if file.is_file() else None
    keys.add(quick.home, "partner", ["classify"])
    try:
        quick.live()
        quick.server.writes.clear()
        for attempt in (quick.target(home).stage, quick.target(home).changes):
            with pytest.raises(ConfigurationError, match=r"Secret tingsu-keys in .* does not know: .*partner\. "):
                attempt(two)
        assert quick.server.writes == []
        assert quick.target(home, replace_keys=True).changes(two)
    finally:
        file.unlink() if before is None else file.write_bytes(before)
        quick.live(replace_keys=True)


def test_operators_whom_another_home_trusts_are_not_put_out_of_office(quick: Cluster, tmp_path: Path) -> None:
    _, two = quick.versions
    home = quick.another_home(tmp_path / "other")
    operators.trust(quick.home, "wang", tmp_path / "wang.pem")
    try:
        quick.live(replace_keys=True)
        quick.server.writes.clear()
        with pytest.raises(ConfigurationError, match=r"operators in Secret tingsu-keys in .* does not know: wang\. "):
            quick.target(home).stage(two)
        assert quick.server.writes == []
    finally:
        operators.revoke(quick.home, "wang")
        quick.live()


def hold(home: Path, settings: Settings) -> None:
    lease.LASTS_S, lease.RENEW_S = 2, 0.2
    with Kubernetes(home, settings).held("ana"):
        time.sleep(0.5)
        (home / "told").write_text("")


def test_who_was_killed_keeps_its_own_home_out_for_no_moment_and_others_for_as_long_as_the_lease_lasts(
    quick: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LOOKS_S", 0.5)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = quick.target(quick.another_home(tmp_path / "a"))
    other = quick.target(quick.another_home(tmp_path / "b"))
    assert killer.run(hold, first.home, first.settings, plan=Plan(r"open w .*/told$")) == -9

    with pytest.raises(Busy, match="under way by ana"), other.held("bob"):
        pass
    with first.held("ana"):
        pass
    assert killer.run(hold, first.home, first.settings, plan=Plan(r"open w .*/told$")) == -9
    time.sleep(2)
    with other.held("bob"):
        pass
