"""The whole way on this machine, under load: a version whose categories are shifted is tried, found out and undone; a healthy one goes
live; and back. Real service processes, the real controller and judge, and a fake engine."""

import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.rollout import RolloutSettings
from configs.settings import Settings
from configs.sources import load
from data_contracts.errors import ConfigurationError, RolloutFailed
from data_contracts.schema import Call
from deploy import service, targets
from deploy.client import Client
from deploy.operate import ports, processes
from deploy.store import FolderStore
from deploy.targets import Placed
from deploy.targets.local import Local
from tasks import history, rollout
from tasks.controller import Controller
from tests.deploy import served
from tests.tmpfs import mounted

STEPS = "[{weight: 0.3, calls: 100}, {weight: 0.5, calls: 100}]"
UNDO_S = 5.0


def command(*asked: Any, **more: Any) -> list[str]:
    return [sys.executable, "-P", "-c", served.WITH_FAKE, *service.command(*asked, **more)[4:]]


@pytest.fixture
def settings() -> Settings:
    free = [ports.spare(23000 + 200 * (os.getpid() % 50), ())]
    free.append(ports.spare(free[0] + 1, ()))
    # healthy candidates are undone by chance once in a thousand; mirrored calls tell of the shift too
    canary = [f"rollout.canary.steps={STEPS}", "rollout.canary.look_every_s=0.5", "rollout.canary.alpha=0.001"]
    places = [f"ports.service={free[0]}", f"ports.engines_from={free[1]}", "rollout.drain_s=3"]
    return load(sets=[*canary, *places, "rollout.canary.mirror_share=0.5"], env={})


@pytest.fixture
def controller(tmp_path: Path, settings: Settings) -> Iterator[Controller]:
    """As tasks/rollout makes it, over services with the fake engine."""
    made = rollout._controller(settings, tmp_path, "operator")
    yield Controller(
        Local(tmp_path, settings, command), tmp_path, made.by, made.permit, made.settings, made.categories, made.clock
    )
    for process in processes.recorded(tmp_path):
        processes.stop(tmp_path, process.name, limit_s=2)


def placed(home: Path, version: int, **behaviour: float) -> Placed:
    store = FolderStore(home / "store")
    ref = served.fake_bundle(store, load_s=version / 1000, **behaviour)
    folder = served.promote(store, ref, home)
    return Placed(version=version, bundle_digest=ref.digest, folder=str(folder), verdict_signature="s")


class Load:
    """Single calls, from several callers who wait out nothing, each another text."""

    def __init__(self, url: str) -> None:
        self.versions: list[str] = []
        self._url, self._stop, self._number = url, threading.Event(), itertools.count()
        self._pool = ThreadPoolExecutor(4)
        self._asking = [self._pool.submit(self._ask) for _ in range(4)]

    def _ask(self) -> None:
        with Client(self._url, patience_s=0) as client:
            while not self._stop.is_set():
                text = f"客户：{next(self._number)}月的账单第{next(self._number)}项不对。"
                found = client.classify([Call(text=text)])[0]["model_version"]
                self.versions.append(found.partition("+")[0])

    def more(self, count: int) -> list[str]:
        """The versions of so many more answers."""
        here = len(self.versions)
        while len(self.versions) < here + count:
            assert not any(one.done() for one in self._asking)
            time.sleep(0.01)
        return self.versions[here:]

    def end(self) -> None:
        """Every call was answered."""
        self._stop.set()
        for one in self._asking:
            one.result()
        self._pool.shutdown()


def test_a_service_of_other_settings_is_not_rolled_over_without_its_canary(
    controller: Controller, settings: Settings
) -> None:
    home = controller.home
    first, second = placed(home, 1), placed(home, 2)
    controller.rollout(first)
    before = processes.recorded(home)
    serve = settings.serve.model_copy(update={"max_turns": 9})
    other = replace(controller, target=Local(home, settings.model_copy(update={"serve": serve}), command))

    with pytest.raises(ConfigurationError, match=r"no canary.*\./tingsu up"):
        other.rollout(second)
    untouched = processes.recorded(home)
    at_once = replace(other, settings=RolloutSettings()).rollout(second)

    assert untouched == before and (at_once.version, at_once.previous_version) == (2, 1)


@pytest.mark.slow
def test_a_shifted_version_is_undone_by_the_canary_a_healthy_one_goes_live_and_nobody_loses_an_answer(
    controller: Controller,
) -> None:
    home, target = controller.home, controller.target
    first, shifted, healthy = placed(home, 1), placed(home, 2, shift=5.0), placed(home, 3)
    load = Load(controller.rollout(first).endpoint)
    with pytest.raises(RolloutFailed, match=r"breach in canary step [12] of 2 .*Undone: version 1 serves"):
        controller.rollout(shifted)
    load.more(10)
    after_breach = set(load.more(50))
    found = targets.read(home, "local").canary

    release = controller.rollout(healthy)
    load.more(10)
    live = set(load.more(50))
    began = time.monotonic()
    controller.undo(1)
    took_s = time.monotonic() - began
    load.more(10)
    back = set(load.more(50))
    load.end()

    assert (after_breach, live, back) == ({"1"}, {"3"}, {"1"}) and "2" in load.versions
    assert found is not None and found.judgement is not None and found.judgement.decision == "breach"
    assert {"category_mix", "disagreement"} & set(found.judgement.signals)
    assert (release.version, release.previous_version) == (3, 1) and took_s < UNDO_S
    assert target.status().serving == first.bundle_digest
    told = [entry.event for entry in history.read(home)]
    assert [(event.kind, event.version) for event in told] == [
        ("released", 1),
        ("undone", 2),
        ("released", 3),
        ("released", 1),
    ]
    assert all(event.by == "operator" and event.detail["steps"] for event in told)
    assert "breach" in str(told[1].detail["canary"]) and "pass" in str(told[2].detail["canary"])


@pytest.mark.slow
def test_a_disk_that_fills_up_in_a_canary_takes_the_traffic_back_and_a_lost_record_is_no_loss(
    controller: Controller, settings: Settings, tmp_path: Path
) -> None:
    with mounted(tmp_path / "disk", megabytes=64) as disk:
        target = Local(disk.at, settings, command)
        control = replace(controller, target=target, home=disk.at, known=lambda _: first)
        first, second = placed(disk.at, 1), placed(disk.at, 2)
        try:
            load = Load(control.rollout(first).endpoint)
            (disk.at / "rollouts/local.json").unlink()
            with ThreadPoolExecutor(1) as pool:
                rolling = pool.submit(control.rollout, second)
                while "2" not in load.versions and not rolling.done():
                    time.sleep(0.05)
                disk.fill()
                with pytest.raises(RolloutFailed, match=r"No space left.*Undone: version 1 serves.*not on record"):
                    rolling.result()
            load.more(10)
            after = set(load.more(50))
            load.end()
            disk.free()
            ended = control.withdraw("the disk was full", 5)
        finally:
            for process in processes.recorded(disk.at):
                processes.stop(disk.at, process.name, limit_s=2)

    assert after == {"1"} and "2" in load.versions and ended.state == "undone"
    assert [step.state for step in ended.steps][-3:] == ["canary", "undoing", "undone"]
