"""What tests of the service share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import engines, fake_ollama, kube_world
from tests.deploy.fake_ollama import FakeOllama

kube_bucket, kube_services = kube_world.kube_bucket, kube_world.kube_services
quick, real = kube_world.quick, kube_world.real


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeOllama]:
    """Documented answers over a real llama-server; a module has one."""
    engines.require("ollama")
    with fake_ollama.running(tmp_path_factory.mktemp("ollama")) as server:
        yield server
