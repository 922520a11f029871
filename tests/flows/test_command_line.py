"""The command line as a person meets it: what it prints and how it exits."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.__main__ import app

ROOT = Path(__file__).parent.parent.parent


def tingsu(*words: str, home: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    full = {**os.environ, "PYTHONPATH": str(ROOT), "TINGSU_HOME": str(home), **(env or {})}
    argv = [sys.executable, "-P", "-m", "flows", *words]
    return subprocess.run(argv, capture_output=True, text=True, env=full, cwd=home, timeout=300)


def test_help_lists_the_commands_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, runpy\n"
        "sys.argv = ['tingsu', '--help']\n"
        "try: runpy.run_module('flows', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'prefect', 'mlflow', 'polars', 'numpy', 'pydantic', 'transformers', 'rich'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, env=env, timeout=60)

    assert "HEAVY []" in found.stdout, found.stdout + found.stderr
    for command in ("demo", "submit", "retrain", "promote", "rollback", "why", "serve", "up"):
        assert command in found.stdout
    listed = found.stdout.partition("Commands:")[2]
    assert "..." not in listed and "undid or was refused what, and when." in " ".join(listed.split())


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("retrain", "--profile", "tinny"), 2, "did you mean 'tiny'?"),
        (("retrain", "--set", "train.epoch=3"), 2, "did you mean 'train.epochs'?"),
        (("retrain", "--set", "train.epochs=many"), 2, "setting 'train.epochs' = 'many'"),
        (("retrain", "--set", "train.epochs"), 2, "has no '='"),
        (("submit", "nowhere.csv", "--map", "text"), 2, "write name=column"),
        (("sample", "--out", "/proc/none/x.jsonl"), 2, "give --out a place you may write to"),
        (("datasets", "show", "june"), 2, "there is no dataset 'june'"),
        (("datasets", "--json", "show", "june"), 2, "options come after the command's name"),
        (("datasets", "merge", "june", "july"), 2, "Missing option '--name'"),
        (("datasets", "refresh-gold", "--reason", "x"), 2, "no dataset of family 'complaints' yet"),
        (("why", "3"), 2, "version 3 is not in"),
        (("logs", "service"), 2, "logs yet; ./tingsu up"),
        (("classify", "你好", "--url", "http://127.0.0.1:9"), 4, "127.0.0.1:9"),
        (("nonsense",), 2, "No such command"),
    ],
)
def test_a_mistake_is_one_sentence_and_its_exit_code(
    words: tuple[str, ...], code: int, sentence: str, tmp_path: Path
) -> None:
    found = tingsu(*words, home=tmp_path)

    assert found.returncode == code, found.stderr
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr


NUMBERED = (
    ("promote", "{}"),
    ("approve", "{}", "--why", "x"),
    ("reject", "{}", "--why", "x"),
    ("rollback", "--to", "{}"),
    ("emergency", "{}", "--operator", "li", "--reason", "x"),
    ("gate", "{}"),
    ("compare", "1", "{}"),
    ("why", "{}"),
    ("history", "--version", "{}"),
    ("audit", "export", "--out", "audit", "--version", "{}"),
    ("ollama", "create", "{}"),
)


@pytest.mark.parametrize("words", NUMBERED, ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("number", "said"), [("0", "than or equal to 1"), (f"{10**20}", "than or equal to 2147483647")]
)
def test_a_number_that_no_version_can_have_is_refused_before_anything_is_asked(
    words: tuple[str, ...], number: str, said: str
) -> None:
    found = CliRunner().invoke(app, [word.format(number) for word in words])

    assert found.exit_code == 2 and said in found.stderr


def test_help_of_a_benchmark_is_the_benchmarks_own(tmp_path: Path) -> None:
    assert "gate" in tingsu("bench", home=tmp_path).stdout
    assert "--pairs" in tingsu("bench", "gate", "--help", home=tmp_path).stdout


def test_a_mistyped_environment_setting_is_refused(tmp_path: Path) -> None:
    found = tingsu("datasets", home=tmp_path, env={"TINGSU_TRAIN__RANKS": "4"})

    assert found.returncode == 2
    assert "did you mean 'train.rank'?" in found.stderr


def test_generic_and_broken_environment_values_do_not_crash(tmp_path: Path) -> None:
    assert tingsu("datasets", home=tmp_path, env={"LOG_LEVEL": "info"}).returncode == 0
    broken = tingsu("datasets", home=tmp_path, env={"TINGSU_TRAIN__EPOCHS": "["})

    assert broken.returncode == 2
    assert "Traceback" not in broken.stderr


def test_a_fresh_home_has_nothing_and_says_what_to_do(tmp_path: Path) -> None:
    assert "no datasets yet; ./tingsu submit FILE" in tingsu("datasets", home=tmp_path).stdout
    assert "nothing yet" in tingsu("history", home=tmp_path).stdout
    assert json.loads(tingsu("what-was-live", "--json", home=tmp_path).stdout)["version"] is None
    assert json.loads(tingsu("datasets", "--json", home=tmp_path).stdout) == []


def test_ctrl_c_says_in_a_sentence_that_the_same_command_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "calls.jsonl"
    argv = [sys.executable, "-P", "-m", "flows", "sample", "--calls", "9000000", "--seed", "1", "--out", str(out)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TINGSU_HOME": str(tmp_path)}
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=env, cwd=tmp_path) as running:
        while not [f for f in tmp_path.iterdir() if f.is_file() and f.stat().st_size] and running.poll() is None:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)

    assert told.splitlines() == ["tingsu: interrupted; the same command goes on where this one stopped"]
    assert running.returncode == 130


def test_samples_are_the_same_for_the_same_seed_and_say_they_are_synthetic(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert tingsu("sample", "--calls", "50", "--seed", "3", "--out", f"{name}.jsonl", home=tmp_path).returncode == 0
    tingsu("sample", "--calls", "5", "--raw", "--out", "raw.jsonl", home=tmp_path)

    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(records) == 50
    assert all(record["synthetic"] for record in records)
    assert "complaint_category" not in json.loads((tmp_path / "raw.jsonl").read_text().splitlines()[0])


def test_the_home_folder_is_private(tmp_path: Path) -> None:
    home = tmp_path / "state"
    full = {**os.environ, "PYTHONPATH": str(ROOT), "TINGSU_HOME": str(home)}
    subprocess.run([sys.executable, "-P", "-m", "flows", "datasets"], env=full, check=True, capture_output=True)

    assert home.stat().st_mode & 0o777 == 0o700
