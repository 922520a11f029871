from pathlib import Path

import numpy as np
import pytest

from data_contracts.errors import BundleCorrupt, GateRefused
from deploy.calibration import identity
from tasks import gate
from tasks.evaluate import evaluate
from tests.tasks.scored import TAXONOMY, Scored, evidence_of


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return Scored(tmp_path_factory.mktemp("store"), rows=600)


@pytest.mark.parametrize("what", ["rows_digest", "taxonomy_digest"])
def test_a_champion_on_other_gold_or_taxonomy_is_not_comparable(scored: Scored, what: str) -> None:
    champion = scored.report(0.9).model_copy(update={what: "0" * 64})

    with pytest.raises(GateRefused, match="not comparable"):
        gate.judge(evidence_of(scored, 0.9, champion=champion), scored.store)


def test_gold_calls_in_training_are_detected(tmp_path: Path) -> None:
    scored = Scored(tmp_path)
    groups = scored.groups("train")
    scored.write_side("train", group=[*groups[:-1], "gold-g3"])

    with pytest.raises(GateRefused, match=r"1 values of group .* train"):
        gate.judge(evidence_of(scored, 0.97), scored.store)


def test_an_edited_report_is_refused(scored: Scored) -> None:
    evidence = evidence_of(scored, 0.6)
    served = evidence.reports["served"]
    edited = served.model_copy(update={"metrics": {**served.metrics, "macro_f1": 0.99}})

    with pytest.raises(GateRefused, match=r"says macro_f1 0\.99"):
        gate.judge(evidence.model_copy(update={"reports": {**evidence.reports, "served": edited}}), scored.store)


def test_hops_scored_on_other_calls_are_refused(scored: Scored, tmp_path: Path) -> None:
    other = Scored(tmp_path, rows=600, seed=9)
    scores = np.zeros((600, 4))
    other.store = scored.store
    stray = evaluate(
        other.keep("predictions/stray", "merged", "gold", scores),
        identity(4),
        scored.splits,
        TAXONOMY,
        200,
        1,
        scored.store,
        True,
    )
    evidence = evidence_of(scored, 0.9)

    with pytest.raises(BundleCorrupt, match="other calls"):
        gate.judge(evidence.model_copy(update={"reports": {**evidence.reports, "merged": stray}}), scored.store)
