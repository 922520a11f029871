"""The logged model is the bundle, by citation: verified when loaded, answering as the service does."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from data_contracts.artifacts import Model
from data_contracts.errors import BundleCorrupt, StoreUnavailable
from deploy import bundle as bundles
from deploy.engines import Scores
from deploy.tokenizer import Tokens
from tasks import logged, pyfunc
from tests import tiny
from tests.tasks import released
from tests.tasks.released import Place
from tests.tasks.test_tracking import environment


@pytest.fixture
def at(tmp_path: Path) -> Place:
    return released.place(tmp_path / "家 home")


class Fixed:
    """An engine that always gives the same scores."""

    name = "fixed"

    def __init__(self, yes: float, mass: float = 1.0) -> None:
        self.yes, self.mass = yes, mass

    def score(self, prompts: Sequence[Sequence[int]], category_ids: Sequence[int], head_tokens: int) -> Scores:
        row = np.log([[1 - self.yes, self.yes]]).astype(np.float32)
        return Scores(row.repeat(len(prompts), axis=0), np.full(len(prompts), self.mass, np.float32))

    def memory_mb(self) -> float:
        return 0.0

    def close(self) -> None:
        return None


def answer(at: Place, engine: Fixed, texts: list[str]) -> list[pyfunc.Answer]:
    ref = released.bundle(at, "one")
    found = pyfunc.fetch(logged.uri(at.store, ref.key), ref.digest)
    return pyfunc.classify(found, engine, Tokens.load(found.model), texts)


def test_a_call_is_answered_with_category_and_calibrated_probabilities(at: Place) -> None:
    first, second = answer(at, Fixed(0.9), ["客户：我要投诉", ""])

    assert first == second
    assert (first.category, first.name_zh, first.decision) == ("yes", "投诉", "auto")
    assert first.probabilities == pytest.approx({"no": 0.1, "yes": 0.9}, abs=1e-6)
    assert first.confidence == pytest.approx(0.9, abs=1e-6)


def test_doubt_goes_to_a_person(at: Place) -> None:
    assert answer(at, Fixed(0.55), ["x"])[0].reasons == ["low_confidence"]
    assert answer(at, Fixed(0.9, mass=0.1), ["x"])[0].decision == "review"
    assert answer(at, Fixed(0.9), []) == []


def test_a_changed_moved_or_other_bundle_is_not_loaded(at: Place) -> None:
    ref = released.bundle(at, "one")
    other = released.bundle(at, "two")

    with pytest.raises(BundleCorrupt, match="logged with"):
        pyfunc.fetch(logged.uri(at.store, ref.key), other.digest)
    (at.store.root / ref.key / "model/model.safetensors").write_bytes(b"eno")
    with pytest.raises(BundleCorrupt, match=r"model\.safetensors"):
        pyfunc.fetch(logged.uri(at.store, ref.key), ref.digest)
    at.store.delete(ref.key)
    with pytest.raises(StoreUnavailable, match=ref.digest):
        pyfunc.fetch(logged.uri(at.store, ref.key), ref.digest)


def test_mlflow_loads_the_logged_model_far_from_the_project(at: Place, tmp_path: Path) -> None:
    folder = at.store.scratch("made") / "model"
    tiny.write_base(folder)
    at.store.commit(folder, "models/real")
    model = Model(key="models/real", form="merged", digest="x", size_mb=1)
    ref = bundles.assemble(released.parts(model), at.store)
    place = logged.log(at.registry.tracker, released.open_run(at, "r"), "complaints", at.store, ref).place
    code = f"import mlflow; print(mlflow.pyfunc.load_model({place!r}).predict(['客户：我要投诉'])[0].model_dump_json())"
    env = {k: v for k, v in environment().items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]

    given = pyfunc.Answer.model_validate_json(done.stdout.splitlines()[-1])
    assert given.bundle_digest == ref.digest
    assert sum(given.probabilities.values()) == pytest.approx(1)
