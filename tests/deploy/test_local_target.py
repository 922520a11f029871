"""This machine as a target: real service processes over small bundles with a fake engine."""

import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import psutil
import pytest

from configs.serving import ServeSettings
from configs.settings import Settings
from configs.sources import load
from data_contracts.errors import ConfigurationError, EngineUnavailable, GateRefused, ResourceInsufficient
from data_contracts.schema import Call
from deploy import keys, service, targets
from deploy.client import Client
from deploy.operate import canary_window, ports, processes, stack
from deploy.store import FolderStore
from deploy.targets import Placed, Record, local
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


def lost(target: Local, placed: Placed, is_newest: bool = True) -> None:
    """The engine of what serves died, and cannot be loaded any more."""
    (Path(placed.folder) / "model/fake.json").unlink()
    (max if is_newest else min)(engines(target), key=psutil.Process.create_time).kill()
    while processes.answers(f"{target.status().endpoint}/ready"):
        time.sleep(0.02)


@pytest.mark.parametrize("is_asked_for", [True, False])
def test_going_back_from_a_dead_engine_is_a_switch_to_the_version_that_is_still_loaded(
    target: Local, is_asked_for: bool
) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2, shift=5.0)
    target.switch(old)
    process = service_of(target)
    target.stage(new)
    target.switch(new)
    lost(target, new)

    began = time.monotonic()
    if is_asked_for:
        target.switch(old)
    else:
        target.undo(old, new)

    assert time.monotonic() - began < 5 and service_of(target).pid == process.pid
    assert target.status().serving == old.bundle_digest


def test_a_status_says_why_it_does_not_know_what_serves(target: Local, settings: Settings, tmp_path: Path) -> None:
    nothing = target.status()
    bundle = placed(target.home, 1)
    target.switch(bundle)
    keys.add(target.home, "crm", ["classify"])
    copied = Local(tmp_path / "copy", settings, command)
    shutil.copytree(target.home / "run", copied.home / "run")
    stranger = copied.status()
    lost(target, bundle)
    dead = target.status()

    assert [each.serving for each in (nothing, stranger, dead)] == [None] * 3
    assert not nothing.untold and "TINGSU_API_KEY" in stranger.untold
    assert "is not ready; see" in dead.untold and "./tingsu down" in dead.untold


def test_a_version_is_rolled_out_over_one_whose_engine_is_dead_without_a_restart(target: Local) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2, shift=5.0)
    target.switch(old)
    process = service_of(target)
    lost(target, old)

    target.stage(new)
    target.verify(new)
    assert target.unsplit(new) == "what served before does not answer"
    target.switch(new)

    assert target.status().serving == new.bundle_digest and service_of(target).pid == process.pid


def test_a_candidate_in_the_service_has_its_canary_though_the_live_engine_is_away(target: Local) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2, shift=5.0)
    target.switch(old)
    target.stage(new)
    lost(target, old, is_newest=False)

    assert not target.unsplit(new)


def test_a_service_that_hangs_is_replaced_after_one_short_wait(target: Local) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2)
    target.switch(old)
    target.switch(new)
    os.kill(service_of(target).pid, signal.SIGSTOP)

    began = time.monotonic()
    target.undo(old, new)
    took_s = time.monotonic() - began

    assert took_s < local.ANSWERS_S + local.HUNG_S + 8 and target.status().serving == old.bundle_digest


@pytest.mark.slow
def test_a_service_that_ended_comes_back_with_what_is_live_and_what_waits_for_approval_waits_on(
    target: Local, settings: Settings
) -> None:
    store = FolderStore(target.home / "store")
    ref = served.real_bundle(store, 1)
    folder = str(served.promote(store, ref, target.home))
    live = Placed(version=1, bundle_digest=ref.digest, folder=folder, verdict_signature="s")
    waiting = Record(target="local", id="r", live=live, candidate=placed(target.home, 2)).at("awaiting", "now")
    targets.write(target.home, waiting)

    for _ in range(2):
        stack.revive(target.home, settings)
        assert target.status().serving == ref.digest
        os.kill(service_of(target).pid, signal.SIGKILL)

    assert targets.read(target.home, "local") == waiting


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
        target.undo(old, new)
        stop.set()
        asking.result()

    assert [version for version, _ in groupby(versions)] == ["1", "2", "1"]


class Asked:
    """Callers who ask all the time and wait out nothing: the versions that answered, in order."""

    def __init__(self, url: str) -> None:
        self.versions: list[str] = []
        self._url, self._stop = url, threading.Event()
        self._pool = ThreadPoolExecutor(2)
        self._asking = [self._pool.submit(self._ask) for _ in range(2)]
        self.until(1)

    def _ask(self) -> None:
        with Client(self._url, patience_s=0) as client:
            while not self._stop.is_set():
                found = client.classify([Call(text="客户：宽带断了。")])[0]["model_version"]
                self.versions.append(found.partition("+")[0])

    def until(self, more: int, version: str = "") -> None:
        """Until so many more answers came, or one of this version did after them."""
        here, end = len(self.versions), time.monotonic() + 60
        while len(self.versions) < here + more or (version and version not in self.versions[here:]):
            assert time.monotonic() < end and not any(one.done() for one in self._asking), self._asking
            time.sleep(0.01)

    def ended(self) -> list[str]:
        """Every call was answered."""
        self._stop.set()
        for one in self._asking:
            one.result()
        self._pool.shutdown()
        return self.versions


def test_a_canary_is_staged_weighed_looked_at_switched_and_undone_and_no_request_fails(target: Local) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2, shift=5.0)
    asked = Asked(target.switch(old))
    target.stage(new)
    target.verify(new)
    assert not target.unsplit(new)
    asked.until(50)
    assert set(asked.versions) == {"1"}
    before = target.look(new, 0.0)
    target.weigh(new, 0.3)
    asked.until(100, "2")
    window = canary_window.between(before, target.look(new, 1.0))
    assert "2+" in target.status().detail and "30%" in target.status().detail
    assert 0 < window.candidate.requests < window.champion.requests and not window.candidate.errors
    target.switch(new)
    asked.until(5)
    asked.until(20)
    live = set(asked.versions[-20:])
    assert "version 1+" in target.status().detail

    began = time.monotonic()
    target.undo(old, new)
    took_s = time.monotonic() - began
    asked.until(20)

    versions = asked.ended()
    assert live == {"2"} and set(versions[-10:]) == {"1"} and took_s < 5
    assert target.status().serving == old.bundle_digest and ";" not in target.status().detail
    assert len(engines(target)) == 1


def test_an_undo_in_the_middle_of_a_canary_takes_the_share_and_leaves_the_version_before_loaded(target: Local) -> None:
    first, live, new = (placed(target.home, n, shift=float(n)) for n in (1, 2, 3))
    target.switch(first)
    asked = Asked(target.switch(live))
    target.stage(new)
    target.weigh(new, 0.5)
    asked.until(20, "3")

    target.undo(live, new)
    asked.until(5)
    asked.until(40)

    assert set(asked.ended()[-40:]) == {"2"} and len(engines(target)) == 2
    assert "version 1+" in target.status().detail and target.switch(first)


def test_a_candidate_killed_in_a_canary_costs_no_answer_and_goes_on(target: Local) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2, shift=5.0)
    asked = Asked(target.switch(old))
    (champion,) = engines(target)
    target.stage(new)
    target.weigh(new, 0.5)
    asked.until(10, "2")
    (candidate,) = [each for each in engines(target) if each != champion]
    candidate.kill()
    asked.until(40, "2")
    target.look(new, 0.0)

    assert set(asked.ended()) == {"1", "2"} and champion.is_running()


def test_a_candidate_that_nobody_looks_at_has_no_traffic_any_more_and_the_next_who_looks_goes_on(
    target: Local, settings: Settings
) -> None:
    canary = settings.rollout.canary.model_copy(update={"unwatched_s": 0.5, "look_every_s": 0.5})
    rollout = settings.rollout.model_copy(update={"canary": canary})
    target = Local(target.home, settings.model_copy(update={"rollout": rollout}), command)
    old, new = placed(target.home, 1), placed(target.home, 2, shift=5.0)
    asked = Asked(target.switch(old))
    target.stage(new)
    target.weigh(new, 0.5)
    for _ in range(6):
        time.sleep(0.3)
        target.look(new, 0.0)
    watched = target.status().detail
    while "nobody looked" not in target.status().detail:
        time.sleep(0.05)
    asked.until(5)
    asked.until(40)
    unwatched = set(asked.versions[-40:])
    target.weigh(new, 0.5)
    asked.until(20, "2")

    assert "2+" in watched and "50%" in watched
    assert unwatched == {"1"} and set(asked.ended()) == {"1", "2"}
    with Client(target.status().endpoint) as client:
        assert client.model_info()["candidate"]["lapsed"] is False and len(engines(target)) == 2


def test_a_service_that_dies_in_a_canary_is_started_again_with_both(target: Local) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2, shift=5.0)
    target.switch(old)
    target.stage(new)
    target.weigh(new, 0.5)
    os.kill(service_of(target).pid, signal.SIGKILL)
    while processes.find(target.home, SERVICE):
        time.sleep(0.01)

    target.look(new, 1.0)

    asked = Asked(target.status().endpoint)
    asked.until(20, "2")
    assert set(asked.ended()) == {"1", "2"}


def test_a_service_of_other_settings_takes_no_candidate_and_the_switch_replaces_it(
    target: Local, settings: Settings
) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2)
    target.switch(old)
    serve = settings.serve.model_copy(update={"max_turns": 9})
    other = Local(target.home, settings.model_copy(update={"serve": serve}), command)

    other.stage(new)
    other.verify(new)

    assert target.status().serving == old.bundle_digest
    for ask in (lambda: other.unsplit(new), lambda: other.weigh(new, 0.1)):
        with pytest.raises(ConfigurationError, match=r"other settings or other code.*tingsu up"):
            ask()
    other.switch(new)
    assert other.status().serving == new.bundle_digest and processes.find(target.home, STAGED) is None


def test_an_undo_leaves_a_service_that_serves_the_live_version_as_it_is(target: Local, settings: Settings) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2)
    target.switch(old)
    before = service_of(target)
    serve = settings.serve.model_copy(update={"max_turns": 9})
    other = Local(target.home, settings.model_copy(update={"serve": serve}), command)
    other.stage(new)

    other.undo(old, new)

    assert service_of(target) == before and target.status().serving == old.bundle_digest
    assert processes.find(target.home, STAGED) is None


def test_going_back_to_a_version_that_is_still_loaded_needs_no_start_whatever_was_changed_since(
    target: Local, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an update of Tingsu, or of the settings, without `up`."""
    old, new = placed(target.home, 1), placed(target.home, 2)
    target.switch(old)
    target.switch(new)
    before = service_of(target)
    monkeypatch.setattr(service, "code", lambda: "other code")
    serve = settings.serve.model_copy(update={"max_turns": 9})
    other = Local(target.home, settings.model_copy(update={"serve": serve}), command)

    other.switch(old)

    now = service_of(target)
    assert (now.pid, now.started) == (before.pid, before.started) and target.status().serving == old.bundle_digest
    assert f"--bundle={old.folder}" in now.argv and "--set=serve.max_turns=9" not in now.argv
    with pytest.raises(
        ConfigurationError, match=r"other settings or other code.*\./tingsu up"
    ):  # that is not forgotten
        other.unsplit(new)


def test_what_is_not_to_be_kept_is_closed(target: Local, settings: Settings) -> None:
    rollout = settings.rollout.model_copy(update={"keep_previous": False})
    target = Local(target.home, settings.model_copy(update={"rollout": rollout}), command)
    target.switch(placed(target.home, 1))
    new = placed(target.home, 2)

    target.stage(new)
    target.switch(new)

    assert len(engines(target)) == 1 and ";" not in target.status().detail


def test_a_dry_run_says_which_words_of_the_command_change_and_touches_nothing(target: Local) -> None:
    old, new = placed(target.home, 1), placed(target.home, 2)
    (first,) = target.changes(old)
    target.switch(old)
    (change,) = target.changes(new)

    differ = set(change.after.split()) ^ set(change.before.split())
    assert first.before == "" and "without a restart" in change.what
    assert {word.partition("=")[0] for word in differ} == {"--bundle", "--version"}
    assert target.status().serving == old.bundle_digest and len(engines(target)) == 1


def engines(target: Local) -> list[psutil.Process]:
    children = psutil.Process(service_of(target).pid).children()
    return [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]


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


def test_where_memory_cannot_hold_both_there_is_no_canary_and_the_service_is_drained(target: Local) -> None:
    old, new = placed(target.home, 1, memory_mb=10**8), placed(target.home, 2)
    target.switch(old)
    before = service_of(target)
    assert not target.unsplit(new)
    target.stage(new)
    assert "no room for both" in target.unsplit(new)

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


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="needs an IPv6 loopback address")
@pytest.mark.parametrize(("host", "asked"), [("::1", "http://[::1]"), ("::", "http://127.0.0.1")])
def test_a_service_on_an_ipv6_address_is_asked_there(target: Local, settings: Settings, host: str, asked: str) -> None:
    serve = settings.serve.model_copy(update={"host": host})
    target = Local(target.home, settings.model_copy(update={"serve": serve}), command)
    keys.add(target.home, "crm", ["classify"])
    bundle = placed(target.home, 1)

    assert target.switch(bundle) == f"{asked}:{settings.ports.service}"
    assert target.status().serving == bundle.bundle_digest


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

    target.undo(old, new)

    assert target.status().serving == old.bundle_digest
    assert [process.name for process in processes.running(target.home)] == [SERVICE]


def test_undo_of_a_first_version_leaves_nothing_running_and_never_takes_another_version_away(target: Local) -> None:
    only, other = placed(target.home, 1), placed(target.home, 2)
    target.switch(other)
    target.stage(only)
    target.undo(None, only)
    left = target.status()
    target.switch(only)

    target.undo(None, only)

    assert left.serving == other.bundle_digest and ";" not in left.detail
    assert processes.running(target.home) == []
    assert target.status().detail == "stopped"


def test_a_bundle_that_was_not_promoted_is_refused_before_anything_is_touched(target: Local) -> None:
    store = FolderStore(target.home / "store")
    ref = served.fake_bundle(store)
    served.promote(store, ref, target.home, "HOLD")

    with pytest.raises(GateRefused, match="is HOLD"):
        rollout.admit(store, 1, ref, target.home)
    assert processes.recorded(target.home) == []
