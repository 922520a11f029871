"""A real Linux server as a target, over a real ssh: booted systemd, nginx, several instances of the real service on a small model."""

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from configs.rollout import TlsSettings
from configs.settings import Settings
from configs.sources import load
from data_contracts.artifacts import BundleRef, Model
from data_contracts.errors import Busy, ConfigurationError, EngineUnavailable, RolloutFailed
from data_contracts.schema import Call
from deploy import bundle, emergency, keys, operators, signing, targets
from deploy.client import Client
from deploy.operate.canary_window import Counted
from deploy.store import FolderStore
from deploy.targets import (
    Placed,
    server_front,
    server_host,
    server_lock,
    server_release,
    server_units,
    server_unwatched,
)
from deploy.targets.server import Server
from deploy.targets.server_host import Here, Host, Ssh
from deploy.targets.server_sides import Sides
from tasks import history
from tests.deploy import booted, served
from tests.deploy.booted import Machine
from tests.deploy.swarm import Got, swarm
from tests.deploy.test_server_texts import tls_on

LACKING = booted.lacking()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=f"a server {LACKING}")
BACK_S = 5.0  # what an undo may take until nobody gets the candidate's answers
SEVERAL = 5000
CURRENT = "/opt/tingsu/current"
EVENTS = [pytest.param(80, id="some"), pytest.param(SEVERAL, id="many", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with booted.booted(tmp_path_factory.mktemp("server")) as machine:
        yield machine


@pytest.fixture(scope="module")
def host(machine: Machine) -> Iterator[Ssh]:
    with contextlib.closing(machine.host()) as host:
        yield host


@pytest.fixture(scope="module")
def settings(machine: Machine) -> Settings:
    first = 20000 + 16 * (os.getpid() % 700)  # below those that the kernel gives to connections: ours must stay free
    return load(
        sets=[
            f"ports.service={first}",
            f"rollout.server.ports_from={first + 1}",
            f"rollout.server.python={booted.PYTHON}",
            "rollout.canary.mirror_share=0.5",
            "serve.threads=1",
        ],
        env={},
    )


@pytest.fixture(scope="module")
def versions(home: Path) -> Callable[[int], Placed]:
    """Version N as a target gets it: all by the gate's word, version 2 by an operator's."""
    store = FolderStore(home / "store")
    made: dict[int, Placed] = {}

    def version(number: int) -> Placed:
        if number not in made:
            ref = served.real_bundle(store, number) if number < LIKE_FIRST else like_first(store)
            folder = str(served.promote(store, ref, home) if number != 2 else lifted(store, ref, home))
            made[number] = Placed(version=number, bundle_digest=ref.digest, folder=folder, verdict_signature="s")
        return made[number]

    return version


LIKE_FIRST = 6
WHY = "callers of the outage are sent to nobody"


def lifted(store: FolderStore, ref: BundleRef, home: Path) -> Path:
    """A bundle that the gate holds and operator li lets serve."""
    served.promote(store, ref, home, "HOLD")
    operators.trust(home, "li", home / "li.pem")
    said = emergency.said(2, ref.digest, "li", WHY, "the verdict is HOLD", datetime.now(UTC))
    signed = bundle.sign(said, signing.private_key(home / "li.pem"))
    bundle.attest(store, ref, bundle.EMERGENCY, signed.model_dump_json().encode())
    return bundle.place(store, ref)


def like_first(store: FolderStore) -> BundleRef:
    """Another bundle than version 1, which answers the same."""
    folder = bundle.place(store, served.real_bundle(store, 1))
    model = Model(key="stages/merge/real-1/model", form="merged", digest="1" * 64, size_mb=0.1)
    return bundle.assemble(served.parts(model, bundle.golden(folder)[:1]), store)


@pytest.fixture(scope="module")
def before(machine: Machine) -> set[str]:
    """What there is before anything is installed."""
    return there(machine)


@pytest.fixture(scope="module")
def target(
    home: Path, settings: Settings, host: Ssh, before: set[str], versions: Callable[[int], Placed]
) -> Iterator[Server]:
    """Version 1 is live."""
    target = Server(home, settings, host)
    roll(target, versions(1))
    yield target


def roll(target: Server, version: Placed) -> None:
    target.stage(version)
    target.verify(version)
    target.switch(version)


def there(machine: Machine) -> set[str]:
    """Files, users and units of the server, except what systemd, nginx and useradd keep of their own runs."""
    theirs = (
        "/var/lib/systemd/",
        "/var/log/",
        "/var/lib/nginx",
        "/run/",
        "/tmp/",
        "/var/tmp/",
        "/etc/rc",
    )  # rc: nginx is off
    backups = {f"/etc/{name}-" for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")}
    found = {path for path in machine.written() if not path.startswith(theirs)} - backups
    journals = machine.run("find", "/var/log/journal", "/run/log/journal", "-name", "*.tingsu").splitlines()
    units = machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend").splitlines()
    found |= {line for line in journals if "No such" not in line} | {
        line.split()[0] for line in units if "tingsu" in line
    }
    wants = machine.run("find", "/etc/systemd/system", "-name", "tingsu*").splitlines()
    return found | set(wants) | set(machine.run("getent", "passwd").splitlines())


def answered(got: list[Got]) -> dict[str, int]:
    """Requests by version, or by status where none answered."""
    counts: dict[str, int] = {}
    for one in got:
        who = one.body["model_version"].partition("+")[0] if one.status == 200 else f"HTTP {one.status} {one.body}"
        counts[who] = counts.get(who, 0) + 1
    return counts


def test_a_version_goes_live_in_hardened_instances(
    target: Server, machine: Machine, versions: Callable[[int], Placed]
) -> None:
    status = target.status()
    with Client(status.endpoint) as client:
        answer = client.classify([Call(text="客户：宽带断了两天。")])[0]

    assert status.serving == versions(1).bundle_digest and "2 of 2 ready, 100% of requests" in status.detail
    assert answer["model_version"].startswith("1+")
    shown = machine.run(
        "systemctl",
        "show",
        "tingsu@blue-1",
        "-p",
        "User",
        "-p",
        "ProtectSystem",
        "-p",
        "MainPID",
        "-p",
        "NoNewPrivileges",
    )
    assert {"User=tingsu", "ProtectSystem=strict", "NoNewPrivileges=yes"} <= set(shown.splitlines())
    pid = next(line.removeprefix("MainPID=") for line in shown.splitlines() if line.startswith("MainPID="))
    assert "CapBnd:\t0000000000000000" in machine.run("cat", f"/proc/{pid}/status")
    assert "Seccomp:\t2" in machine.run("cat", f"/proc/{pid}/status")
    assert "engine ready" in machine.run("journalctl", "--namespace=tingsu", "-u", "tingsu@blue-1", "-o", "cat")


def test_nothing_of_one_instance_or_of_the_operator_is_reached_from_outside(target: Server) -> None:
    with Client(target.status().endpoint) as client:
        statuses = [client._send(*asked).status_code for asked in (("GET", "/metrics"), ("POST", "/admin/reload"))]

    assert statuses == [404, 404]


@pytest.mark.parametrize("least", EVENTS)
def test_no_request_is_lost_and_what_is_live_stays_as_it_is(
    least: int, target: Server, machine: Machine, home: Path, versions: Callable[[int], Placed], tmp_path: Path
) -> None:
    """In a canary, a kill of an instance that is live, a switch, the way back, a candidate staged anew and an undo: `least` requests
    each. The candidate is tried with other settings than those of what is live."""
    one, two = versions(1), versions(2)
    url, own = target.status().endpoint, home / "settings.yaml"
    own.write_text("serve: {max_turns: 7}\n")
    trying = changed(target, memory_mb=4096)
    trying.stage(two)
    trying.verify(two)
    with swarm(url, tmp_path / "got", users=2) as callers:
        looked = trying.look(two, 0.0)
        trying.weigh(two, 0.3)
        callers.until(least)
        later = trying.look(two, 1.0)

        machine.run("systemctl", "kill", "-s", "KILL", "tingsu@blue-1")
        callers.until(least)
        until(lambda: "1 of 2" not in trying.status().detail)
        restarted = shown(machine, "blue-1", "NRestarts", "MemoryMax"), info_of(target, "blue")["settings"]["changed"]
        tried = shown(machine, "green-1", "NRestarts", "MemoryMax"), info_of(target, "green")["emergency"]

        trying.switch(two)
        callers.until(least)
        back_s = seconds_until(url, "1", lambda: trying.switch(one))
        callers.until(least)

        own.unlink()
        target.weigh(two, 0.5)
        kept = [shown(machine, f"blue-{number}", "MainPID") for number in (1, 2)]
        leave_half_staged(target, two)
        target.stage(two)
        callers.until(least)
        still = [shown(machine, f"blue-{number}", "MainPID") for number in (1, 2)]
        limits = [shown(machine, f"green-{number}", "MemoryMax") for number in (1, 2)]

        target.switch(two)
        undone_s = seconds_until(url, "1", lambda: target.undo(one, two))
        callers.until(least)
        got = answered(callers.ended())

    assert set(got) == {"1", "2"} and sum(got.values()) >= 6 * least, got
    assert restarted == (["NRestarts=1", "MemoryMax=infinity"], [])
    assert tried[0] == ["NRestarts=0", "MemoryMax=4294967296"] and tried[1]["reason"] == WHY
    assert still == kept and limits == [["MemoryMax=infinity"]] * 2
    assert running(machine) == {"1"}
    new, old = gained(looked.candidate, later.candidate), gained(looked.champion, later.champion)
    assert sum(counted.mirrored for counted in later.champion.values()) > 0
    assert set(looked.candidate) == {"green-1", "green-2"} and 0.1 < new / (new + old) < 0.5
    print(
        f"{sum(got.values())} answered; back {undone_s:.2f} s after an undo began, {back_s:.2f} s after a switch back"
    )
    assert undone_s < BACK_S and back_s < BACK_S


@pytest.mark.slow
def test_a_share_that_nobody_watches_ends_by_itself_and_who_looks_again_goes_on(
    target: Server, machine: Machine, versions: Callable[[int], Placed]
) -> None:
    one, two, trying = versions(1), versions(2), target
    trying.stage(two)
    trying.weigh(two, 0.5)
    ends = [shown_of(machine, TIMER, "NextElapseUSecMonotonic")]
    trying.look(two, 0.0)
    for _ in range(8):  # more often than systemd starts a unit that has no say in it
        server_unwatched.put_off(trying.host, trying.settings)
    ends.append(shown_of(machine, TIMER, "NextElapseUSecMonotonic"))
    watched = trying.status().detail
    machine.run("cp", f"{CONF}.unwatched", "/var/tmp/laid-ready")
    wound_up_for(machine, "1s")
    until(lambda: "# canary: lapsed" in machine.run("cat", CONF))
    wound_up_for(machine, "605000ms")
    lapsed = trying.status()
    with Client(lapsed.endpoint) as client:
        answers = {client.classify([Call(text="客户：宽带断了。")])[0]["model_version"][:2] for _ in range(20)}

    trying.look(two, 1.0)
    again = trying.status().detail
    trying.undo(one, two)
    undone = machine.run("cat", CONF)
    machine.run("mv", "/var/tmp/laid-ready", f"{CONF}.unwatched")  # as an undo leaves it that is killed before its end
    late = machine.run("systemctl", "start", "tingsu-unwatched.service")

    assert ends[0] != ends[1] and watched.count("50% of requests") == again.count("50% of requests") == 2
    assert answers == {"1+"} and lapsed.serving == one.bundle_digest
    assert "0% of requests any more, since nobody looked at it" in lapsed.detail
    assert (late, machine.run("cat", CONF)) == ("", undone) and "# canary: none" in undone
    assert machine.run("systemctl", "is-active", TIMER) == "inactive" and machine.run("ls", CONFS) == "tingsu.conf"
    assert "its share ended" in machine.run("journalctl", "--namespace=tingsu", "-u", "tingsu-unwatched", "-o", "cat")


def wound_up_for(machine: Machine, time_span: str) -> None:
    """Have the timer, if it runs, run out after so long."""
    change = f"sed -i s/^OnActiveSec=.*/OnActiveSec={time_span}/ /etc/systemd/system/{TIMER}; systemctl daemon-reload"
    machine.run("sh", "-c", f"{change}; systemctl restart {TIMER}")


TIMER = "tingsu-unwatched.timer"
CONFS = "/etc/nginx/conf.d"
CONF = f"{CONFS}/tingsu.conf"


def shown_of(machine: Machine, unit: str, name: str) -> str:
    return machine.run("systemctl", "show", unit, "-p", name, "--value")


def changed(target: Server, **own: object) -> Server:
    """The same server, rolled out to with other settings."""
    server = target.settings.rollout.server.model_copy(update=own)
    rollout = target.settings.rollout.model_copy(update={"server": server})
    return Server(target.home, target.settings.model_copy(update={"rollout": rollout}), target.host)


def shown(machine: Machine, instance: str, *properties: str) -> list[str]:
    words = [word for name in properties for word in ("-p", name)]
    return sorted(machine.run("systemctl", "show", f"tingsu@{instance}", *words).splitlines(), reverse=True)


def info_of(target: Server, side: server_units.Side) -> dict[str, Any]:
    """What the first instance of a side says of itself."""
    port = server_units.instance(target.settings, side, 1, "").port
    with Client(target.host.reach(port)) as client:
        return client.model_info()


def another_home(home: Path, folder: Path) -> Path:
    """With the gate's key of the first, and callers of its own."""
    shutil.copytree(home / "keys", folder / "keys")
    keys.file(folder).unlink()
    keys.add(folder, "own", ["classify"])
    return folder


def leave_half_staged(target: Server, version: Placed) -> None:
    """As a controller does that is killed when it has written what green-1 is to run, and not yet started it."""
    serve = next(change.what for change in target.changes(version) if change.what.endswith("/serve"))
    one = server_units.instance(target.settings, "green", 1, serve.removesuffix("/serve"))
    server_host.write(target.host, server_units.file(target.settings, one), one.text)


def running(machine: Machine) -> set[str]:
    """The versions of all instances there are, and of the link that says what is live."""
    instances = machine.run("sh", "-c", "sed -n s/^RELEASE=//p /opt/tingsu/instances/*.env").splitlines()
    assert int(machine.run("sh", "-c", "ls /etc/systemd/system | grep -c tingsu@")) == len(instances)
    return {path.rpartition("/")[2].partition("-")[0] for path in (*instances, machine.run("readlink", CURRENT))}


def gained(before: dict[str, Counted], now: dict[str, Counted]) -> int:
    return sum(now[name].side.requests - before[name].side.requests for name in now)


def seconds_until(url: str, version: str, act: Callable[[], object]) -> float:
    """How long after the beginning of an act the last answer of another version was asked for."""
    with ThreadPoolExecutor(1) as pool, Client(url) as client:
        began = last = time.monotonic()
        acting = pool.submit(act)
        while not acting.done():
            asked = time.monotonic()
            answer = client.classify([Call(text="客户：宽带断了。")])[0]
            last = last if answer["model_version"].startswith(f"{version}+") else asked
        acting.result()
    return last - began


def until(holds: Callable[[], object], limit_s: float = 90.0) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_a_candidate_that_cannot_start_says_why_and_leaves_all_as_it_was(
    target: Server, machine: Machine, home: Path, versions: Callable[[int], Placed]
) -> None:
    one, broken = versions(1), versions(3)
    target.switch(one)
    (Path(broken.folder) / "golden.json").write_text("[]")
    machine.run("sh", "-c", f"printf {shlex.quote(TALKS)} >{TALKING}; chmod +x {TALKING}")
    talking = changed(target, python=TALKING)

    with pytest.raises(
        EngineUnavailable, match=r"tingsu@\w+-1\.service on root@127.0.0.1 did not become ready: .*golden"
    ) as raised:
        talking.stage(broken)
    logged = machine.run("journalctl", "--namespace=tingsu", "-o", "cat", "-n", "20")
    talking.undo(one, broken)
    machine.run("rm", TALKING)

    assert served.QUOTED in logged and served.QUOTED not in str(raised.value)
    assert target.status().serving == one.bundle_digest
    assert not [name for name in machine.run("ls", "/opt/tingsu/releases").split() if name.startswith("3-")]
    assert "failed" not in machine.run("systemctl", "list-units", "--all", "tingsu@*", "--no-legend")


TALKING = "/usr/local/bin/talking-python"
TALKS = f'#!/bin/sh\\necho "{served.QUOTED}" >&2\\nexec {booted.PYTHON} "$@"\\n'


@pytest.mark.slow
def test_what_another_home_has_live_is_left_by_an_undo_that_knows_nothing_of_it(
    target: Server, machine: Machine, versions: Callable[[int], Placed]
) -> None:
    one, two = versions(1), versions(2)
    target.switch(one)
    serving = []
    for act in (target.stage, target.switch):
        act(two)
        serving.append(target.status().serving)
        target.undo(None, two)
        serving.append(target.status().serving)
        assert running(machine) == {"1"}

    assert serving == [one.bundle_digest, one.bundle_digest, two.bundle_digest, one.bundle_digest]


@pytest.mark.slow
def test_what_nginx_does_not_take_over_is_taken_back_from_nginx_too(
    target: Server, machine: Machine, versions: Callable[[int], Placed]
) -> None:
    one, two = versions(1), versions(2)
    target.switch(one)
    target.stage(two)
    worker = machine.run("sh", "-c", 'pgrep -P "$(systemctl show nginx -p MainPID --value)" | head -n 1')
    machine.run("kill", "-STOP", worker)
    with pytest.raises(RolloutFailed, match="nginx did not take the file over"):
        target.weigh(two, 0.9)
    machine.run("kill", "-CONT", worker)

    with Client(target.status().endpoint) as client:
        answers = [client.classify([Call(text="客户：宽带断了。")])[0]["model_version"] for _ in range(10)]
    assert {answer.partition("+")[0] for answer in answers} == {"1"}
    target.undo(one, two)


def test_the_same_again_changes_nothing(target: Server, versions: Callable[[int], Placed]) -> None:
    one = versions(1)
    target.switch(one)
    units = {
        one.name: target.host.run(["systemctl", "show", one.unit, "-p", "MainPID"]) for one in target.sides.found()
    }

    target.switch(one)

    assert target.changes(one) == ()
    assert units == {
        one.name: target.host.run(["systemctl", "show", one.unit, "-p", "MainPID"]) for one in target.sides.found()
    }


def test_a_dry_run_tells_every_change_and_makes_none(
    target: Server, machine: Machine, versions: Callable[[int], Placed]
) -> None:
    before = there(machine)

    changes = {change.what: change for change in target.changes(versions(4))}

    assert there(machine) == before
    assert changes["/etc/nginx/conf.d/tingsu.conf"].before == target.host.run(["cat", "/etc/nginx/conf.d/tingsu.conf"])
    assert changes["/opt/tingsu/current"].after.strip().rpartition("/")[2].startswith("4-")
    assert [name for name in changes if name.endswith(".env")] and "/etc/systemd/system/tingsu@.service" not in changes


@pytest.mark.slow
def test_rollouts_go_on_when_keys_come_into_use_and_what_is_revoked_counts_with_the_same_command_again(
    target: Server, machine: Machine, home: Path, versions: Callable[[int], Placed], tmp_path: Path
) -> None:
    shown = keys.add(home, "crm", ["classify"])
    try:
        roll(target, versions(2))
        with Client(target.status().endpoint, key=shown) as client:
            assert client.classify([Call(text="客户：宽带断了。")])[0]["model_version"].startswith("2+")
        assert target.status().serving == versions(2).bundle_digest
        other = Server(another_home(home, tmp_path), target.settings, target.host)
        for attempt in (other.stage, other.changes):
            with pytest.raises(ConfigurationError, match=r"service\.json on root@127.* does not know: crm\. "):
                attempt(versions(2))
        keys.revoke(home, "crm")
        operators.revoke(home, "li")
        target.switch(versions(2))
        with Client(target.status().endpoint, key=shown) as client:
            assert client._send("GET", "/model_info").status_code == 401
        assert "li.pub" not in machine.run("ls", "/var/lib/tingsu/keys/operators")
    finally:
        operators.trust(home, "li", home / "li.pem")
        keys.file(home).unlink()
        target.host.run(["rm", "/var/lib/tingsu/keys/service.json"])


@pytest.mark.slow
def test_a_version_that_hangs_has_the_requests_no_longer_than_one_that_does_not(
    target: Server, machine: Machine, versions: Callable[[int], Placed]
) -> None:
    """As the commands do it: over a connection of their own, and asked what it serves first."""
    one, two = versions(1), versions(2)
    target.switch(one)
    took_s, serving = [], []
    for act in (lambda placed: target.weigh(placed, 0.5), target.switch):
        target.stage(two)
        act(two)
        machine.run("systemctl", "kill", "-s", "STOP", "tingsu@green-1", "tingsu@green-2")
        with contextlib.closing(machine.host()) as fresh, ThreadPoolExecutor(1) as pool:
            began, own = time.monotonic(), Server(target.home, target.settings, fresh)
            status = own.status()
            serving.append((status.serving, bool(status.untold)))
            undoing = pool.submit(own.undo, one, two)
            until(lambda: '# traffic: {"blue": 1.0, "green": 0.0}' in machine.run("cat", CONF), 60)
            took_s.append(time.monotonic() - began)
            undoing.result()

    print(f"back {took_s[0]:.2f} s after an undo in a canary began, {took_s[1]:.2f} s after one of what is live")
    assert max(took_s) < BACK_S, took_s
    assert serving == [(one.bundle_digest, False), (None, True)] and running(machine) == {"1"}


CONF = "/etc/nginx/conf.d/tingsu.conf"


@pytest.mark.slow
def test_without_room_for_two_sides_instances_are_replaced_one_by_one_and_no_request_is_lost(
    target: Server, host: Ssh, versions: Callable[[int], Placed], tmp_path: Path
) -> None:
    """Also of callers who are slow to send."""
    rolling = without_room(target, 2)
    roll(rolling, versions(1))
    most, slow, url = [], [], rolling.status().endpoint
    with swarm(url, tmp_path / "got", users=4, least=SEVERAL) as callers, ThreadPoolExecutor(100) as pool:
        callers.until(50)
        rolled = pool.submit(roll, rolling, versions(2))
        while not rolled.done():
            most.append(len(server_units.found(host, rolling.settings)))
            slow.append(pool.submit(sent_slowly, url))
        rolled.result()
        got, statuses = answered(callers.ended()), {one.result() for one in slow}

    assert set(got) == {"1", "2"} and statuses == {200}, (got, statuses)
    assert max(most) == 3 and len(rolling.sides.found()) == 2
    assert rolling.status().serving == versions(2).bundle_digest


@pytest.mark.slow
def test_a_rolling_update_that_is_killed_goes_on_with_each_instance_getting_as_much_and_is_undone_in_the_same_room(
    target: Server, host: Ssh, versions: Callable[[int], Placed]
) -> None:
    one, two, rolling = versions(1), versions(2), without_room(target, 3)
    roll(rolling, two)
    rolling.stage(one)
    rolling.weigh(one, 0.5)
    most = [len(rolling.sides.found())]
    for number in (2, 1):  # killed when two of three are replaced; then when it goes on
        with killed_at(rolling, number), pytest.raises(Killed):
            rolling.switch(one)
    side = rolling.sides.of_version(one)
    shares = server_front.shares(host, rolling.settings)

    with ThreadPoolExecutor(1) as pool:
        undone = pool.submit(rolling.undo, two, one)
        while not undone.done():
            most.append(len(server_units.found(host, rolling.settings)))
        undone.result()

    assert side is not None and shares[side] == pytest.approx(2 / 3, abs=0.001)
    assert max(most) == 4
    assert rolling.status().serving == two.bundle_digest and len(rolling.sides.found()) == 3
    target.switch(one)


def without_room(target: Server, instances: int) -> Server:
    """For two sides."""
    rolling = changed(target, instances=instances)
    rollout = rolling.settings.rollout.model_copy(update={"keep_previous": False})
    return Server(target.home, rolling.settings.model_copy(update={"rollout": rollout}), target.host)


class Killed(Exception):
    """In the place of a SIGKILL."""


@contextlib.contextmanager
def killed_at(target: Server, number: int) -> Iterator[None]:
    """While this is open the target's controller dies when it has ended instances so many times."""
    ended: list[object] = []

    def end(unwanted: Sequence[server_units.Instance]) -> None:
        Sides.end(target.sides, unwanted)
        ended.append(unwanted)
        if len(ended) == number:
            raise Killed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(target.sides, "end", end)
        yield


def sent_slowly(url: str) -> int:
    """The status of a call that takes eight seconds to be sent."""
    body = json.dumps({"text": "客户：宽带断了。"}).encode()
    head = f"POST /api/v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=90) as caller:
        caller.sendall(f"{head}\r\n\r\n".encode() + body[:9])
        time.sleep(8)
        caller.sendall(body[9:])
        return int(caller.recv(4096).split()[1])


HOLD = """
import sys, time
from pathlib import Path
from configs.sources import load
from deploy.targets.server import Server
with Server(Path(sys.argv[1]), load(sets=sys.argv[2:], env={})).held("wang"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("where", [pytest.param("this machine", marks=pytest.mark.slow), "ssh"])
def test_one_home_at_a_time_rolls_out_and_one_that_is_killed_no_more(
    where: str, machine: Machine, home: Path, settings: Settings, tmp_path: Path
) -> None:
    sets = ["rollout.server.host=root@127.0.0.1"] if where == "ssh" else []
    sets += [f"rollout.server.ssh_options={json.dumps(machine.ssh)}"]
    other = Server(tmp_path, load(sets=sets, env={}))
    argv = [sys.executable, "-P", "-c", HOLD, str(home), *sets]
    with subprocess.Popen(argv, env=served.environment(), stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None and killed.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=rf"under way, by wang on .* with {home}, since 20\d\d-.*nothing was touched"):
            other.held("li").__enter__()
        assert other.host.run(["stat", "-c", "%a", server_lock.FILE]).strip() == "600"
        killed.kill()

    until(lambda: is_free(other))
    with other.held("li"):
        assert not is_free(Server(home, load(sets=sets, env={})))
    assert is_free(other)
    other.host.run(["rm", "-f", server_lock.FILE])


def is_free(target: Server) -> bool:
    try:
        with target.held("somebody"):
            return True
    except Busy:
        return False


@pytest.mark.slow
def test_who_lost_the_connection_does_nothing_more_once_another_one_rolls_out(
    target: Server, machine: Machine, versions: Callable[[int], Placed], tmp_path: Path
) -> None:
    one, other = versions(1), Server(tmp_path, target.settings, target.host)
    with target.held("li"):
        machine.run("pkill", "-f", server_lock.FILE)
        until(lambda: is_free(other))
        with other.held("wang"), pytest.raises(Busy, match="by wang on"):
            target.switch(one)
        with pytest.raises(Busy, match="by wang on"):  # who may have made another version live
            target.switch(one)


CANARY = (
    "rollout.canary.steps=[{weight: 0.5, calls: 60, seconds: 10}]",  # several looks, however fast the machine
    "rollout.canary.look_every_s=1",
    "rollout.canary.latency_ratio=20",  # of two processes on a busy core
    "rollout.canary.alpha=0.01",
)
CARRY_OUT = """
import sys
from pathlib import Path
from configs.sources import load
from deploy.targets import Placed
from tasks import rollout
settings = load(sets=sys.argv[3:], env={})
print(rollout._controller(settings, Path(sys.argv[1]), "operator").rollout(Placed.model_validate_json(sys.argv[2])).version)
"""


@pytest.mark.slow
def test_a_controller_undoes_what_answers_differently_and_killed_in_any_state_brings_the_other_live(
    target: Server, machine: Machine, home: Path, settings: Settings, versions: Callable[[int], Placed], tmp_path: Path
) -> None:
    """By a user who becomes root by sudo, in a real canary on real traffic: version 2 answers otherwise than version 1; version 6 is
    version 1 with other golden calls."""
    one, other, same = versions(1), versions(2), versions(6)
    own = settings.rollout.server
    sets = [*CANARY, "rollout.target=server", f"rollout.server.host={booted.DEPLOYER}@127.0.0.1", "serve.threads=1"]
    sets += [f"rollout.server.ssh_options={json.dumps(machine.ssh)}", f"rollout.server.python={own.python}"]
    sets += [f"ports.service={settings.ports.service}", f"rollout.server.ports_from={own.ports_from}"]
    carry_out(home, one, sets).communicate(timeout=300)

    with swarm(target.status().endpoint, tmp_path / "got", users=2) as callers:
        refused = carry_out(home, other, sets)
        said = refused.communicate(timeout=600)[1].decode()
        undone, serving = targets.read(home, "server"), target.status().serving
        killed = []
        for state in ("planned", "staged", "canary", "switching"):
            controller = carry_out(home, same, sets)
            until(partial(reached, home, controller, state), 300)
            killed.append(targets.read(home, "server").state)
            controller.kill()
            controller.communicate()
        last = carry_out(home, same, sets)
        told = last.communicate(timeout=600)[1].decode()
        assert last.returncode == 0, told
        live = targets.read(home, "server")
        got = answered(callers.ended())

    assert undone.state == "undone" and serving == one.bundle_digest and undone.canary is not None
    assert undone.canary.judgement is not None and undone.canary.judgement.decision == "breach", said
    assert live.state == "live" and live.live == same and live.previous == one
    assert len(set(killed)) >= 3, killed
    assert set(got) == {"1", "2", "6"}, got
    kinds = [entry.event.kind for entry in history.read(home)]
    assert kinds[-2:] == ["undone", "released"]


def reached(home: Path, controller: "subprocess.Popen[bytes]", state: str) -> bool:
    is_there = targets.read(home, "server").state in (state, "live")
    assert is_there or controller.poll() is None, controller.communicate()[1].decode()
    return is_there


def carry_out(home: Path, version: Placed, sets: list[str]) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-P", "-c", CARRY_OUT, str(home), version.model_dump_json(), *sets]
    return subprocess.Popen(argv, env=served.environment(), stderr=subprocess.PIPE)


ON_ITSELF = """
import sys
from pathlib import Path
from configs.sources import load
from deploy.targets import Placed
from deploy.targets.server import Server
target = Server(Path(sys.argv[1]), load(sets=sys.argv[3:], env={}))
placed = Placed.model_validate_json(sys.argv[2])
target.switch(placed)
print(target.host.name, target.changes(placed), target.status().serving)
"""


def test_callers_are_answered_in_tls_and_only_this_machine_without(
    target: Server,
    machine: Machine,
    versions: Callable[[int], Placed],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """127.0.0.2 is outside: an address of the server that is not the one its own checks ask."""
    one, own, port = versions(1), Path("/etc/ssl/own"), target.settings.ports.service
    tls_on(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    tls_on(other)
    shutil.copytree(tmp_path, machine.root / own.relative_to("/"))
    before = machine.run("cat", CONF)

    def answering(key: str | None, host: str = "127.0.0.2") -> Server:
        tls = key and TlsSettings(certificate=f"{own}/own.crt", key=f"{own}/{key}", port=port + 15)
        serve = target.settings.serve.model_copy(update={"host": host})
        server = target.settings.rollout.server.model_copy(update={"tls": tls})
        rollout = target.settings.rollout.model_copy(update={"server": server})
        return Server(target.home, target.settings.model_copy(update={"serve": serve, "rollout": rollout}), target.host)

    told = {
        "missing.key": "no file /etc/ssl/own/missing.key",
        "other/own.key": "is not the key of /etc/ssl/own/own.crt",
    }
    for key, said in {**told, "own.crt": "nginx on root@127.0.0.1 cannot use .*PEM"}.items():
        with pytest.raises(ConfigurationError, match=f"{said}.*nothing was touched"), answering(key).held("li"):
            raise AssertionError("it went on")
    assert machine.run("cat", CONF) == before
    clear, live = answering(None, "0.0.0.0"), target.sides.running(target.sides.links()["current"])
    clear.sides.give(live or "blue")
    plain = f"http://127.0.0.2:{port}/health"
    assert httpx.get(plain).status_code == 200
    safe = answering("own.key")
    with safe.held("li"):
        url = safe.switch(one)

    with Client(url, patience_s=0) as stranger, pytest.raises(ConfigurationError, match=r"not trusted.*SSL_CERT_FILE"):
        stranger.health()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.crt"))
    with Client(url) as client:
        answer = client.classify([Call(text="客户：宽带断了。")])[0]["model_version"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(plain)
    assert url == f"https://127.0.0.2:{port + 15}" and answer.startswith("1+")
    assert safe.status().serving == one.bundle_digest
    target.switch(one)
    shutil.rmtree(machine.root / own.relative_to("/"))
    assert machine.run("cat", CONF) == before


@pytest.mark.slow
def test_on_the_machine_itself_it_does_what_it_does_over_ssh(
    target: Server, machine: Machine, home: Path, settings: Settings, versions: Callable[[int], Placed]
) -> None:
    """Begun over ssh, ended there: nothing but the server itself is remembered."""
    there, one = Path("/var/tmp/operator"), versions(1)
    target.stage(one)  # by these settings: those of a test before may be there
    target.switch(one)
    shutil.copytree(home, machine.root / there.relative_to("/"), dirs_exist_ok=True)
    moved = one.model_copy(update={"folder": str(there / Path(one.folder).relative_to(home))})
    own = settings.rollout.server
    sets = [f"ports.service={settings.ports.service}", f"rollout.server.ports_from={own.ports_from}", "serve.threads=1"]
    sets += [f"rollout.server.python={own.python}"]

    said = machine.run(
        "env",
        f"PYTHONPATH={served.ROOT}",
        sys.executable,
        "-P",
        "-c",
        ON_ITSELF,
        str(there),
        moved.model_dump_json(),
        *sets,
    )

    shutil.rmtree(machine.root / there.relative_to("/"))
    assert said.endswith(f"this machine () {one.bundle_digest}"), said


@pytest.fixture(params=["this machine", "ssh"])
def any_host(request: pytest.FixtureRequest) -> Host:
    return Here() if request.param == "this machine" else request.getfixturevalue("host")


def test_a_file_is_written_once_and_read_back(any_host: Host, tmp_path: Path) -> None:
    path = f"/var/tmp/{tmp_path.name}-{time.time_ns()}/it's a file"
    try:
        did = [server_host.write(any_host, path, "一\n", "0640"), server_host.write(any_host, path, "一\n", "0640")]

        assert did == [True, False]
        assert server_host.read(any_host, path) == "一\n" and server_host.read(any_host, f"{path}.not") == ""
        assert any_host.run(["stat", "-c", "%a", path]).strip() == "640"
    finally:
        any_host.run(["rm", "-rf", str(Path(path).parent)])


def test_a_link_is_moved_at_once(any_host: Host, tmp_path: Path) -> None:
    folder = f"/var/tmp/{time.time_ns()}"
    any_host.run(["mkdir", "-p", f"{folder}/1", f"{folder}/2"])
    try:
        for to in ("1", "2"):
            server_host.link(any_host, f"{folder}/current", f"{folder}/{to}")

        assert any_host.run(["readlink", f"{folder}/current"]).strip() == f"{folder}/2"
        assert sorted(any_host.run(["ls", folder]).split()) == ["1", "2", "current"]
    finally:
        any_host.run(["rm", "-rf", folder])


def test_an_environment_goes_with_the_last_release_that_ran_in_it(any_host: Host) -> None:
    root = f"/var/tmp/{time.time_ns()}"
    made = [f"{root}/environments/{name}" for name in ("used", "unused")]
    any_host.run(["mkdir", "-p", f"{root}/releases/1-a-b", f"{root}/instances", *made])
    try:
        server_host.write(any_host, f"{root}/releases/1-a-b/serve", f"exec {made[0]}/bin/python -m deploy.service\n")
        server_release.prune(any_host, root, 1)

        assert any_host.run(["ls", f"{root}/environments"]).split() == ["used"]
    finally:
        any_host.run(["rm", "-rf", root])


def test_a_long_path_of_temporary_files_does_not_bar_the_way(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ("long" * 20)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 20)))

    with contextlib.closing(machine.host()) as host:
        assert host.run(["echo", "here"]) == "here\n"


def test_a_command_that_fails_is_named_with_what_it_said(any_host: Host) -> None:
    with pytest.raises(RolloutFailed, match=rf"`ls /not/there` failed on {any_host.name} \(2\): .*No such file"):
        any_host.run(["ls", "/not/there"])


def test_a_server_that_cannot_be_reached_is_named(machine: Machine) -> None:
    stranger = Ssh("root@127.0.0.1", [word for word in machine.ssh if not word.startswith("-i")])

    with pytest.raises(
        EngineUnavailable,
        match=r"root@127\.0\.0\.1 cannot be reached by ssh: .*Permission denied.*rollout\.server\.host",
    ):
        stranger.run(["true"])


def test_uninstalled_it_leaves_nothing(target: Server, machine: Machine, home: Path, before: set[str]) -> None:
    asked = uninstall(machine, home, target.settings)
    assert "would remove from root@127.0.0.1: /opt/tingsu" in asked and target.status().serving

    machine.run("cp", CONF, f"{CONF}.unwatched")
    machine.run("systemctl", "start", TIMER)  # as a controller leaves it that died in a canary
    assert machine.run("systemctl", "is-active", TIMER) == "active"

    done = uninstall(machine, home, target.settings, "--yes")

    assert done.startswith("removed from root@127.0.0.1"), done
    assert machine.run("systemctl", "is-active", "nginx") == "inactive"  # as it was before
    assert left(machine, before) == set()
    assert target.status().detail == "nothing installed"
    assert uninstall(machine, home, target.settings, "--yes") == done


def left(machine: Machine, before: set[str]) -> set[str]:
    """What stays: systemd forgets units when it has nothing else to do."""
    end = time.monotonic() + 30
    while (more := there(machine) - before) and time.monotonic() < end:
        time.sleep(0.5)
    return more


def uninstall(machine: Machine, home: Path, settings: Settings, *words: str) -> str:
    sets = ["host=root@127.0.0.1", f"ssh_options={json.dumps(machine.ssh)}"]
    options = [word for item in sets for word in ("--set", f"rollout.server.{item}")]
    argv = [
        sys.executable,
        "-P",
        "-m",
        "flows",
        "uninstall",
        *words,
        *options,
        "--set",
        f"ports.service={settings.ports.service}",
    ]
    env = {**served.environment(), "TINGSU_HOME": str(home)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300, check=False)
    return done.stdout + done.stderr
