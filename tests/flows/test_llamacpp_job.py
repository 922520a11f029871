"""The main job with llama.cpp: what its server was measured and calibrated with is what it serves."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

from data_contracts.artifacts import Calibration
from data_contracts.schema import Call
from deploy import calibration
from deploy.client import Client
from tests.deploy import engines
from tests.flows.stack import QUICK, Stack, stack

GGUF = ("quantize.serve=gguf-q8_0", "quantize.forms=[gguf-q8_0]", "serve.engine=llamacpp")
SAME = 0.05
"""Of a probability, the tolerance of the parity probe: its int8 activations round otherwise with other calls in the batch."""

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Job(Stack):
    """A running stack and what `retrain` answered."""

    ending: dict[str, Any]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    engines.require("llamacpp")
    with stack(tmp_path_factory.mktemp("llamacpp")) as made:
        made.run("sample", "--calls", "500", "--seed", "77", "--out", str(made.home / "calls.jsonl"))
        dataset = made.json("submit", str(made.home / "calls.jsonl"), "--name", "calls")
        sets = [word for item in GGUF for word in ("--set", item)]
        yield Job(**vars(made), ending=made.json("retrain", "--dataset", dataset["id"], *QUICK, *sets))


def stored(job: Job, hop: str) -> pl.DataFrame:
    return pl.read_parquet(job.home / "store" / job.ending["reports"][hop]["predictions"]["key"])


def test_bundle_verdict_and_service_say_which_engine_they_are_of(job: Job) -> None:
    with Client(job.ending["release"]["endpoint"]) as client:
        info = client.model_info()

    assert job.ending["verdict"]["decision"] == "PROMOTE"
    assert (job.ending["verdict"]["engine"], job.ending["verdict"]["quantization"]) == ("llamacpp", "gguf-q8_0")
    assert job.ending["speed"]["engine"] == "llamacpp"
    assert (info["engine"], info["quantization"]) == ("llamacpp", "gguf-q8_0")
    assert info["bundle_digest"] == job.ending["bundle"]["digest"]


def test_the_hop_was_scored_by_the_engine_that_serves(job: Job) -> None:
    hop, served = stored(job, "gguf-q8_0"), stored(job, "served")
    apart = np.abs(np.array(hop["logprobs"].to_list()) - np.array(served["logprobs"].to_list()))

    assert hop["conversation_id"].to_list() == served["conversation_id"].to_list()
    assert apart.max() < 0.3


def test_the_live_service_answers_what_is_stored(job: Job) -> None:
    fitted = Calibration.model_validate(job.ending["reports"]["gguf-q8_0"]["calibration"])
    hop = stored(job, "gguf-q8_0")
    want = calibration.apply(fitted, np.array(hop["logprobs"].to_list()))
    split = next((job.home / "store/stages/split").glob("*/gold.parquet"))
    calls = pl.read_parquet(split)
    with Client(job.ending["release"]["endpoint"]) as client:
        texts = calls.select("conversation_id", "input_text").iter_rows()
        answers = client.classify([Call(conversation_id=i, text=text) for i, text in texts])

    found = np.array([list(answer["probabilities"].values()) for answer in answers])
    assert [answer["conversation_id"] for answer in answers] == hop["conversation_id"].to_list()
    np.testing.assert_allclose(found, want, atol=SAME)
    assert all("evaluation" not in answer or not answer["evaluation"] for answer in answers)
    one = job.json("classify", calls["input_text"][0], "--url", job.ending["release"]["endpoint"])
    assert list(one["probabilities"].values()) == pytest.approx(want[0].tolist(), abs=SAME)
