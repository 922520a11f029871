"""What tests of the service share."""

from pathlib import Path

import pytest

from tests.deploy import speaking


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that thinks if asked, then answers."""
    return speaking.write_speaker(tmp_path_factory.mktemp("speaker") / "model")
