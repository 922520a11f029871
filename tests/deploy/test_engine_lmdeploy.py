"""The LMDeploy engine: what is special to it. What every engine promises is in test_conformance.

Where TINGSU_LMDEPLOY_PYTHON names LMDeploy's environment its real api_server runs, over engines that need no GPU.
"""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from configs.serving import ServeSettings
from data_contracts.errors import ConfigurationError, EngineUnavailable, ModelLoadError
from deploy.engines import choose, likeliest, lmdeploy_server
from deploy.engines.lmdeploy import LMDeployEngine
from deploy.engines.server import Program
from tests import tiny
from tests.deploy import engines
from tests.deploy.engines import Case
from tests.deploy.served import ROOT

PYTORCH, TURBOMIND = Case("lmdeploy", "merged", "pytorch"), Case("lmdeploy", "merged", "turbomind")
PROMPTS = [list(range(5, 5 + n)) for n in (3, 40, 1, 17)]
LONGEST = 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny.write_base(tmp_path_factory.mktemp("model"), max_position_embeddings=256)
    # Qwen3's own: applied, they would leave 20 tokens.
    (made / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95}')
    return made


def start(case: Case, folder: Path) -> LMDeployEngine:
    engines.require("lmdeploy")
    made = choose.load("lmdeploy", folder, case.serve, LONGEST)
    assert isinstance(made, LMDeployEngine)
    return made


@pytest.fixture(scope="module", params=[PYTORCH, TURBOMIND], ids=["pytorch", "turbomind"])
def engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[LMDeployEngine]:
    running = start(request.param, folder)
    yield running
    running.close()


def whole(engine: LMDeployEngine) -> np.ndarray:
    return engine.score(PROMPTS, range(engine.capabilities.max_categories), 0).logprobs


def test_what_is_not_among_the_likeliest_is_exact_where_the_backend_scores_and_bounded_where_not(
    engine: LMDeployEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = whole(engine)
    unlikely = [int(i) for i in want.mean(axis=0).argsort()[:3]]
    monkeypatch.setattr(engine, "_top", 8)
    monkeypatch.setattr(engine, "_most", 8)

    found = engine.score(PROMPTS, unlikely, 0)

    if engine.backend == "pytorch":
        np.testing.assert_allclose(found.logprobs, want[:, unlikely], atol=1e-5)
        np.testing.assert_allclose(found.label_mass, np.exp(want[:, unlikely]).sum(axis=1), rtol=1e-4)
    else:
        assert (found.logprobs >= want[:, unlikely]).all()
        assert (found.logprobs <= np.sort(want)[:, -8:-7] + 1e-5).all()
        assert (found.label_mass == 0).all()


def test_many_missing_are_asked_for_at_once_and_next_time_from_the_start(
    engine: LMDeployEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    want, asked = whole(engine), []
    reply = type(engine._server.http).reply
    monkeypatch.setattr(engine, "_top", 1)
    monkeypatch.setattr(
        type(engine._server.http),
        "reply",
        lambda self, path, body=None: (asked.append(body), reply(self, path, body))[1],
    )

    ids = [int(i) for i in want[0].argsort()[-30:]]
    first = engine.score(PROMPTS[:1], ids, 0).logprobs
    again = engine.score(PROMPTS[:1], ids, 0).logprobs

    assert [body["top_logprobs_num"] for body in asked] == [1, 400, 60]
    np.testing.assert_allclose(first, want[:1, ids], atol=1e-5)
    np.testing.assert_allclose(again, first, atol=1e-5)


def test_only_who_knows_the_key_is_answered_and_nobody_can_read_it(engine: LMDeployEngine) -> None:
    server = engine._server
    process = psutil.Process(server.pid)
    listening = [c.laddr for c in process.net_connections() if c.status == "LISTEN"]

    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert httpx.post(f"{server.http.url}/generate", json={"input_ids": [1], "max_tokens": 1}).status_code == 401
    assert server._key not in " ".join(process.cmdline())


def test_a_server_kept_elsewhere_serves_if_it_is_named_for_these_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdeploy_server, "OURS", lmdeploy_server.model_name(folder))
    server = start(PYTORCH, folder)
    url = server._server.http.url
    with pytest.raises(ConfigurationError, match="refuses the key"):
        LMDeployEngine.at(url, "pytorch", folder, LONGEST, 2)
    monkeypatch.setenv("TINGSU_LMDEPLOY_KEY", server._server._key)

    there = choose.load("lmdeploy", folder, ServeSettings(lmdeploy_url=url), LONGEST)
    np.testing.assert_allclose(there.score(PROMPTS, [7, 8], 0).logprobs, whole(server)[:, [7, 8]], atol=1e-5)
    assert there.healthy()
    there.close()
    assert server.healthy() and not there.healthy()

    other = tiny.write_base(folder.parent / "other", seed=1)
    with pytest.raises(ModelLoadError, match=r"serves tingsu-\w{16} and not tingsu-\w{16}; start it on the bundle's"):
        LMDeployEngine.at(url, "pytorch", other, LONGEST, 2)
    with pytest.raises(ModelLoadError, match=r"runs backend pytorch, not turbomind.*serve\.lmdeploy_backend=pytorch"):
        LMDeployEngine.at(url, "turbomind", folder, LONGEST, 2)
    with pytest.raises(ConfigurationError, match=r"refuses a prompt of 200 tokens.*--session-len 202"):
        LMDeployEngine.at(url, "pytorch", folder, 200, 2)
    server.close()


def test_log_probabilities_that_are_not_raw_are_refused_at_the_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_COOKED", "1")

    with pytest.raises(EngineUnavailable, match=r"answers temperature 2 otherwise.*--logprobs-mode raw_logprobs"):
        start(PYTORCH, folder)


def test_a_server_without_log_probabilities_is_refused_with_the_option(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = lmdeploy_server.program

    def forgetful(*given: object) -> Program:
        made = program(*given)  # type: ignore[arg-type]
        argv = [word for word in made.argv if word not in ("--logprobs-mode", "raw_logprobs")]
        return Program(**{**vars(made), "argv": argv})

    monkeypatch.setattr(lmdeploy_server, "program", forgetful)
    with pytest.raises(ModelLoadError, match=r"gives no log-probabilities.*start it with --logprobs-mode raw_logprobs"):
        start(PYTORCH, folder)


@pytest.mark.parametrize(
    ("backend", "why"),
    [("turbomind", "TurboMind does not run this model here: lib"), ("pytorch", "(CUDA|process is not alive)")],
)
def test_where_there_is_no_gpu_it_ends_with_the_reason_and_never_on_the_other_backend(
    folder: Path, backend: str, why: str
) -> None:
    engines.require("lmdeploy")
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    serve = ServeSettings(lmdeploy_python=engines.LMDEPLOY, lmdeploy_backend=backend, start_timeout_s=120)

    with pytest.raises(ModelLoadError, match=f"LMDeploy did not start: it ended with exit code.*{why}"):
        choose.load("lmdeploy", folder, serve, LONGEST)


def test_it_dies_with_the_process_that_started_it(folder: Path) -> None:
    engines.require("lmdeploy")
    program = (
        "import sys, time; from pathlib import Path; from configs.serving import ServeSettings; from deploy.engines import choose;"
        "e = choose.load('lmdeploy', Path(sys.argv[1]), ServeSettings(lmdeploy_python=sys.argv[2]), 100);"
        "print(e._server.pid, flush=True); time.sleep(60)"
    )
    argv = [sys.executable, "-P", "-c", program, str(folder), str(engines.stub())]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.kill()

    assert not psutil.wait_procs([server], timeout=15)[1]


def test_without_an_environment_the_refusal_says_how_to_make_one(tmp_path: Path) -> None:
    for python, what in (("", "is not set"), ("/nowhere/python", "has no Python"), (sys.executable, "has no lmdeploy")):
        with pytest.raises(ConfigurationError, match=rf"serve\.lmdeploy_python.*{what}.*python3 -m venv ENV"):
            choose.check(ServeSettings(engine="lmdeploy", lmdeploy_python=python), "merged", 9)


def test_what_cannot_be_measured_is_refused_before_any_training() -> None:
    for sets, what in (
        ({"lmdeploy_url": "http://10.0.0.1:23333"}, "is for serving a finished bundle.*set serve.lmdeploy_python"),
        ({"precision": "fp32"}, "does not compute in fp32"),
    ):
        with pytest.raises(ConfigurationError, match=what):
            choose.check(ServeSettings.model_validate({"engine": "lmdeploy", **sets}), "awq", 9)
    with pytest.raises(ConfigurationError, match=r"does not serve quantize.serve 'int8'; .*lmdeploy with merged, awq"):
        choose.check(ServeSettings(engine="lmdeploy"), "int8", 9)


def test_a_context_too_short_for_the_longest_prompt_is_refused(folder: Path) -> None:
    how = lmdeploy_server.Started(Path("/nowhere"), "pytorch", 1, 0.5, "auto", 1.0)

    with pytest.raises(ConfigurationError, match=r"prompt of 255 tokens is longer than the 254 .*max_call_tokens"):
        LMDeployEngine.start(folder, how, 255)


def test_a_category_that_was_not_named_has_at_most_what_is_left() -> None:
    named = {1: math.log(0.6), 2: math.log(0.3), 3: math.log(0.05)}

    row = likeliest.complete(named, [2, 9])
    assert row.logprobs == pytest.approx([math.log(0.3), math.log(0.05)]) and row.label_mass == pytest.approx(0.3)
    assert likeliest.complete({1: math.log(0.98)}, [9]).logprobs == pytest.approx([math.log(0.02)])
    assert likeliest.complete({1: 0.0}, [9]) == ([-math.inf], 0.0)
    assert likeliest.complete(named, [1, 2, 3]).label_mass == pytest.approx(0.95)
