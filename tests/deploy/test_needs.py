"""What the settings need from outside Python is named with the command that installs it."""

from pathlib import Path

import pytest

from configs.sources import load
from data_contracts.errors import ResourceInsufficient
from deploy.operate import needs
from deploy.operate.needs import Missing


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with a package manager that says what it was asked, and nothing else."""
    (tmp_path / "apt-get").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexit $(/bin/cat {tmp_path}/code)\n')
    (tmp_path / "apt-get").chmod(0o755)
    (tmp_path / "code").write_text("0")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_nothing_is_missing_by_default() -> None:
    assert needs.missing(load(env={})) == ()


def test_a_compiler_and_a_program_that_are_missing_are_named_with_what_to_do(bare: Path) -> None:
    found = needs.missing(
        load(sets=["serve.compile=true", "serve.engine=llamacpp", "serve.llama_server=/nowhere"], env={})
    )

    assert [one.program for one in found] == ["g++", "llama-server"]
    assert found[0].install[-4:] == ("install", "-y", "g++", "python3-dev") and found[1].install == ()
    assert "/nowhere" in found[1].why
    with pytest.raises(ResourceInsufficient, match=r"g\+\+ is missing .*apt-get install -y g\+\+.*tingsu up --install"):
        needs.require(load(sets=["serve.compile=true"], env={}))


def test_what_is_installed_is_what_was_asked_for_and_a_failure_names_the_command(bare: Path) -> None:
    wanted = Missing(program="g++", why="", install=(str(bare / "apt-get"), "install", "-y", "g++"))
    needs.install([wanted])
    (bare / "code").write_text("100")

    with pytest.raises(ResourceInsufficient, match=r"g\+\+ was not installed .*run it yourself: .*install -y g\+\+"):
        needs.install([wanted])
    assert (bare / "asked").read_text().splitlines() == ["install -y g++"] * 2
