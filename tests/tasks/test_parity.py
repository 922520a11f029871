"""The tolerance of a bundle's probe: measured on the engine it serves with, and kept in it as a number."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from configs.serving import ServeSettings
from data_contracts.artifacts import Calibration, Model
from data_contracts.errors import ModelLoadError
from deploy import bundle
from deploy.engines import Scores
from tasks import pack, parity
from tests.deploy.served import FakeEngine
from tests.tiny import Bench, make_bench

PROMPTS = [(1, 2, n) for n in range(8)]
IDS = (5, 6, 7)
PLAIN = Calibration(bias=(0.0,) * 3)


class Wobbling(FakeEngine):
    """Every call's first log-probability changes a little with the number of calls beside it."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def score(self, prompts: Sequence[Sequence[int]], category_ids: Sequence[int], head_tokens: int) -> Scores:
        exact = super().score(prompts, category_ids, head_tokens)
        logprobs = np.log(np.full_like(exact.logprobs, 1 / 3))
        logprobs[:, 0] += self.by if len(prompts) == 1 else 0
        return Scores(logprobs, exact.label_mass)


def measured(engine: FakeEngine, most: float = 0.2) -> bundle.Parity:
    return parity.measure(engine, PROMPTS, IDS, 0, PLAIN, most)[1]


def test_an_engine_that_never_rounds_otherwise_gets_the_floor() -> None:
    assert measured(FakeEngine()) == bundle.Parity(spread=0.0, tolerance=0.02)


def test_one_that_does_gets_four_times_what_was_seen_at_most_what_is_allowed() -> None:
    found = measured(Wobbling(0.1))  # a third becomes e^0.1 / (e^0.1 + 2) = 0.3559

    assert found == bundle.Parity(spread=0.0226, tolerance=0.091)
    assert measured(Wobbling(0.1), most=0.05).tolerance == 0.05


def test_one_that_strays_further_than_is_allowed_makes_no_bundle() -> None:
    with pytest.raises(
        ModelLoadError, match=r"engine fake gives .* 0\.023 apart .*serve\.parity_tolerance allows 0\.02;"
    ):
        measured(Wobbling(0.1), most=0.02)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("bench"))


def packed(bench: Bench, precision: str) -> bundle.Bundle:
    store, serve = bench.store, ServeSettings.model_validate({"threads": 1, "precision": precision})
    key = "stages/merge/1/model"
    if not store.has(key):
        store.commit(_copied(Path(bench.base.path), store.root / ".copy"), key)
    model = Model(key=key, form="merged", digest="1" * 64, size_mb=0.1)
    ref = pack.pack(model, bench.prompt, bench.taxonomy, PLAIN, serve, True, work=bench.work(f"pack-{precision}"))
    return bundle.open(store.local(ref.key))


def _copied(source: Path, target: Path) -> Path:
    import shutil

    return Path(shutil.copytree(source, target))


def test_the_number_is_in_the_bundle_for_its_engine_and_form_and_with_each_golden_call(bench: Bench) -> None:
    exact, rounded = packed(bench, "fp32"), packed(bench, "bf16")

    assert exact.facts.parity is not None and rounded.facts.parity is not None
    assert exact.facts.parity.spread <= 0.001 and exact.facts.parity.tolerance == parity.FLOOR
    for made in (exact, rounded):
        assert made.facts.parity is not None
        assert {call.tolerance for call in made.golden} == {made.facts.parity.tolerance}


def test_a_bundle_made_before_there_was_a_number_is_read(bench: Bench) -> None:
    facts = packed(bench, "fp32").facts
    older = facts.model_dump(exclude={"parity"})

    assert type(facts).model_validate(older).parity is None
