"""No way around the gate: only a signed PROMOTE for this very bundle becomes champion; every move is on record."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from data_contracts.artifacts import Version
from data_contracts.errors import BundleCorrupt, ConfigurationError, GateRefused
from deploy import bundle as bundles
from tasks import audit, history, registry, versions, why
from tests.tasks import released
from tests.tasks.released import Place, add, after, aliases


@pytest.fixture
def at(tmp_path: Path) -> Place:
    return released.place(tmp_path)


def test_before_the_first_version_there_is_nothing(at: Place) -> None:
    assert versions.models(at.registry) == ()
    assert versions.champion(at.registry) is None
    assert audit.audit(at.registry) == ()
    with pytest.raises(GateRefused, match="no previous"):
        registry.rollback(at.registry)
    with pytest.raises(ConfigurationError, match="no version 1"):
        registry.promote(at.registry, 1)


def test_a_recorded_version_is_a_candidate_that_cites_its_bundle(at: Place) -> None:
    version = add(at, "one")

    row = versions.models(at.registry)[0]
    assert aliases(at) == {"candidate": 1}
    assert row.version == version
    assert row.tags["bundle_digest"] == version.bundle.digest
    assert row.metrics["gold/macro_f1"] == 0.83
    assert not list((at.home / "mlflow").rglob("*.safetensors"))


def test_the_same_bundle_recorded_again_keeps_its_version(at: Place) -> None:
    first = add(at, "one")

    assert add(at, "one") == first
    assert len(versions.models(at.registry)) == 1
    assert len(history.read(at.home)) == 1


def test_promotion_and_rollback_move_champion_and_previous(at: Place) -> None:
    one = add(at, "one")
    registry.promote(at.registry, 1)
    assert aliases(at) == {"candidate": 1, "champion": 1}
    two = after(at, one, "two")
    registry.promote(at.registry, 2)
    after(at, two, "three")
    registry.promote(at.registry, 3)
    assert aliases(at) == {"candidate": 3, "champion": 3, "previous": 2}

    assert registry.rollback(at.registry).version == 2
    assert aliases(at) == {"candidate": 3, "champion": 2, "previous": 1}
    assert registry.rollback(at.registry).version == 2, "the same command again stays where it went"
    assert registry.rollback(at.registry, 1).version == registry.rollback(at.registry, 1).version == 1
    assert aliases(at) == {"candidate": 3, "champion": 1}
    assert [e.event.kind for e in history.read(at.home)].count("rolled_back") == 2
    with pytest.raises(GateRefused, match="no previous version"):
        registry.rollback(at.registry, 3)
    assert audit.audit(at.registry) == ()
    assert "promote 2" in why.answer(at.home, 1)


def test_promoting_the_champion_changes_nothing(at: Place) -> None:
    one = add(at, "one")
    registry.promote(at.registry, 1)
    after(at, one, "two")
    registry.promote(at.registry, 2)
    before = history.read(at.home)
    registry.promote(at.registry, 2)

    assert history.read(at.home) == before
    assert aliases(at)["previous"] == 1


@pytest.mark.parametrize("decision", ["HOLD", "REJECT"])
def test_only_promote_is_promoted_and_the_refusal_is_on_record(at: Place, decision: str) -> None:
    add(at, "one", decision=decision)

    with pytest.raises(GateRefused, match=decision):
        registry.promote(at.registry, 1)
    assert versions.champion(at.registry) is None
    assert history.read(at.home)[-1].event.kind == "refused"


def verdict_path(at: Place, version: Version) -> Path:
    return at.store.root / f"{version.bundle.key}.attest/verdict.json"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


SPOILED: dict[str, Callable[[Place, Version], object]] = {
    "missing": lambda at, v: verdict_path(at, v).unlink(),
    "garbled": lambda at, v: verdict_path(at, v).write_text("{"),
    "decision changed": lambda at, v: edit(verdict_path(at, v), "HOLD", "PROMOTE"),
    "of another bundle": lambda at, v: verdict_path(at, v).write_text(verdict_path(at, add(at, "other")).read_text()),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_verdict_promotes_nothing(at: Place, how: str) -> None:
    version = add(at, "one", decision="HOLD")
    SPOILED[how](at, version)

    with pytest.raises(GateRefused):
        registry.promote(at.registry, version.version)
    assert versions.champion(at.registry) is None


def test_a_verdict_signed_by_another_key_promotes_nothing(at: Place, tmp_path: Path) -> None:
    version = add(at, "one")
    stranger = bundles.keypair(tmp_path / "stranger")
    forged = bundles.sign(released.signed(at, version.bundle), stranger)
    bundles.attest(at.store, version.bundle, bundles.VERDICT, forged.model_dump_json().encode())

    with pytest.raises(GateRefused, match="not signed by the key"):
        registry.promote(at.registry, 1)


def test_a_changed_bundle_is_not_promoted(at: Place) -> None:
    version = add(at, "one")
    (at.store.root / version.bundle.key / "model/model.safetensors").write_bytes(b"eno")

    with pytest.raises(BundleCorrupt):
        registry.promote(at.registry, 1)
    assert versions.champion(at.registry) is None


def test_a_verdict_against_another_champion_is_stale(at: Place) -> None:
    add(at, "one")
    add(at, "two")
    registry.promote(at.registry, 1)

    with pytest.raises(GateRefused, match=r"judged against no champion.*tingsu retrain"):
        registry.promote(at.registry, 2)
    assert aliases(at)["champion"] == 1


def test_a_tag_edited_by_hand_to_promote_promotes_nothing(at: Place) -> None:
    add(at, "one", decision="HOLD")
    with at.registry.tracker.client() as client:
        client.set_model_version_tag("complaints", "1", "verdict", "PROMOTE")

    with pytest.raises(GateRefused, match="HOLD"):
        registry.promote(at.registry, 1)


def test_a_later_hold_bars_a_candidate_and_leaves_the_champion_serving(at: Place) -> None:
    add(at, "one")
    registry.promote(at.registry, 1)
    assert add(at, "one", decision="HOLD").decision == "HOLD"
    assert versions.champion(at.registry) is not None

    two = released.bundle(at, "two")
    for decision in ("PROMOTE", "HOLD"):
        champion = versions.models(at.registry)[-1].version.bundle.digest
        registry.record(at.registry, released.candidate(at, two, decision=decision, champion_bundle=champion))
    with pytest.raises(GateRefused, match="HOLD"):
        registry.promote(at.registry, 2)


def test_a_promotion_killed_before_the_alias_moved_is_finished_by_the_next(at: Place) -> None:
    version = add(at, "one")
    history.append(at.home, history.Event(kind="promoted", version=1, by="killed", bundle_digest=version.bundle.digest))
    registry.promote(at.registry, 1)

    assert aliases(at)["champion"] == 1
    assert audit.audit(at.registry) == ()


def test_promotions_at_once_leave_one_champion_and_a_sound_history(at: Place) -> None:
    for name in ("one", "two", "three"):
        add(at, name)

    def attempt(version: int) -> str:
        try:
            registry.promote(at.registry, version)
        except GateRefused:
            return "refused"
        return "promoted"

    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(attempt, (1, 2, 3)))
    assert sorted(outcomes) == ["promoted", "refused", "refused"]
    assert audit.audit(at.registry) == ()


def test_the_record_says_who_and_a_rollback_verifies_too(at: Place) -> None:
    one = add(at, "one")
    registry.promote(replace(at.registry, by="王工"), 1)
    after(at, one, "two")
    registry.promote(at.registry, 2)
    registry.rollback(at.registry, 1, "it misses refunds")
    registry.promote(at.registry, 2)
    verdict_path(at, one).unlink()

    assert "why=it misses refunds" in why.answer(at.home, 1)
    assert "王工" in why.answer(at.home, 1)
    with pytest.raises(GateRefused, match="no verdict"):
        registry.rollback(at.registry)
    assert aliases(at)["champion"] == 2


def test_a_glance_without_a_tracking_server_tells_what_is_live_but_not_the_champion_and_what_ends_it(at: Place) -> None:
    one = add(at, "one")
    registry.promote(at.registry, 1)
    after(at, one, "two")
    registry.promote(at.registry, 2)

    assert audit.glance(at.registry, 2) == ()
    assert "`./tingsu rollback --to 1` ends it" in audit.glance(at.registry, 1)[0]
    assert "`./tingsu promote 3` ends it" in audit.glance(at.registry, 3)[0]
