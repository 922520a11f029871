"""Development and production mode of one service on one machine."""

from pathlib import Path

import httpx
import pytest

from deploy import bundle, keys
from deploy.store import FolderStore
from tests.deploy import served

PRODUCTION = "--set=serve.mode=production"
CALL = {"text": "客户：上个月多扣了我三十块钱。"}


@pytest.fixture(scope="module")
def real(home: Path) -> Path:
    """A promoted bundle that learned from real calls, as far as anybody can tell."""
    store = FolderStore(home / "store")
    model = served.fake_model(store)
    parts = served.parts(model, served.golden(store.root / model.key, served.FakeEngine()))
    ref = bundle.assemble(parts.model_copy(update={"synthetic": False}), store)
    return served.promote(store, ref, home)


def test_production_asks_everybody_for_a_key_also_on_this_machine_and_has_no_page(home: Path, real: Path) -> None:
    key = keys.add(home, "crm", ["classify"])
    with served.serving(real, home, PRODUCTION) as live:
        live.ready()
        asked = [httpx.post(f"{live.url}/api/v1/classify", json=CALL, headers=h) for h in ({}, {"X-API-Key": key})]
        page = httpx.get(f"{live.url}/docs", headers={"X-API-Key": key})

    assert [answer.status_code for answer in asked] == [401, 200]
    assert page.status_code == 404


def test_production_without_a_key_without_a_verdict_or_with_generated_calls_does_not_start(
    tmp_path: Path, home: Path, real: Path
) -> None:
    synthetic = served.promote(FolderStore(home / "store"), served.fake_bundle(FolderStore(home / "store")), home)

    keyless = served.refused(real, tmp_path, PRODUCTION)
    unjudged = served.refused(real, home, PRODUCTION, "--evaluation")
    generated = served.refused(synthetic, home, PRODUCTION)

    assert [one.returncode for one in (keyless, unjudged, generated)] == [2, 2, 2]
    assert "has no API key" in keyless.stderr and "--evaluation" in unjudged.stderr
    assert "learned from generated calls" in generated.stderr and "serve.mode to development" in generated.stderr
