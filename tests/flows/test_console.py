"""The control plane of this machine, as a process of its own over a real home; services have a fake engine."""

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from configs.serving import ServeSettings
from configs.settings import Settings
from configs.sources import load
from deploy import keys, service, targets
from deploy.operate import lock, ports, processes, stack
from deploy.operate.processes import Command
from deploy.store import FolderStore
from deploy.targets import Placed, Record
from deploy.targets.local import SERVICE, Local
from flows.console import JOB
from tasks import history, rollout, stages
from tests.deploy import served

DEPLOY, STATUS, CLEANUP = (f"/api/v1/local/{word}" for word in ("deploy", "status", "cleanup"))


def command(bundle: Path, port: int, home: Path, serve: ServeSettings, **more: Any) -> list[str]:
    real = service.command(bundle, port, home, serve, **more)
    return [sys.executable, "-P", "-c", served.WITH_FAKE, *real[4:]]


@pytest.fixture(scope="module")
def settings() -> Settings:
    free: list[int] = []
    for _ in range(3):
        free.append(ports.spare(21000 + 100 * (os.getpid() % 50), free))
    return load(
        sets=[f"ports.{n}={p}" for n, p in zip(("service", "console", "engines_from"), free, strict=True)], env={}
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Iterator[Path]:
    """A home in which the control plane runs, and nothing else."""
    home = tmp_path_factory.mktemp("home")
    console = processes.start(home, stack._console(settings))
    processes.wait(console, 60)
    yield home
    stack.down(home)


@pytest.fixture
def console(home: Path, settings: Settings) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{settings.ports.console}", timeout=60, trust_env=False) as client:
        yield client


def placed(home: Path, version: int) -> Placed:
    store = FolderStore(home / "store")
    ref = served.fake_bundle(store, load_s=version / 1000)
    folder = served.promote(store, ref, home)
    return Placed(version=version, bundle_digest=ref.digest, folder=str(folder), verdict_signature="s")


def test_a_machine_where_nothing_serves_says_so(console: httpx.Client, home: Path) -> None:
    told = console.get(STATUS).json()

    assert (told["serving"], told["detail"], told["live"], told["job"]) == (None, "stopped", None, None)
    assert told["mode"] == "development" and told["missing"] == []
    assert {part["name"]: part["state"] for part in told["parts"]}["console"] == "running"


def test_what_serves_is_told_and_stopped_by_the_cleanup_but_not_in_the_middle_of_a_rollout(
    console: httpx.Client, home: Path, settings: Settings
) -> None:
    bundle = placed(home, 1)
    Local(home, settings, command).switch(bundle)
    cut_off = Record(target="local", id="x", live=bundle, candidate=bundle).at(
        "canary", stages.now(), "step 1 of 2: 10%"
    )
    targets.write(home, cut_off)
    told = console.get(STATUS).json()
    with lock.held(targets.lock_file(home, "local")):
        refused = console.delete(CLEANUP)
    served_on = console.get(STATUS).json()["serving"]
    cleaned = console.delete(CLEANUP)

    assert (told["serving"], told["live"]["version"], told["candidate"]["version"]) == (bundle.bundle_digest, 1, 1)
    assert (refused.status_code, refused.json()["code"]) == (
        409,
        "console_refused",
    ) and served_on == bundle.bundle_digest
    assert "was cut off when it was canary, and nobody watches it" in told["trouble"]
    assert cleaned.json() == {"stopped": [SERVICE]}
    after = console.get(STATUS).json()
    assert (after["state"], after["candidate"], after["trouble"]) == ("undone", None, "")
    Local(home, settings, command).switch(bundle)
    rollout.started(settings, home, "ops", "./tingsu up")
    lines = [(e.event.kind, e.event.by, e.event.detail.get("how")) for e in history.read(home)]
    by = "console"
    assert lines == [
        ("undone", by, None),
        ("stopped", by, "cleanup by the control plane"),
        ("started", "ops", "./tingsu up"),
    ]
    Local(home, settings, command).stop()
    assert console.get(STATUS).json()["detail"] == "stopped" and Path(bundle.folder).is_dir()


def begun(home: Path, what: str) -> processes.Process:
    """A deploy whose process runs and holds no lock yet."""
    return processes.start(home, Command(name=JOB, argv=(sys.executable, "-c", what)))


def test_nothing_is_cleaned_up_under_a_deploy_that_has_just_begun(console: httpx.Client, home: Path) -> None:
    failed = begun(home, "raise SystemExit('an earlier one failed')")
    while processes.alive(failed):
        time.sleep(0.02)
    running = begun(home, "import time; time.sleep(60)")
    refused = console.delete(CLEANUP)
    job = console.get(STATUS).json()["job"]
    processes.stop(home, JOB)
    cleaned = console.delete(CLEANUP)

    assert (refused.status_code, refused.json()["code"]) == (409, "console_refused")
    assert (job["running"], job["pid"], job["last_line"]) == (True, running.pid, "")
    assert (cleaned.status_code, console.get(STATUS).json()["job"]) == (200, None)


def test_of_two_deploys_at_once_the_second_is_told_that_one_runs(console: httpx.Client, home: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: console.post(DEPLOY, json={}), range(2)))
    processes.stop(home, JOB)

    codes, second = sorted(a.status_code for a in answers), max(answers, key=lambda a: a.status_code)
    assert codes == [202, 409] and "a rollout to local is under way" in second.text


def test_a_deploy_asked_for_during_a_cleanup_begins_after_it(console: httpx.Client, home: Path) -> None:
    """The service takes a while to end."""
    slow = "import signal,time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(2), exit())); print('up'); time.sleep(60)"
    stopping = processes.start(home, Command(name=SERVICE, argv=(sys.executable, "-uc", slow)))
    while not processes.last_said(stopping):
        time.sleep(0.02)
    with ThreadPoolExecutor(1) as pool:
        cleanup = pool.submit(console.delete, CLEANUP)
        while not lock.is_held(targets.lock_file(home, "local")):
            time.sleep(0.02)
        deployed = console.post(DEPLOY, json={})
        still = processes.alive(stopping)
    processes.stop(home, JOB)

    assert (cleanup.result().json(), deployed.status_code, still) == ({"stopped": [SERVICE]}, 202, False)


def test_a_wish_that_is_none_is_refused_and_the_page_of_a_browser_is_not_let_in(console: httpx.Client) -> None:
    wrong = [console.post(DEPLOY, json={"version": number}) for number in (0, -1, 10**20)]
    foreign = console.get(STATUS, headers={"Host": "evil.example"})

    assert [(one.status_code, one.json()["code"]) for one in wrong] == [(422, "invalid_request")] * 3
    assert (foreign.status_code, foreign.json()["code"]) == (403, "host_refused")


@pytest.mark.slow
def test_a_rollout_is_a_process_of_its_own_whose_end_is_told(console: httpx.Client, home: Path) -> None:
    """There is no champion to roll out."""
    begun = console.post(DEPLOY, json={})
    again = console.post(DEPLOY, json={})
    until = time.monotonic() + 120
    while (job := console.get(STATUS).json()["job"])["running"]:
        assert time.monotonic() < until
        time.sleep(0.2)

    assert (begun.status_code, begun.json()["running"], again.status_code) == (202, True, 409)
    assert "there is no champion; " in job["last_line"] and "没有现役模型" in job["last_line"]


def test_keys_of_the_service_guard_it_and_only_those_of_the_administration(tmp_path: Path, settings: Settings) -> None:
    crm, ops = keys.add(tmp_path, "crm", ["classify"]), keys.add(tmp_path, "ops", ["admin"])
    free = ports.spare(settings.ports.console + 1, ())
    ours = settings.model_copy(update={"ports": settings.ports.model_copy(update={"console": free})})
    running = processes.start(tmp_path, stack._console(ours))
    try:
        processes.wait(running, 60)
        url = f"http://127.0.0.1:{free}{STATUS}"
        asked = [httpx.get(url, headers={"X-API-Key": key}).status_code for key in ("", crm, ops)]
    finally:
        stack.down(tmp_path)

    told = [json.loads(line) for line in Path(running.log).read_text().splitlines() if STATUS in line]
    assert asked == [401, 403, 200] and [line.get("key") for line in told] == [None, None, "ops"]
