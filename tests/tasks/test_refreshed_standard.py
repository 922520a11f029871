"""After a refresh of the gold set a verdict on the version before promotes nobody any more, and says what to do."""

from dataclasses import replace
from pathlib import Path

import pytest

from configs.sources import load
from data_contracts.artifacts import Base, Dataset
from data_contracts.errors import GateRefused
from flows.registry import judge_again
from flows.run import Run
from tasks import catalog, gold, history, permit, refresh, registry, versions
from tests.tasks import released
from tests.tasks.kept import keep
from tests.tasks.released import Place, add, after
from tests.tasks.test_refresh import calls, divide, plan


@pytest.fixture
def at(tmp_path: Path) -> Place:
    return released.place(tmp_path)


@pytest.fixture
def both(at: Place) -> Dataset:
    """A family whose gold set is made, and a dataset that may refresh it."""
    divide(at.store, keep(at.store, calls(0, 200), "june"))
    return keep(at.store, [*calls(0, 200), *calls(1000, 200)], "both")


def digest(at: Place) -> str:
    found = gold.newest(at.store, "complaints")
    assert found is not None
    return found.digest


def test_a_candidate_judged_before_a_refresh_is_judged_again_before_it_is_promoted(at: Place, both: Dataset) -> None:
    older = digest(at)
    one = add(at, "one", gold_digest=older)
    registry.promote(at.registry, 1)
    after(at, one, "two", gold_digest=older, dataset_id=both.id)
    assert permit.permit(at.registry, 2).decision == "PROMOTE"

    newer = refresh.refresh(at.store, plan(at.store, both))
    with pytest.raises(GateRefused) as refused:
        registry.promote(replace(at.registry, new_standard="it was fine in June"), 2)
    assert versions.sitting(at.registry) == one
    assert refused.value.said.en == (
        "version 2 was judged on version 1 of the gold set of 'complaints', and version 2 "
        f"({newer.rows} calls, made by tester for 'a new tariff') counts now; have it and the champion judged on that: "
        f"./tingsu retrain --dataset {both.id[:12]}"
    )
    assert history.read(at.home)[-1].event.kind == "refused"
    with pytest.raises(GateRefused, match="was judged on version 1 of the gold set"):
        judge_again(at.registry, 2, load("tiny", (), ()))

    two = after(at, one, "two", gold_digest=newer.digest, dataset_id=both.id)  # a retrain judges the same bundle anew
    assert two.version == 2
    with pytest.raises(GateRefused, match=r"another standard than the champion.*gold set"):
        registry.promote(at.registry, 2)
    assert registry.promote(replace(at.registry, new_standard="a new tariff"), 2).version == 2


def test_a_first_candidate_needs_todays_gold_set_too_and_a_champion_keeps_its_place(at: Place, both: Dataset) -> None:
    one = add(at, "one", gold_digest=digest(at))
    registry.promote(at.registry, 1)
    two = after(at, one, "two", gold_digest=digest(at))
    registry.promote(at.registry, 2)
    refresh.refresh(at.store, plan(at.store, both))

    assert permit.permit(at.registry, 2).bundle_digest == two.bundle.digest
    assert registry.rollback(at.registry).version == 1
    with pytest.raises(GateRefused, match="counts now"):
        registry.promote(at.registry, 2)


def test_a_run_during_which_the_gold_set_was_refreshed_ends_and_releases_nothing(at: Place, both: Dataset) -> None:
    add(at, "one", gold_digest=digest(at), dataset_id=both.id)
    verdict = versions.stored_verdict(at.registry, versions.get(at.registry, 1))
    run = Run(load("tiny", (), ()), at.store, at.home, both, Base(path="", name="base", digest="0"))
    before = run.withheld(verdict, 1)
    refresh.refresh(at.store, plan(at.store, both))

    assert before == ""
    assert run.withheld(verdict, 1).startswith("version 1 was judged on version 1 of the gold set of 'complaints'")


def test_a_refresh_in_another_family_changes_nothing(at: Place, both: Dataset) -> None:
    add(at, "one", gold_digest=digest(at))
    divide(at.store, keep(at.store, calls(5000, 200), "foreign", family="foreign"))
    refresh.refresh(
        at.store, plan(at.store, keep(at.store, [*calls(5000, 200), *calls(7000, 200)], "more", family="foreign"))
    )

    assert registry.promote(at.registry, 1).version == 1


def test_two_families_of_the_same_calls_have_gold_sets_of_their_own(at: Place, both: Dataset) -> None:
    twin = keep(at.store, calls(0, 200), "twin", family="foreign")
    _, mine = divide(at.store, twin)
    june = catalog.find(at.store, "june", "complaints")
    add(at, "one", gold_digest=digest(at), dataset_id=june.id)
    add(at, "two", gold_digest=digest(at), dataset_id=twin.id)
    refresh.refresh(
        at.store, plan(at.store, keep(at.store, [*calls(0, 200), *calls(1000, 200)], "more", family="foreign"))
    )

    assert mine["gold"].height
    with pytest.raises(GateRefused, match="gold set of 'foreign'"):
        permit.permit(at.registry, 2)
    assert permit.permit(at.registry, 1).dataset_id == june.id
