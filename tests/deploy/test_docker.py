"""The images as they are written: lint, pins, rights and content. Nothing here builds one."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy/docker").glob("*.Dockerfile"))
EVERY_FILE = pytest.mark.parametrize("file", FILES, ids=lambda f: f.name.split(".")[0])


def instructions(file: Path) -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments), continued lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    joined = text.replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line.strip()]


def last_stage(file: Path) -> list[tuple[str, str]]:
    found = instructions(file)
    return found[max(i for i, (name, _) in enumerate(found) if name == "FROM") :]


@EVERY_FILE
def test_hadolint_finds_nothing(file: Path) -> None:
    done = subprocess.run([Path(sys.executable).with_name("hadolint"), file], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")


@EVERY_FILE
def test_what_it_is_built_on_is_named_by_digest_or_is_our_own(file: Path) -> None:
    arguments = dict(a.split("=", 1) for name, a in instructions(file) if name == "ARG")
    bases = [a.split()[0] for name, a in instructions(file) if name == "FROM"]

    assert len(bases) == 2
    for base in bases:
        image = arguments[base.removeprefix("${").removesuffix("}")]
        assert re.fullmatch(
            r"python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}|registry\.example\.com/tingsu/\w+:[\d.]+", image
        )


def test_all_are_built_on_the_same_python() -> None:
    assert (
        len({a for file in FILES for name, a in instructions(file) if name == "ARG" and a.startswith("PYTHON=")}) == 1
    )


@EVERY_FILE
def test_it_runs_as_the_user_that_the_chart_runs_it_as(file: Path) -> None:
    users = [a for name, a in last_stage(file) if name == "USER"]

    assert users[-1] == "10001:10001"
    assert "runAsUser: 10001" in (ROOT / "deploy/helm/tingsu/templates/_names.tpl").read_text()


@EVERY_FILE
def test_it_holds_no_secret_and_nothing_from_the_network_but_packages(file: Path) -> None:
    for name, arguments in instructions(file):
        assert name != "ADD" and "curl" not in arguments and "wget" not in arguments
        assert not re.search(r"\b\w*(PASSWORD|SECRET|API_KEY|ACCESS_KEY)\w*=", arguments)


@EVERY_FILE
def test_what_is_copied_is_there_and_not_ignored(file: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    for name, arguments in instructions(file):
        if name == "COPY" and not arguments.startswith("--from"):
            for source in arguments.split()[:-1]:
                assert (ROOT / source).exists()
                assert f"!{source.split('/')[0]}" in ignored and source not in ignored


def test_nothing_private_can_come_into_an_image() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert allowed == {
        *("LICENSE", "constraints.txt", "prefect.yaml", "pyproject.toml"),
        *("configs", "data_contracts", "deploy", "flows", "tasks"),
    }


def test_the_groups_installed_are_groups_of_ours_and_the_service_gets_no_training_library() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    service, pipeline = ((ROOT / f"deploy/docker/{n}.Dockerfile").read_text() for n in ("service", "pipeline"))

    assert re.findall(r"--group ([a-z]+)", service) == ["serve"]
    (roles,) = re.findall(r'ARG ROLES="([a-z ]+)"', pipeline)
    assert set(roles.split()) == {"serve", "train", "orchestrate", "kubernetes", "platform"} <= set(groups)
    assert not {name for kind, name in last_stage(ROOT / "deploy/docker/service.Dockerfile") if kind == "COPY"} & {
        "flows flows",
        "tasks tasks",
    }


@pytest.mark.parametrize("name", ["service", "pipeline"])
def test_nothing_phones_home_from_an_image(name: str) -> None:
    """As the launcher has it; what the service does not have in it needs no switch."""
    launcher = dict(
        re.findall(r'^export (\w+)="?(?:\$\{\w+:-)?([\w]+)\}?"?', (ROOT / "tingsu").read_text(), re.MULTILINE)
    )
    (given,) = (a for kind, a in last_stage(ROOT / f"deploy/docker/{name}.Dockerfile") if kind == "ENV")
    environment = dict(pair.split("=", 1) for pair in given.split())
    absent = {"PYTHONPATH"} | (
        {
            "MLFLOW_DISABLE_TELEMETRY",
            "PREFECT_SERVER_ANALYTICS_ENABLED",
            "GX_ANALYTICS_ENABLED",
            "RAY_USAGE_STATS_ENABLED",
        }
        if name == "service"
        else set()
    )

    wanted = {k: v for k, v in launcher.items() if k not in absent}
    assert len(wanted) >= 4 and {k: environment.get(k) for k in wanted} == wanted


def test_the_scan_for_the_users_ci_is_a_script_that_names_files_that_there_are() -> None:
    script = ROOT / "deploy/docker/scan.sh"

    assert subprocess.run(["sh", "-n", script]).returncode == 0
    for name in re.findall(r"\b(?:deploy/[\w./-]+|constraints\.txt)", script.read_text()):
        assert (ROOT / name).exists(), name
