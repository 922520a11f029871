"""A service that asks for keys: who gets in, for what, how often, and that a change of the keys counts at once."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from data_contracts.errors import ConfigurationError
from data_contracts.schema import Call
from deploy import keys
from deploy.client import Client
from deploy.operate import verify
from deploy.store import FolderStore
from tests.deploy import served
from tests.deploy.served import Served

CLASSIFY = "/api/v1/classify"
CALL = {"text": "客户：上个月多扣了我三十块钱。"}
STATE = ("/stats", "/model_info", "/openapi.json", "/v1/models")


@dataclass
class Guarded:
    """A service with keys, and the keys."""

    live: Served
    home: Path
    crm: str
    ops: str

    def post(self, key: str | None, path: str = CLASSIFY, body: object = CALL, bearer: bool = True) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if bearer else {"X-API-Key": key or ""}
        return httpx.post(self.live.url + path, json=body, headers=headers if key else {}, timeout=30)

    def get(self, path: str, key: str | None = None) -> httpx.Response:
        return httpx.get(self.live.url + path, headers={"X-API-Key": key} if key else {})


@pytest.fixture(scope="module")
def folder_and_home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    home = tmp_path_factory.mktemp("home")
    store = FolderStore(home / "store")
    return served.promote(store, served.fake_bundle(store), home), home


@pytest.fixture(scope="module")
def guarded(folder_and_home: tuple[Path, Path]) -> Iterator[Guarded]:
    folder, home = folder_and_home
    crm, ops = keys.add(home, "crm", ["classify"]), keys.add(home, "ops", ["admin"])
    with served.serving(folder, home) as running:
        yield Guarded(running.ready(), home, crm, ops)


def test_a_known_key_gets_in_by_either_header(guarded: Guarded) -> None:
    assert guarded.post(guarded.crm).status_code == 200
    assert guarded.post(guarded.crm, bearer=False).status_code == 200


@pytest.mark.parametrize("key", [None, "tsk_wrong", "Basic"])
@pytest.mark.parametrize("path", [CLASSIFY, "/v1/chat/completions", "/nowhere", "/health/"])
def test_nobody_else_does_and_is_told_in_both_languages(guarded: Guarded, key: str | None, path: str) -> None:
    answer = guarded.post(key, path, body={"anything": "else"})

    said = answer.json().get("error") or answer.json()
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert said["code"] == ("key_unknown" if key else "key_missing")
    assert said.get("detail_zh") or said["message_zh"]


def test_a_key_without_the_scope_is_told_which_one_it_needs(guarded: Guarded) -> None:
    for path in (CLASSIFY, "/v1/chat/completions"):
        answer = guarded.post(guarded.ops, path)

        assert answer.status_code == 403
        assert "scope_missing" in answer.text and "needs 'classify'" in answer.text


def test_health_and_readiness_are_open_and_the_rest_of_the_state_needs_any_key(guarded: Guarded) -> None:
    assert [guarded.get(path).status_code for path in ("/health", "/ready")] == [200, 200]
    for path in STATE:
        assert [guarded.get(path, key).status_code for key in (None, "tsk_wrong", guarded.ops)] == [401, 401, 200], path


def test_what_is_counted_is_shown_to_a_key_made_for_it_which_opens_no_more(guarded: Guarded) -> None:
    scrape = keys.add(guarded.home, "prometheus", ["metrics"])

    assert [guarded.get("/metrics", key).status_code for key in (None, guarded.crm, scrape)] == [401, 403, 200]
    assert guarded.post(scrape).status_code == 403


def test_the_document_says_that_a_key_is_needed_and_there_is_no_documentation_page(guarded: Guarded) -> None:
    document = guarded.get("/openapi.json", guarded.crm).json()

    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    assert {"401", "403", "429"} <= set(document["paths"][CLASSIFY]["post"]["responses"])
    assert "security" not in document["paths"]["/health"]["get"]
    assert guarded.get("/docs", guarded.crm).status_code == 404


def test_a_key_counts_from_its_making_to_its_revocation_without_a_restart(guarded: Guarded) -> None:
    new = keys.add(guarded.home, "short-lived", ["classify"])
    assert guarded.post(new).status_code == 200

    keys.revoke(guarded.home, "short-lived")

    assert guarded.post(new).json()["code"] == "key_unknown"
    assert guarded.post(guarded.crm).status_code == 200


def test_a_key_with_a_rate_is_told_when_to_come_back(guarded: Guarded) -> None:
    slow = keys.add(guarded.home, "slow", ["classify"], 1)

    answers = [guarded.post(slow) for _ in range(6)]
    refused = [a for a in answers if a.status_code == 429]
    assert 1 <= 6 - len(refused) < 6
    assert {a.json()["code"] for a in refused} == {"rate_limited"}
    assert all(a.headers["retry-after"] == "1" for a in refused)
    assert guarded.post(guarded.crm).status_code == 200
    time.sleep(1.1)
    assert guarded.post(slow).status_code == 200


def test_the_client_waits_as_a_limited_key_is_told_to(guarded: Guarded) -> None:
    limited = keys.add(guarded.home, "limited", ["classify"], 2)
    calls = [Call(text=f"客户：第{i}次来电", conversation_id=str(i)) for i in range(5)]

    with Client(guarded.live.url, key=limited) as client:
        assert [a["conversation_id"] for a in client.classify(calls, batch_calls=1)] == list("01234")


def test_a_damaged_key_file_changes_nothing_while_the_service_runs_and_stops_a_start(
    guarded: Guarded, folder_and_home: tuple[Path, Path]
) -> None:
    file = keys.file(guarded.home)
    whole = file.read_bytes()
    file.write_bytes(whole[:40])
    try:
        codes = [guarded.post(key).status_code for key in (guarded.crm, "tsk_wrong", None)]
        found = served.refused(*folder_and_home)
    finally:
        file.write_bytes(whole)

    assert codes == [200, 401, 401]
    assert found.returncode == 2 and "service.json cannot be read" in found.stderr


def test_the_log_names_the_callers_key_and_never_holds_one(guarded: Guarded) -> None:
    guarded.post(guarded.crm)
    guarded.post("tsk_mistyped")
    until = time.monotonic() + 5
    while '"status": 401' not in guarded.live.log.read_text() and time.monotonic() < until:
        time.sleep(0.05)

    log = guarded.live.log.read_text()
    assert '"key": "crm"' in log and '"status": 401' in log
    for secret in (guarded.crm, guarded.ops, "tsk_mistyped"):
        assert secret not in log


def test_the_products_own_checks_go_on_with_the_machine_key(guarded: Guarded) -> None:
    checks = verify.verify(guarded.live.url, key=keys.machine(guarded.home))

    assert verify.passed(checks)
    assert not verify.passed(verify.verify(guarded.live.url))
    with Client(guarded.live.url) as stranger, pytest.raises(ConfigurationError, match="TINGSU_API_KEY"):
        stranger.classify([Call(text="客户：你好")])


def test_another_host_than_loopback_needs_a_key_first_and_stays_shut_without(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    folder = served.promote(store, served.fake_bundle(store), tmp_path)
    bare = served.refused(folder, tmp_path, "--host=0.0.0.0")
    key = keys.add(tmp_path, "crm", ["classify"])
    keys.add(tmp_path, "other", ["classify"])

    with served.serving(folder, tmp_path, "--host=0.0.0.0") as running:
        guarded = Guarded(running.ready(), tmp_path, key, key)
        with_keys = [guarded.post(given).status_code for given in (key, None)]
        keys.revoke(tmp_path, "other")
        keys.revoke(tmp_path, "crm")
        all_revoked = guarded.post(None).status_code
        keys.file(tmp_path).unlink()
        without_file = guarded.post(None).status_code

    assert bare.returncode == 2 and "./tingsu keys add" in bare.stderr and "Traceback" not in bare.stderr
    assert (with_keys, all_revoked, without_file) == ([200, 401], 401, 401)


def test_without_any_key_the_service_is_open_on_loopback_and_shuts_when_one_is_made(
    tmp_path: Path,
) -> None:
    store = FolderStore(tmp_path / "store")
    folder = served.promote(store, served.fake_bundle(store), tmp_path)
    with served.serving(folder, tmp_path) as running:
        guarded = Guarded(running.ready(), tmp_path, "", "")
        before = guarded.post(None).status_code
        open_document = json.dumps(guarded.get("/openapi.json").json())
        keys.add(tmp_path, "crm", ["classify"])
        after = guarded.post(None).status_code
        keys.revoke(tmp_path, "crm")
        still = guarded.post(None).status_code

    assert (before, after, still) == (200, 401, 401)
    assert "securitySchemes" not in open_document and '"401"' not in open_document
