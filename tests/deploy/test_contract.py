"""The service against its own OpenAPI document: schemathesis asks whatever the document allows, and what it does not."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.store import FolderStore
from tests.deploy import served, speaking
from tests.deploy.served import Served

ACTING = "^/admin/"
"""What is asked here names a folder of the machine, or a candidate: well-formed requests are refused where there is none."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home: Path = tmp_path_factory.mktemp("home")
    store = FolderStore(home / "store")
    with served.serving(served.promote(store, served.fake_bundle(store), home), home) as it:
        yield it.ready()


@pytest.fixture(scope="module")
def writing(tmp_path_factory: pytest.TempPathFactory, speaker: Path) -> Iterator[Served]:
    home: Path = tmp_path_factory.mktemp("writing")
    limits = ("--set=serve.threads=1", "--set=serve.generate.answer_tokens=40")
    with served.serving(None, home, f"--generate={speaking.promoted(home, speaker)}", *limits, fake=False) as it:
        yield it.ready(120)


def _run(live: Served, *chosen: str) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).with_name("schemathesis")
    argv = [str(program), "run", f"{live.url}/openapi.json", "--max-examples=30", "--seed=1", "--no-color", *chosen]
    return subprocess.run(argv, capture_output=True, text=True, timeout=600, cwd=live.log.parent)


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen",
    [
        ("--exclude-path-regex", ACTING),
        ("--include-path-regex", ACTING, "--exclude-checks", "positive_data_acceptance"),
    ],
    ids=["questions", "administration"],
)
def test_every_answer_is_one_the_document_promises_and_none_is_a_5xx(live: Served, chosen: tuple[str, ...]) -> None:
    found = _run(live, *chosen)

    _agreed(found, live)


@pytest.mark.slow
def test_a_service_that_generates_keeps_its_promises_too(writing: Served) -> None:
    found = _run(writing, "--include-path-regex", "inference|generate|thinking|model|v1")

    _agreed(found, writing)


def _agreed(found: "subprocess.CompletedProcess[str]", live: Served) -> None:
    assert found.returncode == 0, found.stdout[-6000:]
    assert re.search(r"\b(\d{2,}) generated, \1 passed", found.stdout)
    assert live.process.poll() is None
