"""The launcher, exercised for real in a copy of the root, with quick stand-ins for Python's venv, pip and df."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FAKE = """#!/bin/sh
case "$*" in
    *"-m venv"*)
        for folder in "$@"; do :; done
        echo "venv" >>"$FAKE_CALLS"
        rm -rf "$folder" && mkdir -p "$folder/bin" "$folder/lib" && cp "$0" "$folder/bin/python" ;;
    *"-m pip"*)
        echo "pip $$ $*" >>"$FAKE_CALLS"
        if [ -n "${FAKE_PIP_HANGS:-}" ]; then echo "Installing collected packages: everything"; exec sleep 60; fi
        if [ -n "${FAKE_PIP_ERROR:-}" ]; then echo "$FAKE_PIP_ERROR"; exit 1; fi
        echo "Installing collected packages: everything"
        sleep "${FAKE_PIP_S:-0}"
        echo "Successfully installed everything" ;;
    *) exec "%s" "$@" ;;
esac
"""
# What is free on the machine the tests run on is not theirs to need.
DF = """#!/bin/sh
printf 'Filesystem 1024-blocks Used Available Capacity Mounted on\\n/dev/disk 9 9 %d 9%% /\\n' $((${FAKE_FREE_MB:-100000} * 1024))
"""
SHOW = """import json, os, sys
import configs
found = {"argv": sys.argv[1:], "cwd": os.getcwd(), "configs": list(configs.__path__), "env": dict(os.environ)}
print(json.dumps(found))
"""
Launch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with the real launcher, small pins and a command line that tells how it was started."""
    folder = tmp_path / "a root"
    for name in ("flows", "configs"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / "tingsu", folder / "tingsu")
    (folder / "pyproject.toml").write_text("[dependency-groups]\n")
    (folder / "constraints.txt").write_text("thing==1.0\n")
    (folder / "flows/__main__.py").write_text(SHOW)
    return folder


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment whose interpreter and `df` are the stand-ins."""
    bin_ = tmp_path / "stand-ins"
    bin_.mkdir()
    for name, script in (("python", FAKE % sys.executable), ("df", DF)):
        (bin_ / name).write_text(script)
        (bin_ / name).chmod(0o755)
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    path = f"{bin_}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "PYTHON": str(bin_ / "python"), "FAKE_CALLS": str(tmp_path / "calls")}


@pytest.fixture
def launch(root: Path, env: dict[str, str]) -> Launch:
    """Run the copy to its end; keyword arguments are added to the environment."""

    def run(*argv: str, cwd: Path = root, **more: str) -> "subprocess.CompletedProcess[str]":
        command = [str(root / "tingsu"), *argv]
        return subprocess.run(command, cwd=cwd, env={**env, **more}, capture_output=True, text=True, timeout=60)

    return run


def calls(env: dict[str, str]) -> list[str]:
    file = Path(env["FAKE_CALLS"])
    return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []


def until(holds: Callable[[], bool], limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def test_first_use_installs_and_the_second_does_not(launch: Launch, env: dict[str, str]) -> None:
    first, second = launch("hello"), launch("hello")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "ready after" in first.stderr and "tried on 3.11" in first.stderr
    assert second.stderr == ""
    assert calls(env) == ["venv", "pip", "pip"]


def test_arguments_and_the_callers_folder_are_kept_and_its_configs_is_not_imported(
    launch: Launch, root: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "caller"
    (hostile / "configs").mkdir(parents=True)
    (hostile / "configs/__init__.py").write_text("raise SystemExit('imported')")

    done = launch("a b", "--c", "", cwd=hostile, PYTHONPATH=str(hostile))

    seen = json.loads(done.stdout)
    assert seen["argv"] == ["a b", "--c", ""]
    assert seen["cwd"] == str(hostile)
    assert seen["configs"] == [str(root / "configs")]


def test_telemetry_is_off_whatever_the_caller_has_set(launch: Launch) -> None:
    seen = json.loads(launch(DO_NOT_TRACK="0", MLFLOW_DISABLE_TELEMETRY="false").stdout)["env"]

    assert seen["DO_NOT_TRACK"] == seen["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert seen["PREFECT_SERVER_ANALYTICS_ENABLED"] == seen["GX_ANALYTICS_ENABLED"] == "false"
    assert seen["HF_HUB_OFFLINE"] == seen["HF_HUB_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_pins_bring_the_environment_up_to_date_in_place(
    name: str, launch: Launch, root: Path, env: dict[str, str]
) -> None:
    launch()
    (root / name).write_text("# other\nthing==2.0\n")

    done = launch()

    assert done.returncode == 0
    assert calls(env) == ["venv", "pip", "pip", "pip", "pip"]


def test_two_first_uses_at_once_install_once(launch: Launch, root: Path, env: dict[str, str]) -> None:
    slow = {**env, "FAKE_PIP_S": "1"}
    both = [
        subprocess.Popen([root / "tingsu"], env=slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [p.communicate(timeout=60)[1] for p in both]

    assert [p.returncode for p in both] == [0, 0], errors
    assert sorted("waiting for it" in e for e in errors) == [False, True]
    assert calls(env) == ["venv", "pip", "pip"]


def test_a_killed_installation_is_done_again_from_the_start(launch: Launch, root: Path, env: dict[str, str]) -> None:
    killed = subprocess.Popen(
        [root / "tingsu"], env={**env, "FAKE_PIP_HANGS": "1"}, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until(lambda: calls(env) == ["venv", "pip"])
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()

    done = launch()

    assert done.returncode == 0
    assert "did not finish" in done.stderr
    assert calls(env) == ["venv", "pip", "venv", "pip", "pip"]


def test_an_interruption_stops_pip_too(root: Path, env: dict[str, str]) -> None:
    hanging = {**env, "FAKE_PIP_HANGS": "1"}
    process = subprocess.Popen([root / "tingsu"], env=hanging, stderr=subprocess.PIPE, text=True)
    until(lambda: calls(env) == ["venv", "pip"])
    process.terminate()
    told = process.communicate(timeout=20)[1]
    pip = int(Path(env["FAKE_CALLS"]).read_text().split()[2])

    assert process.returncode == 1
    assert "interrupted" in told
    with pytest.raises(ProcessLookupError):
        os.kill(pip, 0)


def test_an_update_that_cannot_download_leaves_the_old_environment_usable(
    launch: Launch, root: Path, env: dict[str, str]
) -> None:
    launch()
    (root / "constraints.txt").write_text("thing==9.0\n")
    refused = launch(FAKE_PIP_ERROR="NewConnectionError: Temporary failure in name resolution")
    (root / "constraints.txt").write_text("thing==1.0\n")

    back = launch()

    assert refused.returncode == 1
    assert "cannot be reached" in refused.stderr and "install.log" in refused.stderr
    assert (back.returncode, back.stderr) == (0, "")


def test_too_little_space_is_said_before_anything_is_made_and_room_made_is_enough(
    launch: Launch, root: Path, env: dict[str, str]
) -> None:
    refused = launch(FAKE_FREE_MB="3999")
    made = (root / ".venv").exists()

    again = launch(FAKE_FREE_MB="4000")

    assert refused.returncode == 1
    assert f"3999 MB free in {root}" in refused.stderr and "about 4000 MB" in refused.stderr
    assert not made
    assert (again.returncode, calls(env)) == (0, ["venv", "pip", "pip"])


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for thing==1.0", "tried on Python 3.11"),
        ("something else", "see above"),
    ],
)
def test_a_failed_installation_says_why(output: str, told: str, launch: Launch) -> None:
    done = launch(FAKE_PIP_ERROR=output)

    assert done.returncode == 1
    assert told in done.stderr and output in done.stderr


def test_a_moved_root_installs_again(launch: Launch, root: Path, env: dict[str, str], tmp_path: Path) -> None:
    launch()
    moved = root.rename(tmp_path / "moved")

    subprocess.run([moved / "tingsu"], env=env, check=True, capture_output=True, timeout=60)

    assert calls(env)[3:] == ["pip", "pip"]


def test_it_works_through_a_symbolic_link(launch: Launch, root: Path, env: dict[str, str], tmp_path: Path) -> None:
    link = tmp_path / "bin"
    link.mkdir()
    (link / "tingsu").symlink_to("../a root/tingsu")

    done = subprocess.run([link / "tingsu"], env=env, check=True, capture_output=True, text=True, timeout=60)

    assert json.loads(done.stdout)["configs"] == [str(root / "configs")]


@pytest.mark.parametrize(("missing", "told"), [("version_info", "3.11 or newer"), ("ensurepip", "python3-venv")])
def test_an_unfit_interpreter_is_refused_with_what_to_do(
    missing: str, told: str, launch: Launch, tmp_path: Path
) -> None:
    unfit = tmp_path / "unfit"
    unfit.write_text(f'#!/bin/sh\ncase "$*" in *{missing}*) exit 1 ;; esac\nexec "{sys.executable}" "$@"\n')
    unfit.chmod(0o755)

    done = launch(PYTHON=str(unfit))

    assert done.returncode == 1
    assert told in done.stderr
