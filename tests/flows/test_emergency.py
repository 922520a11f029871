"""An operator may let a version serve against the gate's answer: in person, for a reason, for a day, and never unseen."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from configs.sources import load
from data_contracts.artifacts import BundleRef, Emergency
from data_contracts.errors import ConfigurationError, GateRefused
from deploy import bundle as bundles
from deploy import emergency, operators, signing
from deploy.operate import verify
from deploy.store import FolderStore
from flows.registry import judge_again
from tasks import champion, history, permit, registry, rollout, versions, why
from tasks.emergency import declare, revoke, trust
from tests.deploy import served
from tests.tasks import released
from tests.tasks.released import Place, add, after

WHY = "callers of the outage are sent to nobody"


@dataclass(frozen=True)
class Case(Place):
    """Version 1 is the champion, 2 and 3 are on HOLD; operator li has a key of his own."""

    key: Path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("emergency")
    at = released.place(folder / "home")
    one = add(at, "one")
    registry.promote(at.registry, 1)
    after(at, one, "two", decision="HOLD")
    after(at, one, "three", decision="HOLD")
    trust(at.home, "li", folder / "li.pem", by="root")
    return folder


@pytest.fixture
def at(template: Path, tmp_path: Path) -> Case:
    shutil.copytree(template, tmp_path / "copy")
    there = released.reopen(tmp_path / "copy/home")
    return Case(there.home, there.store, there.registry, tmp_path / "copy/li.pem")


def declared(at: Case, version: int = 2) -> Emergency:
    return declare(at.registry, version, "li", at.key, WHY)


def beside(at: Place, version: int) -> Path:
    return at.store.root / f"{versions.get(at.registry, version).bundle.key}.attest/emergency.json"


def signed_anew(at: Case, key: Path, **changes: object) -> None:
    """What somebody who holds a key may lay beside version 2."""
    said = Emergency.model_validate_json(beside(at, 2).read_bytes()).model_copy(update=changes)
    made = bundles.sign(said, signing.private_key(key))
    beside(at, 2).write_text(made.model_dump_json())


def ago(hours: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="seconds")


def other_key(at: Case) -> None:
    trust(at.home, "wang", at.home / "wang.pem", by="root")
    signed_anew(at, at.home / "wang.pem")


def edit(at: Case) -> None:
    text = beside(at, 2).read_text()
    assert WHY in text
    beside(at, 2).write_text(text.replace(WHY, "nobody asked"))


def untrusted(at: Case) -> None:
    signing.create(at.home / "eve.pem")
    signed_anew(at, at.home / "eve.pem", operator="eve")


def clock_set_back(at: Case) -> None:
    """It was checked in this home a day from now."""
    mark, then = operators.folder(at.home) / ".clock", time.time() + 25 * 3600
    mark.touch()
    os.utime(mark, (then, then))


ATTACKS: dict[str, tuple[Callable[[Case], object], str]] = {
    "another bundle's": (
        lambda at: shutil.copy(beside(at, 2), beside(at, 3)),
        "does not cover bundle",
    ),
    "another operator's key": (other_key, "was not signed by that operator's key"),
    "reason edited": (edit, "was changed after it was signed"),
    "expired": (lambda at: signed_anew(at, at.key, created_at=ago(25), expires_at=ago(1)), "expired at"),
    "longer than a day": (
        lambda at: signed_anew(at, at.key, expires_at=ago(-48)),
        "at most 1 day, 0:00:00 is allowed",
    ),
    "of tomorrow": (
        lambda at: signed_anew(at, at.key, created_at=ago(-24), expires_at=ago(-48)),
        "in the future; set this machine's clock",
    ),
    "clock set back": (clock_set_back, "the clock was set back since"),
    "untrusted operator": (untrusted, "does not trust that operator"),
    "revoked operator": (lambda at: revoke(at.home, "li", by="root"), "no longer does"),
    "gibberish": (lambda at: beside(at, 2).write_text("{}"), "cannot be read"),
    "gate's own key": (
        lambda at: signed_anew(at, at.home / "keys/gate.pem"),
        "was not signed by that operator's key",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_only_a_trusted_operators_untouched_word_on_this_bundle_of_today_admits_it(at: Case, attack: str) -> None:
    tamper, sentence = ATTACKS[attack]
    declared(at)
    number = 3 if attack == "another bundle's" else 2
    bundle = versions.get(at.registry, number).bundle
    assert attack == "another bundle's" or rollout.admit(at.store, 2, bundle, at.home).version == 2
    tamper(at)

    for admitted in (
        lambda: registry.promote(at.registry, number),
        lambda: rollout.admit(at.store, number, bundle, at.home),
        lambda: bundles.admit(bundles.open(at.store.root / bundle.key), at.home),
    ):
        with pytest.raises(GateRefused, match=sentence) as refused:
            admitted()
        assert "HOLD" in str(refused.value)
    assert versions.champion(at.registry) == versions.get(at.registry, 1)


def test_a_declared_emergency_is_on_the_record_and_admits_everywhere(at: Case) -> None:
    said = declared(at)
    registry.promote(at.registry, 2)
    placed = rollout.admit(at.store, 2, versions.get(at.registry, 2).bundle, at.home)
    told = history.read(at.home)

    assert isinstance(permit.permit(at.registry, 2), Emergency)
    assert [e.event.kind for e in told[-2:]] == ["emergency", "promoted"]
    assert told[-2].event.detail["emergency"] == said.model_dump(mode="json")
    assert WHY in str(told[-1].event.detail["emergency"]) and "is HOLD" in said.refusal
    assert placed.verdict_signature == said.signature
    assert placed.emergency == f"emergency verdict of li until {said.expires_at}: {WHY}"
    answer = why.answer(at.home, 2)
    assert all(part in answer for part in ("EMERGENCY VERDICT of operator li", WHY, said.expires_at, "is HOLD"))
    assert "紧急裁定" in why.answer(at.home, 2, "zh")


def test_trust_and_revocation_are_in_the_history_with_the_key(at: Case) -> None:
    key = operators.trusted(at.home)["li"]
    revoke(at.home, "li", by="root")

    events = [e.event for e in history.read(at.home) if e.event.kind.startswith("operator")]
    assert [(e.kind, e.by, e.detail) for e in events] == [
        ("operator_trusted", "root", {"operator": "li", "public_key": key}),
        ("operator_revoked", "root", {"operator": "li", "public_key": key}),
    ]


def test_an_emergency_champion_that_expired_can_be_measured_against_and_left_but_not_returned_to(at: Case) -> None:
    declared(at)
    registry.promote(at.registry, 2)
    signed_anew(at, at.key, created_at=ago(25), expires_at=ago(1))

    with pytest.raises(GateRefused, match="expired at"):
        versions.champion(at.registry)
    rival = versions.rival(at.registry)
    assert rival is not None and (rival[0].version, rival[1].decision) == (2, "HOLD")
    reigning = champion.find(at.registry, released.TAXONOMY, load("tiny", env={}).serve)
    assert reigning is not None and reigning.verdict.decision == "HOLD"
    assert registry.rollback(at.registry).version == 1
    with pytest.raises(GateRefused, match="expired at"):
        registry.promote(at.registry, 2)


def test_an_emergency_verdict_is_nobodys_standard(at: Case) -> None:
    declared(at)
    registry.promote(at.registry, 2)
    two = versions.get(at.registry, 2)
    after(at, two, "four", gold_digest="e" * 64)

    with pytest.raises(GateRefused, match=r"gold set eeeeeeeeeeee instead of .*--new-standard"):
        registry.promote(at.registry, 4)
    with pytest.raises(GateRefused, match=r"was scored beside champion|evidence"):
        judge_again(at.registry, 3, load("tiny", env={}))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"version": 1}, "needs no emergency verdict"),
        ({"version": 9}, "no version 9"),
        ({"operator": "eve"}, "not the key of operator 'eve'.*operators here: li"),
        ({"reason": "  \n"}, "--reason has 0 characters"),
        ({"reason": "x" * 501}, "--reason has 501 characters"),
        ({"key_file": Path("nowhere.pem")}, "no private key at .*nowhere.pem; ./tingsu keys operator"),
    ],
)
def test_what_cannot_be_declared_is_refused_and_leaves_no_line(
    at: Case, wrong: dict[str, object], sentence: str
) -> None:
    before = history.read(at.home)
    asked = {"version": 2, "operator": "li", "key_file": at.key, "reason": WHY, **wrong}

    with pytest.raises((GateRefused, ConfigurationError), match=sentence):
        declare(at.registry, **asked)  # type: ignore[arg-type]
    assert history.read(at.home) == before


def test_a_key_that_others_can_read_is_not_used(at: Case) -> None:
    at.key.chmod(0o640)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        declared(at)


def test_a_name_cannot_be_given_a_second_key_unnoticed(at: Case) -> None:
    with pytest.raises(ConfigurationError, match="has another key here"):
        trust(at.home, "li", at.home / "new.pem", by="eve")
    with pytest.raises(ConfigurationError, match=r"gate' is not a name"):
        operators.trust(at.home, "../gate", at.home / "new.pem")
    with pytest.raises(ConfigurationError, match="no operator 'eve'; there are: li"):
        revoke(at.home, "eve", by="root")


def test_a_clock_set_back_does_not_lengthen_what_a_running_service_was_admitted_by(at: Case) -> None:
    said = declared(at)
    now = emergency.Moment.now()
    hours = 25 * 3600

    assert not emergency.is_over(said, now)
    assert emergency.is_over(said, now._replace(monotonic_s=now.monotonic_s - hours))
    assert emergency.is_over(said, now._replace(at=now.at + timedelta(days=2)))


@contextmanager
def nearly_over(home: Path, store: FolderStore, ref: BundleRef) -> Iterator[tuple[served.Served, Emergency]]:
    """A service on an emergency verdict that ends in seconds; in more of them, if it took so long to start here."""
    folder = store.root / ref.key
    for left_s in (12, 60, 240):
        began = datetime.now(UTC) - emergency.LASTS + timedelta(seconds=left_s)
        signed = bundles.sign(
            emergency.said(7, ref.digest, "li", WHY, "HOLD", began), operators.private(home / "li.pem")
        )
        bundles.attest(store, ref, bundles.EMERGENCY, signed.model_dump_json().encode())
        with served.serving(folder, home) as live:
            if live.process.poll() is None:
                yield live.ready(), signed
                return
    raise AssertionError(live.log.read_text())


def test_a_service_says_by_whom_it_serves_goes_on_when_that_expires_and_is_not_started_again(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    ref = served.fake_bundle(store)
    folder = served.promote(store, ref, tmp_path, "HOLD")
    assert "is HOLD" in served.refused(folder, tmp_path).stderr
    operators.trust(tmp_path, "li", tmp_path / "li.pem")

    with nearly_over(tmp_path, store, ref) as (live, said):
        info = httpx.get(f"{live.url}/model_info").json()
        assert info["verdict"]["decision"] == "EMERGENCY" and info["evaluation"] is False
        assert info["emergency"]["operator"] == "li" and info["emergency"]["reason"] == WHY
        while httpx.get(f"{live.url}/health").json()["status"] != "emergency_expired":
            assert datetime.now(UTC) < datetime.fromisoformat(said.expires_at) + timedelta(seconds=60)
            time.sleep(0.2)
        answer = httpx.post(f"{live.url}/api/v1/classify", json={"text": "客户：我要投诉。"})
        reloaded = httpx.post(f"{live.url}/admin/reload", json={"bundle": str(folder), "version": 8})

        assert answer.status_code == 200 and answer.json()["verdict_id"] == bundles.verdict_id(said)
        assert httpx.get(f"{live.url}/model_info").json()["emergency"]["emergency_expired"] is True
        assert reloaded.status_code == 422 and "expired at" in reloaded.text
        assert verify.passed(verify.verify(live.url, 30.0, ref.digest))
    assert "expired at" in served.refused(folder, tmp_path).stderr


def test_a_word_that_an_operator_signed_past_the_history_lets_nothing_serve(at: Case) -> None:
    declared(at)
    two = versions.get(at.registry, 2)
    assert rollout.admit(at.store, 2, two.bundle, at.home).emergency
    signed_anew(at, at.key, reason="told to nobody")

    with pytest.raises(GateRefused, match="is not in the history of this home"):
        rollout.admit(at.store, 2, two.bundle, at.home)
    with pytest.raises(GateRefused, match="is not in the history of this home"):
        permit.permit(at.registry, 2)
