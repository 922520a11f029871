"""Every test runs offline, with telemetry off, and in a home of its own that is gone afterwards."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import browser

if TYPE_CHECKING:
    from tests.faulty_s3 import Way

QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "Agg",
}
# Here and not in a fixture: libraries read them when they are first imported, and subprocesses inherit them.
os.environ.update(QUIET)
OPT_IN = "TINGSU_LMDEPLOY_PYTHON"  # no setting: the interpreter that the tests of AWQ may use
for _name in list(os.environ):
    if (_name.startswith("TINGSU_") and _name != OPT_IN) or _name in ("MODEL_PATH", "LOG_LEVEL", "MLFLOW_TRACKING_URI"):
        del os.environ[_name]


@pytest.fixture(scope="session", autouse=True)
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The session's `TINGSU_HOME`; a test that needs an empty one makes its own."""
    folder = tmp_path_factory.mktemp("home")
    os.environ["TINGSU_HOME"] = str(folder)
    os.environ["PREFECT_HOME"] = str(folder / "prefect")
    yield folder
    del os.environ["TINGSU_HOME"], os.environ["PREFECT_HOME"]


@pytest.fixture(scope="session")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that thinks if asked, then answers."""
    from tests.deploy import speaking

    return speaking.write_speaker(tmp_path_factory.mktemp("speaker") / "model")


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """A real S3 server; `tests/s3_server.py` has its credentials."""
    from tests import s3_server

    with s3_server.serving() as url:
        yield url


@pytest.fixture
def way(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Way]":
    """The way to that server, on which things go wrong when told."""
    from tests import faulty_s3, s3_server

    for name, value in s3_server.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with faulty_s3.through(s3_url) as way:
        yield way


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked `gpu` or `browser` is left out, with the reason, where there is no GPU or Chromium, or what it needs for one."""
    if item.get_closest_marker("browser") and browser.program() is None:
        pytest.skip("there is no Chromium (package chromium)")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("there is no NVIDIA GPU")
        pytest.importorskip("bitsandbytes")
