"""The llama.cpp engine and its server process: what is special to them. What every engine promises is in test_conformance."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from data_contracts.artifacts import Form
from data_contracts.errors import ConfigurationError, EngineUnavailable, ModelLoadError
from deploy.engines import Sampling, choose, llama_server, llama_writer
from deploy.engines.llama_completion import Completions
from deploy.engines.llamacpp import LlamaCppEngine
from deploy.tokenizer import Tokens
from tests.deploy import engines
from tests.deploy.engines import PROMPT, Case
from tests.deploy.served import ROOT

LLAMA = Case("llamacpp", "gguf-q8_0")
HEAD = list(range(7, 31))
PROMPTS = [HEAD + list(range(5, 5 + n)) for n in (3, 40, 1, 17, 17, 90)]
IDS = (70, 71, 72)


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[Form, Path]:
    engines.require("llamacpp")
    return engines.write_forms(tmp_path_factory.mktemp("forms"))


@pytest.fixture(scope="module")
def engine(forms: dict[Form, Path]) -> Iterator[LlamaCppEngine]:
    running = LlamaCppEngine.load(forms["gguf-q8_0"], longest_tokens=600, slots=2, threads=1)
    yield running
    running.close()


def test_unquantized_it_computes_what_transformers_does(tmp_path: Path) -> None:
    """Rows of 40 and 72 are no whole blocks of Q8_0, so the file holds fp32. Its keys and values are fp16."""
    engines.require("llamacpp")
    made = engines.write_forms(tmp_path, hidden_size=40, intermediate_size=72, head_dim=10)
    want = engines.start(Case("transformers", "merged"), made["merged"]).score(PROMPTS, IDS, len(HEAD))

    running = engines.start(LLAMA, made["gguf-q8_0"])
    found = running.score(PROMPTS, IDS, len(HEAD))
    running.close()

    np.testing.assert_allclose(found.logprobs, want.logprobs, atol=1e-2)


def test_a_head_is_computed_once_a_slot(engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = []
    ask = Completions.ask

    def noted(self: Completions, body: Any) -> Any:
        answers.append(ask(self, body))
        return answers[-1]

    monkeypatch.setattr(Completions, "ask", noted)
    engine.score(PROMPTS, IDS, len(HEAD))

    fresh = [answer for answer in answers if answer["timings"]["cache_n"] < len(HEAD)]
    assert len(fresh) <= 2
    assert {answer["id_slot"] for answer in answers} == {0, 1}


def test_an_unlikely_category_is_asked_for_again_and_exact(
    engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine.score(PROMPTS, range(engine.capabilities.max_categories), len(HEAD)).logprobs
    unlikely = tuple(int(i) for i in whole.mean(axis=0).argsort()[:3])
    monkeypatch.setattr("deploy.engines.llamacpp.FIRST_TOP", 1)
    monkeypatch.setattr(engine, "_top", 1)

    found = engine.score(PROMPTS, unlikely, len(HEAD)).logprobs

    np.testing.assert_allclose(found, whole[:, unlikely], atol=0.1)


def test_a_token_within_a_character_has_the_chance_that_the_model_gives_it(engine: LlamaCppEngine) -> None:
    """The server refuses to answer with one, and names only so many of the likeliest; the unlikelier have their chance too."""
    size, hot, draws = engine.capabilities.max_categories, 4.0, 300
    row = engine.score([HEAD], range(size), len(HEAD)).logprobs[0] / hot
    chance = np.exp(row) / np.exp(row).sum()
    named = engine._completions.named(HEAD, size, 0)
    is_part = np.isin(np.arange(size), [t["id"] for t in named if t["bytes"] and 0x80 <= t["bytes"][0] < 0xC0])
    is_beyond = is_part & (np.argsort(np.argsort(-row)) >= llama_writer.FIRST_TOP)

    found = [next(engine.generate(HEAD, Sampling(1, temperature=hot, seed=seed))) for seed in range(draws)]

    for group in (is_part, is_beyond):
        share, expected = group[found].mean(), chance[group].sum()
        assert expected > 0.1 and abs(share - expected) < 4 * (expected * (1 - expected) / draws) ** 0.5


def test_only_who_knows_the_key_is_answered_and_nobody_can_read_it(engine: LlamaCppEngine) -> None:
    process = psutil.Process(engine._server.pid)
    listening = [c for c in process.net_connections() if c.status == "LISTEN"]
    url = f"http://127.0.0.1:{listening[0].laddr.port}"

    assert [c.laddr.ip for c in listening] == ["127.0.0.1"]
    assert httpx.post(f"{url}/completion", json={"prompt": [1], "n_predict": 1}).status_code == 401
    assert engine._server._key not in " ".join(process.cmdline())


def test_the_environment_does_not_change_what_runs(forms: dict[Form, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_ARG_ROPE_FREQ_BASE", "10")
    monkeypatch.setenv("LLAMA_ARG_CACHE_TYPE_K", "q4_0")
    want = engines.start(Case("transformers", "merged"), forms["merged"]).score(PROMPTS, IDS, len(HEAD))

    running = engines.start(LLAMA, forms["gguf-q8_0"])
    found = running.score(PROMPTS, IDS, len(HEAD))
    running.close()

    np.testing.assert_allclose(found.logprobs, want.logprobs, atol=0.1)


def test_it_dies_with_the_process_that_started_it(forms: dict[Form, Path]) -> None:
    program = (
        "import sys, time; from pathlib import Path; from deploy.engines.llamacpp import LlamaCppEngine;"
        "e = LlamaCppEngine.load(Path(sys.argv[1]), longest_tokens=100, slots=1, threads=1);"
        "print(e._server.pid, flush=True); time.sleep(60)"
    )
    argv = [sys.executable, "-P", "-c", program, str(forms["gguf-q8_0"])]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.kill()

    assert not psutil.wait_procs([server], timeout=5)[1]


def test_a_program_that_is_not_there_is_named_with_the_setting_and_how_to_install_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigurationError, match=r"serve\.llama_server '/nowhere/x' is no program.*--require-hashes"):
        llama_server.find("/nowhere/x")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ConfigurationError, match=r"no llama-server is on PATH.*serve\.llama_server=PATH"):
        llama_server.find("")


def test_a_model_it_cannot_load_is_reported_with_its_last_lines(forms: dict[Form, Path], tmp_path: Path) -> None:
    whole = (forms["gguf-q8_0"] / "model.gguf").read_bytes()
    (tmp_path / "model.gguf").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(
        ModelLoadError, match=r"llama-server did not start: it ended with exit code 1\. Its last lines: .*model"
    ):
        LlamaCppEngine.load(tmp_path, longest_tokens=100, threads=1)
    with pytest.raises(ModelLoadError, match=r"has no model\.gguf; engine llamacpp runs only GGUF"):
        LlamaCppEngine.load(forms["merged"], longest_tokens=100, threads=1)


def test_a_program_that_is_no_llama_server_is_an_error_and_not_a_wait(forms: dict[Form, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho 'I am another' >&2\nexit 3\n")
    other.chmod(0o755)

    with pytest.raises(ModelLoadError, match=r"exit code 3\. Its last lines: I am another"):
        LlamaCppEngine.load(forms["gguf-q8_0"], program=str(other), longest_tokens=100)


def test_a_start_that_takes_too_long_is_ended(forms: dict[Form, Path], tmp_path: Path) -> None:
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    before = time.monotonic()

    with pytest.raises(EngineUnavailable, match=r"not ready within 1 s .*serve\.start_timeout_s"):
        LlamaCppEngine.load(forms["gguf-q8_0"], program=str(sleeper), longest_tokens=100, start_timeout_s=1)

    assert time.monotonic() - before < 10
    assert not [p for p in psutil.Process().children(recursive=True) if "sleep" in p.name()]


def test_a_model_whose_context_is_too_short_is_refused_at_the_start(tmp_path: Path) -> None:
    engines.require("llamacpp")
    made = engines.write_forms(tmp_path, max_position_embeddings=256)
    longest = PROMPT.longest(Tokens.load(made["merged"]))

    with pytest.raises(
        ConfigurationError, match=rf"prompt of {longest} tokens is longer than the 254 .*max_call_tokens"
    ):
        choose.load("llamacpp", made["gguf-q8_0"], engines.SERVE, longest)


def test_another_vocabulary_than_the_folders_is_refused(forms: dict[Form, Path], tmp_path: Path) -> None:
    (tmp_path / "model.gguf").symlink_to(forms["gguf-q8_0"] / "model.gguf")
    config = (forms["gguf-q8_0"] / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"vocab_size": 400', '"vocab_size": 401'))

    with pytest.raises(ModelLoadError, match="vocabulary 400 instead of 401"):
        LlamaCppEngine.load(tmp_path, longest_tokens=100, threads=1)
