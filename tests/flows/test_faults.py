"""Every fault of the table on the real command line: one sentence, the right exit code, nothing lost."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.operate import stack
from tests import s3_server
from tests.flows.faults import FAULTS, Fault, Scene
from tests.flows.ports import free_ports
from tests.flows.stack import lay_database
from tests.tasks import released

ROOT = Path(__file__).parent.parent.parent
PR_CAPBSET_DROP, DAC_OVERRIDE, DAC_READ_SEARCH = 24, 1, 2


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Prefect server for all rows; an embedded one would cost ten seconds a row."""
    (port,) = free_ports(1)
    home = tmp_path_factory.mktemp("served")
    lay_database(home)
    argv = [sys.executable, "-P", "-m", "prefect", "server", "start", "--port", str(port), "--analytics-off"]
    env = {**os.environ, "PREFECT_HOME": str(home / "prefect"), "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL"}
    server = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/api/health", server)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        server.terminate()
        server.wait()


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    from deploy.operate.processes import answers

    until = time.monotonic() + 120
    while not answers(url):
        assert server.poll() is None and time.monotonic() < until, f"{url} does not answer"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A web server that is no Tingsu service."""
    serve = partial(SimpleHTTPRequestHandler, directory=str(tmp_path_factory.mktemp("web")))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server.serving() as url:
        yield url


@pytest.fixture(scope="module")
def released_home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home with version 1, the champion, and version 2, a HOLD; and the key of version 1's bundle."""
    home = tmp_path_factory.mktemp("released") / "home"
    at = released.place(home)
    first = released.add(at, "one")
    released.registry.promote(at.registry, first.version)
    released.after(at, first, "two", decision="HOLD")
    return home, first.bundle.key


@pytest.fixture
def scene(
    request: pytest.FixtureRequest, tmp_path: Path, released_home: tuple[Path, str], web: int, prefect: str
) -> Iterator[Scene]:
    fault: Fault = request.getfixturevalue("fault")
    home, key = released_home
    own = tmp_path / "home-of-its-own"
    if fault.home == "released":
        shutil.copytree(home, own)
        (own / ".source").write_text(str(home))
    else:
        own.mkdir()
    folder = tmp_path / "files"
    folder.mkdir()
    places = {"folder": str(folder), "web": f"http://127.0.0.1:{web}", "web_port": str(web), "prefect": prefect}
    places |= {"home": str(own), "bundle": str(own / "store" / key)}
    if "{s3}" in fault.command:
        places["s3"] = request.getfixturevalue("s3")
    yield Scene(own, folder, places)
    if (own / "run").is_dir():
        stack.down(own)  # what `up` could start goes on beside what it could not


@pytest.mark.parametrize(
    "fault",
    [pytest.param(row, id=row.what, marks=[pytest.mark.slow] if row.slow else []) for row in FAULTS],
)
def test_a_fault_is_one_sentence_and_its_exit_code_and_costs_nothing_done(fault: Fault, scene: Scene) -> None:
    fault.do(scene)
    kept = everything(scene.home)
    found = tingsu(fault, scene)
    said = [line for line in found.stderr.splitlines() if line.startswith("tingsu: ")]
    told = said[0] if said else found.stdout + found.stderr

    assert found.returncode == fault.code, found.stdout + found.stderr
    assert fault.sentence.format(**scene.places) in told
    assert len(said) == (fault.code != 0 and not fault.answers)
    assert "Traceback" not in found.stderr
    assert kept.items() <= everything(scene.home).items()


def tingsu(fault: Fault, scene: Scene) -> subprocess.CompletedProcess[str]:
    words = [word.format(**scene.places) for word in fault.command.split()]
    named = {name: value.format(**scene.places) for name, value in fault.env.items()}
    env = scene.env() | named
    argv = [sys.executable, "-P", "-m", "flows", *words]
    return subprocess.run(
        argv, capture_output=True, text=True, env=env, cwd=scene.folder, timeout=120, preexec_fn=obey_permissions
    )


def obey_permissions() -> None:
    """Root reads and writes whatever the mode says, unless these two capabilities are given up."""
    libc = ctypes.CDLL(None)
    for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def everything(home: Path) -> dict[str, str]:
    """What must not be lost: the store, the keys, the history."""
    kept = [f for place in ("store", "keys", "history.jsonl") for f in [home / place, *(home / place).rglob("*")]]
    return {
        f.relative_to(home).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in kept
        if f.is_file() and ".scratch" not in f.parts
    }
