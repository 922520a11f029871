"""This machine as a target: real service processes over small bundles with a fake engine."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import pytest

from configs.settings import ServeSettings, Settings
from configs.sources import load
from data_contracts.errors import ConfigurationError, EngineUnavailable, GateRefused, ResourceInsufficient
from data_contracts.schema import Call
from deploy import keys, service
from deploy.client import Client
from deploy.operate import ports, processes
from deploy.store import FolderStore
from deploy.targets import Placed
from deploy.targets.local import SERVICE, STAGED, Local
from tasks import rollout
from tests.deploy import served


def command(
    bundle: Path, port: int, home: Path, serve: ServeSettings, *, evaluation: bool = False, version: int | None = None
) -> list[str]:
    """The service's command line with the fake engine in its child."""
    real = service.command(bundle, port, home, serve, evaluation=evaluation, version=version)
    return [sys.executable, "-P", "-c", served.WITH_FAKE, *real[4:]]


@pytest.fixture
def settings() -> Settings:
    free = [ports.spare(18200 + 200 * (os.getpid() % 50), ())]
    free.append(ports.spare(free[0] + 1, ()))
    return load(sets=[f"ports.service={free[0]}", f"ports.engines_from={free[1]}", "rollout.drain_s=3"], env={})


@pytest.fixture
def target(tmp_path: Path, settings: Settings) -> Iterator[Local]:
    yield Local(tmp_path, settings, command)
    for process in processes.recorded(tmp_path):
        processes.stop(tmp_path, process.name, limit_s=2)


def placed(home: Path, version: int, decision: str = "PROMOTE", **behaviour: float) -> Placed:
    store = FolderStore(home / "store")
    ref = served.fake_bundle(store, **(behaviour or {"load_s": version / 1000}))
    folder = served.promote(store, ref, home, decision)
    return Placed(version=version, bundle_digest=ref.digest, folder=str(folder), verdict_signature="s")


def test_a_candidate_is_staged_beside_what_serves_then_takes_its_port(target: Local, settings: Settings) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2)
    endpoint = target.switch(old)
    process = service_of(target)

    target.stage(new)
    target.verify(new)
    during = target.status()
    target.switch(new)

    assert service_of(target).pid == process.pid
    assert f"--bundle={new.folder}" in service_of(target).argv and "--version=2" in service_of(target).argv
    assert endpoint == f"http://127.0.0.1:{settings.ports.service}"
    assert (during.serving, target.status().serving) == (old.bundle_digest, new.bundle_digest)
    assert processes.find(target.home, STAGED) is None
    with Client(endpoint) as client:
        assert client.model_info()["model_version"].startswith("2+")


def service_of(target: Local) -> processes.Process:
    process = processes.find(target.home, SERVICE)
    assert process is not None
    return process


def test_a_switch_loses_no_request(target: Local) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2)
    url = target.switch(old)
    stop, versions = threading.Event(), []

    def ask() -> None:
        with Client(url, patience_s=0) as client:
            while not stop.is_set():
                versions.append(client.classify([Call(text="客户：宽带断了。")])[0]["model_version"].partition("+")[0])

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        target.stage(new)
        target.switch(new)
        target.undo(old)
        stop.set()
        asking.result()

    assert [version for version, _ in groupby(versions)] == ["1", "2", "1"]


def test_a_rollout_with_another_setting_starts_the_service_anew(target: Local, settings: Settings) -> None:
    bundle = placed(target.home, 1)
    target.switch(bundle)
    before = service_of(target)
    serve = settings.serve.model_copy(update={"max_turns": 9})

    Local(target.home, settings.model_copy(update={"serve": serve}), command).switch(bundle)

    assert service_of(target).pid != before.pid and not processes.alive(before)


def test_a_service_started_from_other_code_is_replaced(target: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = placed(target.home, 1)
    with monkeypatch.context() as older:
        older.setattr(service, "code", lambda: "older")
        target.switch(bundle)
    before = service_of(target)

    target.switch(bundle)

    assert service_of(target).pid != before.pid


def test_a_switch_killed_before_its_record_is_written_is_seen_by_the_next(target: Local) -> None:
    """The service serves the second bundle, its record says the first: as after kill -9 between the two."""
    old, new = placed(target.home, 1), placed(target.home, 2)
    target.switch(old)
    before = service_of(target)
    with Client(target.status().endpoint) as client:
        client.reload(Path(new.folder), 2, 60)
    assert f"--bundle={old.folder}" in service_of(target).argv

    target.switch(old)
    assert target.status().serving == old.bundle_digest
    target.switch(new)

    assert target.status().serving == new.bundle_digest and service_of(target).pid == before.pid


def test_a_switch_that_was_cut_off_while_the_bundle_loads_is_waited_for(target: Local) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2, load_s=2.0)
    target.switch(old)
    with Client(target.status().endpoint, timeout_s=0.5) as client, pytest.raises(EngineUnavailable):
        client.reload(Path(new.folder), 2, limit_s=0.5)

    target.switch(old)

    assert target.status().serving == old.bundle_digest
    assert f"--bundle={old.folder}" in service_of(target).argv


def test_where_memory_cannot_hold_both_the_service_is_drained(target: Local) -> None:
    old, new = placed(target.home, 1, memory_mb=10**8), placed(target.home, 2)
    target.switch(old)
    before = service_of(target)

    target.switch(new)

    assert target.status().serving == new.bundle_digest and service_of(target).pid == before.pid


def test_switching_to_what_serves_already_keeps_the_process(target: Local) -> None:
    bundle = placed(target.home, 1)
    target.switch(bundle)
    before = processes.find(target.home, SERVICE)

    target.switch(bundle)

    assert processes.find(target.home, SERVICE) == before


def test_rollouts_go_on_when_keys_come_into_use(target: Local) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2)
    target.switch(old)
    keys.add(target.home, "crm", ["classify"])

    during = target.status()
    target.stage(new)
    target.verify(new)
    target.switch(new)

    assert (during.serving, target.status().serving) == (old.bundle_digest, new.bundle_digest)
    with Client(target.status().endpoint) as stranger, pytest.raises(ConfigurationError, match="TINGSU_API_KEY"):
        stranger.model_info()


def test_a_killed_service_is_replaced(target: Local) -> None:
    bundle = placed(target.home, 1)
    target.switch(bundle)
    process = processes.find(target.home, SERVICE)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)

    target.switch(bundle)

    assert target.status().serving == bundle.bundle_digest


def test_a_candidate_without_a_valid_verdict_does_not_start(target: Local) -> None:
    with pytest.raises(EngineUnavailable, match=r"service-next ended before it was ready.*HOLD"):
        target.stage(placed(target.home, 1, decision="HOLD"))


def test_a_public_port_held_by_a_stranger_is_named(target: Local, settings: Settings) -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", settings.ports.service))
        stranger.listen()

        with pytest.raises(ResourceInsufficient, match=r"port .* is held by .*--set ports\.service=PORT"):
            target.switch(placed(target.home, 1))


def test_undo_brings_the_live_version_back(target: Local) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2)
    target.switch(old)
    target.switch(new)
    target.stage(old)

    target.undo(old)

    assert target.status().serving == old.bundle_digest
    assert [process.name for process in processes.running(target.home)] == [SERVICE]


def test_undo_of_a_first_version_leaves_nothing_running(target: Local) -> None:
    target.switch(placed(target.home, 1))

    target.undo(None)

    assert processes.running(target.home) == []
    assert target.status().detail == "stopped"


def test_a_bundle_that_was_not_promoted_is_refused_before_anything_is_touched(target: Local) -> None:
    store = FolderStore(target.home / "store")
    ref = served.fake_bundle(store)
    served.promote(store, ref, target.home, "HOLD")

    with pytest.raises(GateRefused, match="is HOLD"):
        rollout.admit(store, 1, ref, target.home)
    assert processes.recorded(target.home) == []
