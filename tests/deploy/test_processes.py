"""Managed background processes: found again, never confused with strangers, stopped whole."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from data_contracts.errors import EngineUnavailable, ResourceInsufficient
from deploy.operate import lock, ports, processes
from deploy.operate.processes import Command

SERVER = """
import http.server, sys
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
AWAY = """
import subprocess, sys, time
code = "import signal,sys,time; signal.signal(signal.SIGTERM, lambda *_: sys.exit('asked')); print('up'); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-uc", code], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""
KILLED = """
import os, sys
from pathlib import Path
from deploy.operate import processes
from tests.deploy.test_processes import script
processes.start(Path(sys.argv[1]), script("import time; time.sleep(60)"))
os.kill(os.getpid(), 9)
"""
STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def server(port: int, name: str = "web") -> Command:
    url = f"http://127.0.0.1:{port}/"
    return Command(
        name=name, argv=(sys.executable, "-c", SERVER, str(port)), port=port, url=url, setting="ports.service"
    )


def script(text: str, name: str = "script") -> Command:
    return Command(name=name, argv=(sys.executable, "-c", text))


@pytest.fixture
def home(tmp_path: Path):
    yield tmp_path
    for process in processes.recorded(tmp_path):
        processes.stop(tmp_path, process.name, limit_s=0.2)


def kill(process: processes.Process) -> None:
    """By SIGKILL; it is dead on return."""
    os.kill(process.pid, signal.SIGKILL)
    gone(process)


def gone(process: processes.Process) -> None:
    """Return when it has ended."""
    while processes.alive(process):
        time.sleep(0.01)


def first_line(process: processes.Process) -> str:
    for _ in range(100):
        text = Path(process.log).read_text()
        if "\n" in text:
            return text.splitlines()[0]
        time.sleep(0.05)
    raise AssertionError("the process wrote nothing")


def test_a_held_port_is_refused_with_its_holder_and_the_setting(home: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]

        with pytest.raises(
            ResourceInsufficient, match=rf"port {port} is held by .*pid {os.getpid()}.*--set ports.service=PORT"
        ):
            processes.start(home, server(port))


def test_a_spare_port_is_neither_held_nor_promised() -> None:
    first = ports.spare(18100, ())
    second = ports.spare(18100, (first,))

    assert second > first


def test_a_command_that_cannot_be_executed_is_named_and_leaves_no_record(home: Path) -> None:
    with pytest.raises(EngineUnavailable, match="ghost does not start: No such file"):
        processes.start(home, Command(name="ghost", argv=("/nonexistent/ghost",)))

    assert processes.recorded(home) == []


def test_a_process_that_dies_before_it_is_ready_shows_its_last_words(home: Path) -> None:
    command = server(ports.spare(18100, ())).model_copy(
        update={"argv": (sys.executable, "-c", "raise SystemExit('no weights')")}
    )
    process = processes.start(home, command)

    with pytest.raises(EngineUnavailable, match=r"web ended before it was ready.*no weights"):
        processes.wait(process, 10)


def test_last_words_are_those_of_this_process_and_not_of_one_before_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = "raise SystemExit('tingsu: disk full\\n磁盘已满')"
    failed = processes.start(home, script(fails))
    gone(failed)
    silent = processes.start(home, script("import time; time.sleep(60)"))
    said_by_silent = processes.last_said(silent)
    processes.stop(home, "script")
    monkeypatch.setattr(processes, "LOG_LIMIT_BYTES", 4)
    anew = processes.start(home, script("raise SystemExit('out of memory')"))
    gone(anew)

    assert processes.last_said(failed.model_copy(update={"log": f"{failed.log}.1"})) == "tingsu: disk full 磁盘已满"
    assert said_by_silent == ""
    assert processes.last_said(anew) == "out of memory"
    with pytest.raises(EngineUnavailable, match=r"ended before it was ready; see \S+script\.log$"):
        processes.wait(processes.start(home, script("pass")), 10)


def test_a_process_that_never_answers_is_given_up_after_the_limit(home: Path) -> None:
    command = server(ports.spare(18100, ())).model_copy(
        update={"argv": (sys.executable, "-c", "import time; time.sleep(60)")}
    )
    process = processes.start(home, command)

    with pytest.raises(EngineUnavailable, match="does not answer"):
        processes.wait(process, 0.3)


def test_a_started_server_is_found_answers_and_is_stopped(home: Path) -> None:
    process = processes.start(home, server(ports.spare(18100, ())))
    processes.wait(process, 20)

    assert processes.running(home) == [process]
    assert processes.memory_mb(process) > 1
    assert processes.stop(home, "web")
    assert ports.is_free(process.port)
    assert not processes.stop(home, "web")


def test_the_same_name_does_not_start_twice(home: Path) -> None:
    processes.start(home, script("import time; time.sleep(60)"))

    with pytest.raises(ResourceInsufficient, match="script runs already"):
        processes.start(home, script("import time; time.sleep(60)"))


def test_a_recycled_pid_is_never_killed(home: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    process = processes.start(home, script("pass"))
    record = home / "run/script.json"
    record.write_text(json.dumps(process.model_dump() | {"pid": stranger.pid}))

    processes.stop(home, "script")

    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_record_from_before_a_reboot_names_nobody(home: Path) -> None:
    process = processes.start(home, script("import time; time.sleep(60)"))
    older = process.model_copy(update={"started": "another-boot:" + process.started.split(":")[1]})
    (home / "run/script.json").write_text(older.model_dump_json())

    assert processes.running(home) == []
    assert not processes.stop(home, "script")
    os.kill(process.pid, signal.SIGKILL)


def test_children_go_with_their_parent(home: Path) -> None:
    process = processes.start(home, script(FAMILY))
    child = int(first_line(process))

    processes.stop(home, "script")

    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_children_of_a_killed_parent_are_stopped_by_the_next_start(home: Path) -> None:
    process = processes.start(home, script(FAMILY))
    child = int(first_line(process))
    kill(process)

    processes.start(home, script("import time; time.sleep(60)"))

    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_what_left_its_group_and_outlived_its_killed_parent_is_killed_too(home: Path) -> None:
    process = processes.start(home, script(AWAY))
    child = int(first_line(process))
    kill(process)

    assert processes.stop(home, "script")

    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert "asked" not in Path(process.log).read_text(), "it had a chance to report an end of its own"


def test_one_that_ignores_the_request_is_killed_after_the_limit(home: Path) -> None:
    process = processes.start(home, script(STUBBORN))
    first_line(process)
    began = time.monotonic()

    processes.stop(home, "script", limit_s=0.3)

    assert not processes.alive(process)
    assert time.monotonic() - began < 3


def test_a_killed_controller_leaves_a_recorded_process(home: Path) -> None:
    argv = [sys.executable, "-P", "-c", KILLED, str(home)]
    subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(processes.ROOT)}, check=False)

    assert [p.name for p in processes.running(home)] == ["script"]


def test_a_lock_is_exclusive_and_freed(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with lock.held(path), pytest.raises(BlockingIOError), lock.held(path, wait=False):
        pass

    with lock.held(path, wait=False):
        assert lock.holder(path) == str(os.getpid())
