"""Two versions are compared on the gold calls that both answered, also where a refresh came between their verdicts."""

from pathlib import Path

import polars as pl
import pytest

from data_contracts.artifacts import Predictions, Report, Version
from tasks import cited, registry
from tasks.compare import Comparison, Difference, compare
from tasks.gold import LEAST_SHARED as LEAST
from tests.tasks import released
from tests.tasks.released import Place
from tests.tasks.scored import TAXONOMY, Scored, evidence_of

ROWS = 600
OLD, NEW = "1" * 64, "2" * 64


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return released.place(tmp_path_factory.mktemp("compare"))


@pytest.fixture(scope="module")
def scored(at: Place) -> Scored:
    return Scored(at.store.root, rows=ROWS)


def answered(scored: Scored, right: float, seed: int, calls: range, gold: str, ascending: bool = True) -> Report:
    """A report on some of the calls, as a version of the gold set that holds just these gives it."""
    whole = scored.report(right, seed=seed)
    names = [f"gold-{at}" for at in calls]
    frame = pl.read_parquet(scored.store.root / whole.predictions.key)
    key = f"predictions/{right}-{seed}-{calls.start}-{calls.stop}.parquet"
    own = frame.filter(pl.col("conversation_id").is_in(names)).sort("conversation_id", descending=not ascending)
    own.write_parquet(scored.store.root / key)
    predictions = whole.predictions.model_copy(update={"key": key, "rows": len(calls)})
    return whole.model_copy(update={"predictions": predictions, "rows": len(calls), "rows_digest": gold})


def add(at: Place, scored: Scored, name: str, served: Report, family: str = "f", **changes: object) -> Version:
    """A version whose signed verdict cites evidence with this report."""
    ref = released.bundle(at, name)
    splits = scored.splits.model_copy(update={"family": family, "gold_digest": served.rows_digest})
    evidence = evidence_of(scored, 0.9, bundle=ref, splits=splits, reports={"served": served}, **changes)
    data = evidence.model_dump_json().encode()
    cited.keep(at.store, ref, data)
    found = {"report_digest": cited.digest(data), "gold_digest": served.rows_digest}
    return registry.record(at.registry, released.candidate(at, ref, **found))


def accuracy(scored: Scored, predictions: Predictions, calls: set[str]) -> float:
    """From the kept answers alone."""
    frame = pl.read_parquet(scored.store.root / predictions.key).filter(pl.col("conversation_id").is_in(list(calls)))
    said = frame["logprobs"].list.arg_max()
    return float((said == pl.Series([TAXONOMY.index[k] for k in frame["category"]])).mean())  # type: ignore[arg-type]


def row(found: Comparison, metric: str) -> Difference:
    return next(r for r in found.rows if r.metric == metric)


def test_over_a_refresh_two_versions_are_compared_on_the_calls_that_stayed(at: Place, scored: Scored) -> None:
    before = answered(scored, 0.75, 1, range(0, 400), OLD)
    after = answered(scored, 0.95, 1, range(150, ROWS), NEW, ascending=False)
    a, b = add(at, scored, "before", before), add(at, scored, "after", after)
    found = compare(at.registry, a.version, b.version)
    stayed = {f"gold-{call}" for call in range(150, 400)}
    one, other = (accuracy(scored, r.predictions, stayed) for r in (before, after))
    accurate = row(found, "gold/accuracy_share")

    assert found.comparable
    assert (found.calls, found.customers) == (250, 125)
    assert (accurate.a, accurate.b) == (pytest.approx(one), pytest.approx(other))
    assert accurate.change == pytest.approx(other - one)
    assert accurate.low is not None and accurate.high is not None
    assert 0.05 < accurate.low < other - one < accurate.high < 0.4
    assert accurate.better == "b" and row(found, "gold/cost_per_1000").better == "b"
    assert "(400 and 450 calls); compared on the 250 calls, of 125 customers" in found.reason_en
    assert "只比较两版共有的 250 通" in found.reason_zh
    assert not [r.metric for r in found.rows if r.low is None and not r.metric.startswith("speed/")]
    assert row(found, "speed/p95_ms").better == "same"


def test_what_chance_may_have_made_is_not_called_better(at: Place, scored: Scored) -> None:
    a = add(at, scored, "lucky", answered(scored, 0.85, 5, range(0, 400), OLD))
    b = add(at, scored, "luckier", answered(scored, 0.86, 6, range(100, ROWS), NEW))
    accurate = row(compare(at.registry, a.version, b.version), "gold/accuracy_share")

    assert accurate.low is not None and accurate.high is not None
    assert accurate.low < 0 < accurate.high
    assert accurate.change != 0 and accurate.better is None


@pytest.mark.parametrize("calls", [0, LEAST - 1, LEAST])
def test_too_small_an_overlap_says_how_small_and_how_many_are_needed(at: Place, scored: Scored, calls: int) -> None:
    a = add(at, scored, f"a{calls}", answered(scored, 0.8, 1, range(0, 300), OLD))
    b = add(at, scored, f"b{calls}", answered(scored, 0.9, 1, range(300 - calls, ROWS), NEW))
    found = compare(at.registry, a.version, b.version)

    assert found.calls == calls
    assert found.comparable == (calls == LEAST)
    if calls < LEAST:
        assert f"which share {calls} calls; at least {LEAST} are needed" in found.reason_en
        assert "./tingsu retrain --dataset dddddddddddd" in found.reason_en
        assert f"共有的通话只有 {calls} 通" in found.reason_zh
        assert {r.metric.partition("/")[0] for r in found.rows} == {"speed"}


@pytest.mark.parametrize("turned", [False, True])
def test_a_champion_that_answered_the_candidates_gold_calls_is_compared_on_all_of_them(
    at: Place, scored: Scored, turned: bool
) -> None:
    champion = add(at, scored, f"champion{turned}", answered(scored, 0.8, 1, range(0, 300), OLD))
    anew = answered(scored, 0.8, 1, range(280, ROWS), NEW)
    candidate = add(
        at,
        scored,
        f"candidate{turned}",
        answered(scored, 0.9, 1, range(280, ROWS), NEW),
        champion=anew,
        champion_bundle=champion.bundle.digest,
    )
    pair = (champion.version, candidate.version)
    found = compare(at.registry, *(pair[::-1] if turned else pair))

    assert found.comparable and found.calls == 320
    assert "Both answered the same 320 gold calls" in found.reason_en
    assert row(found, "gold/accuracy_share").better == ("a" if turned else "b")


def test_without_kept_answers_versions_of_one_gold_set_are_compared_by_what_their_runs_say(
    at: Place, scored: Scored
) -> None:
    gone, there = answered(scored, 0.8, 7, range(0, 500), OLD), answered(scored, 0.9, 7, range(0, 500), OLD)
    other = answered(scored, 0.9, 7, range(0, 400), NEW)
    a, b, c = (add(at, scored, name, r) for name, r in (("gone", gone), ("there", there), ("elsewhere", other)))
    (at.store.root / gone.predictions.key).unlink()
    alike, apart = (compare(at.registry, a.version, v.version) for v in (b, c))

    assert alike.comparable and alike.calls is None
    assert (row(alike, "gold/macro_f1").a, row(alike, "gold/macro_f1").low) == (0.83, None)
    assert not apart.comparable and "different gold sets" in apart.reason_en


def test_gold_sets_of_two_families_have_no_overlap_even_with_equal_ids(at: Place, scored: Scored) -> None:
    a = add(at, scored, "ours", answered(scored, 0.8, 1, range(0, 400), OLD))
    b = add(at, scored, "theirs", answered(scored, 0.9, 1, range(0, ROWS), NEW), family="foreign")
    found = compare(at.registry, a.version, b.version)

    assert not found.comparable and found.calls is None
    assert "different gold sets" in found.reason_en


def test_a_relabelled_call_is_not_counted_as_shared(at: Place, scored: Scored) -> None:
    after = answered(scored, 0.9, 1, range(200, ROWS), NEW)
    path = at.store.root / after.predictions.key
    turned = pl.when(pl.col("conversation_id") == "gold-250").then(pl.lit("none")).otherwise(pl.col("category"))
    frame = pl.read_parquet(path).with_columns(turned.alias("category"))
    was_none = scored.truth["gold"][250] == TAXONOMY.index["none"]
    frame.write_parquet(at.store.root / "predictions/relabelled.parquet")
    moved = after.predictions.model_copy(update={"key": "predictions/relabelled.parquet"})
    a = add(at, scored, "labels", answered(scored, 0.8, 1, range(0, 400), OLD))
    b = add(at, scored, "other labels", after.model_copy(update={"predictions": moved}))

    assert not was_none
    assert compare(at.registry, a.version, b.version).calls == 199


def test_the_command_says_on_what_and_shows_the_interval(tmp_path: Path) -> None:
    from tests.flows.test_command_line import tingsu

    at = released.place(tmp_path)
    scored = Scored(at.store.root, rows=ROWS)
    add(at, scored, "before", answered(scored, 0.75, 1, range(0, 400), OLD))
    add(at, scored, "after", answered(scored, 0.95, 1, range(150, ROWS), NEW))
    found = tingsu("compare", "1", "2", home=tmp_path)

    assert found.returncode == 0, found.stderr
    assert "compared on the 250 calls" in found.stdout and "两版共有的 250 通" in found.stdout
    (head,) = [line.split() for line in found.stdout.splitlines() if line.startswith("metric")]
    (accurate,) = [line.split() for line in found.stdout.splitlines() if line.startswith("gold/accuracy_share")]
    assert head[-3:] == ["change", "from", "to"]
    assert float(accurate[-2]) < float(accurate[-3]) < float(accurate[-1])
