"""Ways to get an unproven model served, or a comparison that means nothing; each has to fail, and to say why."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from configs.promotion import Bound
from configs.sources import load
from data_contracts.artifacts import Version
from data_contracts.errors import BundleCorrupt, GateRefused, TingsuError
from data_contracts.taxonomy import Taxonomy
from deploy import bundle as bundles
from deploy.store import LISTING, sha256_file
from flows import release
from flows.commands import tables
from flows.registry import judge_again
from tasks import gate, history, judge, looks, permit, registry, rollout, versions, why
from tasks.audit import audit
from tasks.compare import compare
from tasks.stages import Work
from tasks.versions import Registry, Standard
from tests.tasks import released
from tests.tasks.released import Place, add, after, aliases
from tests.tasks.scored import Scored, asking, evidence_of

SETTINGS = load("tiny", env={})
OTHER = Taxonomy.model_validate({**released.TAXONOMY.model_dump(), "name": "newer"})


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 is the champion; 2 was judged against it and may be promoted; 3 is on HOLD."""
    at = released.place(tmp_path_factory.mktemp("home"))
    one = add(at, "one")
    registry.promote(at.registry, 1)
    after(at, one, "two")
    after(at, one, "three", decision="HOLD")
    return at.home


@pytest.fixture
def at(template: Path, tmp_path: Path) -> Place:
    """A copy of the template: a home of its own with the same key, store, history and registry."""
    home = tmp_path / "home"
    shutil.copytree(template, home)
    there = released.reopen(home)
    assert aliases(there) == {"candidate": 3, "champion": 1}
    return there


def version(at: Place, number: int) -> Version:
    return versions.get(at.registry, number)


def beside(at: Place, number: int, name: str = "verdict.json") -> Path:
    return at.store.root / f"{version(at, number).bundle.key}.attest/{name}"


def cited_by(at: Place, number: int) -> Path:
    (found,) = beside(at, number).parent.glob("evidence-*.json")
    return found


def set_alias(at: Place, alias: str, number: int) -> None:
    with at.registry.tracker.client() as client:
        client.set_registered_model_alias("complaints", alias, str(number))


def set_tag(at: Place, number: int, tag: str, value: str) -> None:
    with at.registry.tracker.client() as client:
        client.set_model_version_tag("complaints", str(number), tag, value)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def resign(at: Place, number: int, home: Path, **changes: object) -> None:
    """A verdict that somebody with the key of `home` signed."""
    made = released.signed(
        at, version(at, number).bundle, **{"champion_bundle": version(at, 1).bundle.digest, **changes}
    )
    forged = bundles.sign(made, bundles.keypair(home))
    bundles.attest(at.store, version(at, number).bundle, bundles.VERDICT, forged.model_dump_json().encode())


def future() -> str:
    return (datetime.now(UTC) + timedelta(days=2)).isoformat(timespec="seconds")


def swap_weights(at: Place, number: int) -> None:
    """Other weights, and a listing that agrees with them."""
    folder = at.store.root / version(at, number).bundle.key
    weights = folder / "model/model.safetensors"
    weights.write_bytes(b"evil")
    listing = json.loads((folder / LISTING).read_text())
    listing["model/model.safetensors"] = {"size": 4, "sha256": sha256_file(weights)}
    (folder / LISTING).write_text(json.dumps(listing))


ON_PROMOTION: dict[str, tuple[int, Callable[[Place], object], str]] = {
    "nothing done": (2, lambda at: None, ""),
    "verdict copied from another bundle": (
        3,
        lambda at: beside(at, 3).write_bytes(beside(at, 2).read_bytes()),
        "does not cover bundle",
    ),
    "decision edited": (3, lambda at: edit(beside(at, 3), "HOLD", "PROMOTE"), "changed after it was signed"),
    "tag edited to PROMOTE": (3, lambda at: set_tag(at, 3, "verdict", "PROMOTE"), "is HOLD"),
    "tag pointed at a promoted bundle": (
        3,
        lambda at: set_tag(at, 3, "bundle_digest", version(at, 2).bundle.digest),
        "it was edited; set the tag back",
    ),
    "key of another home": (
        2,
        lambda at: resign(at, 2, at.home / "stranger"),
        "not signed by the key this home trusts",
    ),
    "clock in the future": (2, lambda at: resign(at, 2, at.home, created_at=future()), "in the future"),
    "looser thresholds": (
        2,
        lambda at: resign(at, 2, at.home, thresholds_digest="0" * 64),
        "today's are 'tiny' and hhhhhhhhhhhh.*gate 2 --again",
    ),
    "easier profile": (2, lambda at: resign(at, 2, at.home, profile="qwen3-0.6b"), "under profile 'qwen3-0.6b'"),
    "evidence edited": (2, lambda at: cited_by(at, 2).write_text("{}"), "was edited after the verdict was signed"),
    "evidence removed": (2, lambda at: cited_by(at, 2).unlink(), "evidence-.*is missing"),
    "older champion's judgement": (
        2,
        lambda at: resign(at, 2, at.home, champion_bundle=None),
        "judged against no champion",
    ),
    "weights swapped": (2, lambda at: swap_weights(at, 2), "was changed: its digest is"),
    "history line edited": (
        2,
        lambda at: edit(at.home / history.FILE, '"by": "tester"', '"by": "somebody"'),
        "line 1 was changed",
    ),
    "history removed": (2, lambda at: (at.home / history.FILE).unlink(), "its tail was cut"),
}


@pytest.mark.parametrize("attack", ON_PROMOTION)
def test_nothing_but_a_valid_verdict_of_today_is_promoted(at: Place, attack: str) -> None:
    number, tamper, sentence = ON_PROMOTION[attack]
    tamper(at)

    if attack == "nothing done":
        assert registry.promote(at.registry, number).version == number
        return
    with pytest.raises((GateRefused, BundleCorrupt), match=sentence):
        registry.promote(at.registry, number)
    assert aliases(at)["champion"] == 1


@pytest.mark.parametrize("to", [2, 3])
def test_an_alias_moved_by_hand_changes_neither_what_serves_nor_what_is_compared_with(at: Place, to: int) -> None:
    set_alias(at, "champion", to)

    assert (found := versions.champion(at.registry)) is not None
    assert found.version == 1
    assert "moved by hand" in audit(at.registry)[0]
    registry.promote(at.registry, 1)
    assert aliases(at)["champion"] == 1
    assert audit(at.registry) == ()


def test_an_alias_previous_moved_by_hand_is_not_rolled_back_to(at: Place) -> None:
    registry.promote(at.registry, 2)
    set_alias(at, "previous", 3)

    assert "alias 'previous'" in audit(at.registry)[0]
    assert registry.rollback(at.registry).version == 1


def test_an_alias_where_nothing_was_promoted_makes_no_champion(tmp_path: Path) -> None:
    at = released.place(tmp_path)
    add(at, "one", decision="HOLD")
    set_alias(at, "champion", 1)

    with pytest.raises(GateRefused, match="moved by hand"):
        versions.champion(at.registry)
    with pytest.raises(GateRefused, match="HOLD"):
        registry.promote(at.registry, 1)


def test_a_rollback_cut_off_before_the_alias_moved_is_finished_by_the_next(at: Place) -> None:
    registry.promote(at.registry, 2)
    left = {"previous_version": None, "left_version": 2}
    digest = version(at, 1).bundle.digest
    history.append(
        at.home, history.Event(kind="rolled_back", version=1, by="killed", bundle_digest=digest, detail=left)
    )

    assert registry.rollback(at.registry).version == 1
    assert aliases(at)["champion"] == 1
    assert audit(at.registry) == ()


def test_thresholds_loosened_after_the_fact_are_refused_and_the_way_on_is_named(at: Place) -> None:
    strict = replace(at.registry, today=Standard("qwen3-0.6b", "5" * 64))

    with pytest.raises(GateRefused, match=r"gate 2 --again"):
        release.promote(strict, 2, SETTINGS)
    assert permit.permit(strict, 1).profile == "tiny"  # the champion stays the champion


def test_thresholds_fitted_to_a_candidate_need_a_reason_that_the_history_keeps(tmp_path: Path) -> None:
    at = released.place(tmp_path)
    add(at, "one")
    registry.promote(at.registry, 1)
    released.after(at, version(at, 1), "two", thresholds_digest="5" * 64)
    loose = replace(at.registry, today=Standard("tiny", "5" * 64))

    with pytest.raises(GateRefused, match=r"thresholds .*promote 2 --new-standard"):
        registry.promote(loose, 2)
    registry.promote(replace(loose, new_standard="the board asked for recall"), 2)

    assert history.read(at.home)[-1].event.detail["new_standard"] == "the board asked for recall"
    assert permit.other_standard(loose, versions.verdict_of(loose, version(at, 2)), 2) is None


def judged_anew(at: Place, number: int, decision: str, thresholds: str) -> Registry:
    """Somebody judges a version anew by other thresholds, which become today's."""
    bundle = version(at, number).bundle
    rival = version(at, 1).bundle.digest if number != 1 else None
    changes = {"decision": decision, "thresholds_digest": thresholds, "champion_bundle": rival}
    registry.rejudge(at.registry, version(at, number), released.signed(at, bundle, **changes))
    return replace(at.registry, today=Standard("tiny", thresholds))


@pytest.mark.parametrize("decision", ["PROMOTE", "HOLD"])
def test_judging_the_champion_by_other_thresholds_makes_them_nobodys_standard(at: Place, decision: str) -> None:
    loose = judged_anew(at, 1, decision, "5" * 64)
    set_alias(at, "champion", 3)
    registry.promote(loose, 1)  # as the audit advises: it mends the alias
    two = judged_anew(at, 2, "PROMOTE", "5" * 64)

    assert audit(at.registry) == ()
    with pytest.raises(GateRefused, match="thresholds 555555555555 instead of hhhhhhhhhhhh"):
        registry.promote(two, 2)


def test_judging_a_rival_and_going_back_to_it_makes_no_standard_either(at: Place) -> None:
    registry.promote(at.registry, 2)
    judged_anew(at, 1, "HOLD", "5" * 64)
    registry.rollback(at.registry)
    two = judged_anew(at, 2, "PROMOTE", "5" * 64)

    with pytest.raises(GateRefused, match="thresholds 555555555555 instead of hhhhhhhhhhhh"):
        registry.promote(two, 2)


def test_a_reason_given_for_the_champion_itself_is_kept_and_sets_the_standard(at: Place) -> None:
    loose = judged_anew(at, 1, "PROMOTE", "5" * 64)
    registry.promote(replace(loose, new_standard="the board asked for recall"), 1)
    two = judged_anew(at, 2, "PROMOTE", "5" * 64)

    assert history.read(at.home)[-2].event.detail["new_standard"] == "the board asked for recall"
    assert registry.promote(two, 2).version == 2


def test_a_candidate_judged_on_other_gold_calls_needs_a_reason(at: Place) -> None:
    rival = version(at, 1).bundle.digest
    add(at, "easy", champion_bundle=rival, gold_digest="e" * 64)

    with pytest.raises(GateRefused, match=r"gold set eeeeeeeeeeee instead of .*promote 4 --new-standard"):
        registry.promote(at.registry, 4)


def test_a_run_says_what_a_person_has_to_do_and_nothing_where_the_version_serves_already(at: Place) -> None:
    from data_contracts.artifacts import Base
    from flows.run import Run

    two, here = versions.verdict_of(at.registry, version(at, 2)), Base(path="", name="", digest="")
    asks = SETTINGS.model_copy(update={"gate": SETTINGS.gate.model_copy(update={"approval": True})})
    run, approved = (Run(s, at.store, at.home, released.DATASET, here) for s in (SETTINGS, asks))
    easy = two.model_copy(update={"gold_digest": "e" * 64})

    assert run.withheld(two, 2) == ""
    assert approved.withheld(two, 2) == "waits for a person: ./tingsu promote 2"
    assert approved.withheld(versions.verdict_of(at.registry, version(at, 1)), 1) == ""
    assert run.withheld(easy, 2).endswith("./tingsu promote 2 --new-standard 'REASON'")
    assert run.withheld(two.model_copy(update={"decision": "HOLD"}), 2) == "the verdict is HOLD"


def test_who_releases_is_no_threshold() -> None:
    asked = SETTINGS.gate

    assert gate.thresholds_digest(asked) == gate.thresholds_digest(asked.model_copy(update={"approval": True}))
    assert gate.thresholds_digest(asked) != gate.thresholds_digest(asked.model_copy(update={"leak_jaccard": 1.0}))


def test_swapped_weights_are_not_rolled_out(at: Place) -> None:
    swap_weights(at, 2)

    with pytest.raises(BundleCorrupt):
        rollout.admit(at.store, 2, version(at, 2).bundle, at.home)


def test_a_verdict_replayed_on_a_bundle_with_a_new_taxonomy_is_refused(at: Place) -> None:
    newer = released.bundle(at, "newer", OTHER)
    bundles.attest(at.store, newer, bundles.VERDICT, beside(at, 2).read_bytes())

    with pytest.raises(GateRefused, match="does not cover bundle"):
        rollout.admit(at.store, 9, newer, at.home)


# What is trained on


@pytest.fixture
def scored(tmp_path: Path) -> Scored:
    return Scored(tmp_path, rows=600)


def leak(scored: Scored, change: Callable[[str], str]) -> None:
    """One gold call among the training calls, under another id and customer."""
    gold = pl.read_parquet(scored.store.root / scored.splits.file("gold"))["input_text"][39]
    texts = pl.read_parquet(scored.store.root / scored.splits.file("train"))["input_text"].to_list()
    scored.write_side("train", input_text=[change(gold), *texts[1:]])


@pytest.mark.parametrize(
    "change",
    [lambda t: t, lambda t: f"客服：{t}。！", lambda t: t[:20] + "嗯" + t[20:]],
    ids=["same", "dots", "edited"],
)
def test_gold_calls_in_training_are_found_at_the_gate(scored: Scored, change: Callable[[str], str]) -> None:
    scored.long_texts()
    gate.judge(evidence_of(scored, 0.97), scored.store)  # as they are, nothing leaks
    leak(scored, change)

    with pytest.raises(GateRefused, match="1 calls with the words of a gold call are on the train side"):
        gate.judge(evidence_of(scored, 0.97), scored.store)


def test_a_model_trained_on_other_calls_than_the_split_holds_is_refused(scored: Scored) -> None:
    evidence = evidence_of(scored, 0.97)
    scored.write_side("train", input_text=[f"swapped back {i}" for i in range(600)])

    with pytest.raises(GateRefused, match="trained on other calls than the train side holds"):
        gate.judge(evidence, scored.store)
    with pytest.raises(GateRefused, match="trained on other calls"):
        gate.judge(evidence.model_copy(update={"trained_on": {}}), scored.store)


@pytest.mark.parametrize("edited", [False, True])
def test_gold_calls_submitted_again_in_a_later_dataset_do_not_train(tmp_path: Path, edited: bool) -> None:
    from tests.tasks.test_split import call, divide, many, put

    first, sides = divide(tmp_path, put(tmp_path, many(60), "one"))
    stolen = [
        call(f"new-{i}" if not edited else row["conversation_id"], f"new-group-{i}", row["input_text"] + "吧" * edited)
        for i, row in enumerate(sides["gold"].iter_rows(named=True))
    ]
    again, later = divide(tmp_path, put(tmp_path, [*many(60), *stolen], "two"))

    assert again.gold_digest == first.gold_digest
    for side in ("train", "validation", "calibration"):
        assert not set(later[side]["conversation_id"]) & {row["conversation_id"] for row in stolen}


def test_an_id_of_a_gold_call_with_other_words_and_customer_does_not_train(tmp_path: Path) -> None:
    from tests.tasks.test_split import call, divide, many, put, text

    _, sides = divide(tmp_path, put(tmp_path, many(60), "one"))
    stolen = [call(name, f"h{i}", text(7000 + i)) for i, name in enumerate(sides["gold"]["conversation_id"])]
    _, later = divide(tmp_path, put(tmp_path, [*many(60), *stolen], "two"))

    assert not set(later["train"]["conversation_id"]) & set(later["gold"]["conversation_id"])


# Looks at gold


def judged(scored: Scored, home: Path, digest: str, limit: int = 20, adapter: str = "") -> str:
    evidence = evidence_of(scored, 0.97)
    settings = evidence.settings.model_copy(update={"max_gold_looks": limit})
    bundle = evidence.bundle.model_copy(update={"digest": digest, "key": f"bundles/{digest}"})
    work = Work(scored.store, "stages/judge/x", home, home)
    bundles.keypair(home)
    trained = adapter or digest[::-1]
    asked = evidence.model_copy(update={"settings": settings, "bundle": bundle, "adapter": trained})
    verdict = judge.judge(asked, bundles.public_key(home), home, work=work)
    return f"{verdict.gold_looks} {verdict.sentence_en} {verdict.sentence_zh}"


def test_every_candidate_that_looks_at_gold_is_counted_once_and_too_many_are_warned_of(
    scored: Scored, tmp_path: Path
) -> None:
    first = [judged(scored, tmp_path / "home", name * 64, limit=2) for name in "aabb"]
    third = judged(scored, tmp_path / "home", "c" * 64, limit=2)

    assert [text[0] for text in first] == ["1", "1", "2", "2"]
    assert not any("has now been looked at" in text for text in first)
    assert third.startswith("3 ")
    assert "This gold set has now been looked at 3 times, more than 2" in third
    assert "已被查看 3 次" in third


def test_a_look_whose_run_was_killed_counts_and_its_rerun_does_not(
    scored: Scored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(gate, "judge", killed)
        judged(scored, tmp_path / "home", "a" * 64)

    assert judged(scored, tmp_path / "home", "a" * 64)[0] == "1"
    assert judged(scored, tmp_path / "home", "b" * 64)[0] == "2"


def test_a_candidate_that_answered_gold_and_was_dropped_before_its_verdict_counts(
    scored: Scored, tmp_path: Path
) -> None:
    gold = scored.splits.gold_digest
    for dropped in ("one", "two", "two"):
        looks.answered(scored.store, gold, dropped)

    assert judged(scored, tmp_path / "home", "a" * 64, adapter="three")[0] == "3"
    assert judged(scored, tmp_path / "home", "b" * 64, adapter="three")[0] == "4"  # another form of the same adapter
    assert judged(scored, tmp_path / "home", "c" * 64, adapter="one")[0] == "4"  # which was counted when it answered


def test_looks_are_shown_where_versions_and_reasons_are(at: Place) -> None:
    run = released.candidate(at, released.bundle(at, "often"), gold_looks=37, sentence_en="looked at 37 times")
    number = registry.record(at.registry, run).version
    listed = tables.models(versions.models(at.registry))

    assert "37" in listed.splitlines()[1].split()
    assert "looks at this gold set so far: 37" in why.answer(at.home, number)
    assert "looked at 37 times" in why.answer(at.home, number)


# Not comparable


def test_versions_on_another_gold_set_or_taxonomy_show_no_number_to_compare(at: Place) -> None:
    after(at, version(at, 1), "four", gold_digest="x" * 64)
    found, listed = compare(at.registry, 1, 4), tables.models(versions.models(at.registry))

    assert not found.comparable
    assert "gold sets" in found.reason_en
    assert "黄金集" in found.reason_zh
    assert [r for r in found.rows if r.metric.startswith("gold/")] == []
    newest, older, (en, zh) = listed.splitlines()[1], listed.splitlines()[-4], listed.splitlines()[-2:]
    assert newest.split()[-1] == "0.830"
    assert older.endswith("不可比较 not comparable")
    assert "./tingsu compare 3 4" in en and "./tingsu compare 3 4" in zh


def test_a_run_in_mlflow_says_what_it_may_be_compared_with(at: Place) -> None:
    with at.registry.tracker.client() as client:
        run = client.get_run(version(at, 1).run_id).data
    wanted = ("g" * 64, released.TAXONOMY.digest)

    assert (run.tags["gold_digest"], run.tags["taxonomy_digest"]) == wanted
    assert "not comparable with runs whose tags" in run.tags["mlflow.note.content"]


def test_a_champion_of_another_taxonomy_stops_the_run_before_anything_is_trained(at: Place) -> None:
    from tasks import champion

    with pytest.raises(TingsuError, match="not comparable"):
        champion.find(at.registry, OTHER, SETTINGS.serve)
    assert (sitting := champion.find(at.registry, released.TAXONOMY, SETTINGS.serve)) is not None
    assert sitting.version.version == 1


# Today's thresholds


def test_a_version_is_judged_again_under_todays_thresholds_from_its_evidence_alone_and_that_is_a_look(
    tmp_path: Path,
) -> None:
    at = released.place(tmp_path)
    evidence = evidence_of(Scored(at.store.root, rows=600), 0.9, bundle=released.bundle(at, "one"))
    work = Work(at.store, "stages/judge/x", at.home, at.home)
    first = judge.judge(evidence, at.registry.trusted_key, at.home, work=work)
    made = released.candidate(at, evidence.bundle).model_copy(update={"verdict": first})
    registry.record(at.registry, made)

    decisions = {}
    for least in (0.99, 0.7):
        settings = SETTINGS.model_copy(update={"gate": asking(Bound(metric="macro_f1", at_least=least))})
        today = replace(at.registry, today=Standard("tiny", gate.thresholds_digest(settings.gate)))
        with pytest.raises(GateRefused):
            registry.promote(today, 1)
        decisions[least] = judge_again(today, 1, settings).decision

    assert decisions == {0.99: "REJECT", 0.7: "PROMOTE"}
    assert registry.promote(today, 1).decision == "PROMOTE"
    recorded = [e.event.detail["decision"] for e in history.read(at.home) if e.event.kind == "recorded"]
    assert recorded == ["PROMOTE", "REJECT", "PROMOTE"]
    assert versions.verdict_of(at.registry, version(at, 1)).gold_looks == 3
    assert judge_again(today, 1, settings).gold_looks == 3, "the same judgement again is no look"
    seen = looks.of(at.store, evidence.splits.gold_digest)
    assert (seen.total, seen.candidates, seen.judged, sorted(seen.gates.values())) == (3, 1, 3, [1, 1, 1])
