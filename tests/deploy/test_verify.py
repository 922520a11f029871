"""Verifying a live service: every endpoint has its say, and a dead address is a failed check, not a crash."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_contracts.errors import ConfigurationError, ContractViolation, EngineUnavailable
from data_contracts.schema import Call
from deploy.client import Client
from deploy.operate.verify import passed, verify
from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.served import Served

CHECKS = ["health", "ready", "model_info", "classify", "generate", "thinking"]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home: Path = tmp_path_factory.mktemp("home")
    store = FolderStore(home / "store")
    with served.serving(served.promote(store, served.fake_bundle(store), home), home) as running:
        yield running.ready()


def test_a_working_service_passes_and_the_other_slot_is_skipped(live: Served) -> None:
    checks = verify(live.url)

    assert [c.name for c in checks] == CHECKS
    assert [c.outcome for c in checks] == ["passed"] * 4 + ["skipped"] * 2
    assert passed(checks)


def test_another_bundle_than_expected_fails(live: Served) -> None:
    checks = verify(live.url, bundle_digest="f" * 64)

    assert [c.name for c in checks if c.outcome == "failed"] == ["model_info"]
    assert not passed(checks)


def test_nothing_listening_is_failed_checks() -> None:
    checks = verify(f"http://127.0.0.1:{served.free_port()}", timeout_s=1)

    assert [c.outcome for c in checks] == ["failed"] * 4 + ["skipped"] * 2
    assert "does not answer" in checks[0].detail


def test_a_service_that_hangs_is_found_out_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        checks = verify(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.5)

    assert [c.outcome for c in checks] == ["failed"] * 6 and [c.name for c in checks] == CHECKS
    assert time.monotonic() - began < 1.5 and "not asked" in checks[-1].detail


def test_the_client_keeps_order_over_several_batches(live: Served) -> None:
    calls = [Call(text=f"客户：第{i}次来电", conversation_id=f"c{i}") for i in range(70)]
    with Client(live.url) as client:
        answers = client.classify(calls, batch_calls=16)

        assert [a["conversation_id"] for a in answers] == [c.conversation_id for c in calls]
        assert client.ready() and client.health()["status"] == "healthy"
        assert client.classify([]) == []


def test_the_client_halves_a_batch_that_is_too_much_for_the_service(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    folder = served.promote(store, served.fake_bundle(store), tmp_path)
    calls = [Call(text=f"客户：第{i}次来电", conversation_id=f"c{i}") for i in range(16)]

    with served.serving(folder, tmp_path, "--set=serve.queue_calls=8") as small, Client(small.ready().url) as client:
        assert [a["conversation_id"] for a in client.classify(calls)] == [c.conversation_id for c in calls]


def test_the_client_translates_refusals_and_absence(live: Served) -> None:
    with Client(live.url) as client, pytest.raises(ContractViolation, match="413"):
        client.classify([Call(text="a" * 9 * 2**20)])
    with Client(f"http://127.0.0.1:{served.free_port()}", patience_s=0) as client:
        assert not client.ready()
        with pytest.raises(EngineUnavailable, match="does not answer"):
            client.health()
    with pytest.raises(ConfigurationError, match="not a URL"):
        Client("http://127.0.0.1:port")
