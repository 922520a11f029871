"""The main job with every engine that is a server: what it was measured and calibrated with is what it serves."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

from data_contracts.artifacts import Calibration, Form
from data_contracts.schema import Call
from deploy import calibration
from deploy.client import Client
from tests.deploy import engines, fake_ollama
from tests.flows.stack import QUICK, Stack, stack

FORMS: dict[str, Form] = {"llamacpp": "gguf-q8_0", "ollama": "gguf-q8_0", "lmdeploy": "merged"}
SAME = 0.05
"""Of a probability: int8 activations round otherwise with other calls in the batch."""

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Job(Stack):
    """A running stack and what `retrain` answered."""

    engine: str
    form: Form
    ollama_url: str
    ending: dict[str, Any]


@pytest.fixture(scope="module", params=FORMS)
def job(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    engine, form = request.param, FORMS[request.param]
    engines.require(engine)
    its = [f"serve.lmdeploy_python={engines.stub()}"] if engine == "lmdeploy" else []
    place = tmp_path_factory.mktemp(engine)
    with fake_ollama.running(place / "ollama") as ollama, stack(place) as made:
        made.run("sample", "--calls", "500", "--seed", "77", "--out", str(made.home / "calls.jsonl"))
        dataset = made.json("submit", str(made.home / "calls.jsonl"), "--name", "calls")
        chosen = [f"serve.engine={engine}", f"serve.ollama_url={ollama.url}", *its]
        chosen += [f"quantize.serve={form}", "quantize.forms=[gguf-q8_0]"]
        sets = [word for item in chosen for word in ("--set", item)]
        yield Job(
            **vars(made),
            engine=engine,
            form=form,
            ollama_url=ollama.url,
            ending=made.json("retrain", "--dataset", dataset["id"], *QUICK, *sets),
        )


def stored(job: Job, hop: str) -> pl.DataFrame:
    return pl.read_parquet(job.home / "store" / job.ending["reports"][hop]["predictions"]["key"])


def test_bundle_verdict_and_service_say_which_engine_they_are_of(job: Job) -> None:
    with Client(job.ending["release"]["endpoint"]) as client:
        info = client.model_info()

    assert job.ending["verdict"]["decision"] == "PROMOTE"
    assert (job.ending["verdict"]["engine"], job.ending["verdict"]["quantization"]) == (job.engine, job.form)
    assert job.ending["speed"]["engine"] == job.engine
    assert (info["engine"], info["quantization"]) == (job.engine, job.form)
    assert info["bundle_digest"] == job.ending["bundle"]["digest"]


def test_the_hop_was_scored_by_the_engine_that_serves(job: Job) -> None:
    hop, served = stored(job, job.form), stored(job, "served")
    apart = np.abs(np.array(hop["logprobs"].to_list()) - np.array(served["logprobs"].to_list()))

    assert hop["conversation_id"].to_list() == served["conversation_id"].to_list()
    assert apart.max() < 0.3


def test_the_live_service_answers_what_is_stored(job: Job) -> None:
    fitted = Calibration.model_validate(job.ending["reports"][job.form]["calibration"])
    hop = stored(job, job.form)
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


def test_the_champions_weights_become_a_model_of_ollama(job: Job) -> None:
    at = ("--set", f"serve.ollama_url={job.ollama_url}")
    if job.form != "gguf-q8_0":
        assert "Ollama runs only GGUF" in job.run("ollama", "create", *at, ok=(1,)).stderr
        return

    made = job.json("ollama", "create", "--name", "mine", *at)
    listed = {model["name"]: model for model in job.json("ollama", "status", *at)["models"]}

    assert made["name"] == "mine:latest" and listed["mine:latest"] == made
