"""serve.compile: the same scores, everything compiled before the first call, and a refusal where it cannot be."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from configs.serving import ServeSettings
from data_contracts.errors import ConfigurationError
from deploy.engines import choose
from deploy.engines.transformers import TransformersEngine
from tests.deploy.test_engine_transformers import CODES, HEAD, PROMPTS, reference
from tests.tiny import write_base

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is compiled is kept under the home, once for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("TINGSU_HOME", str(folder))
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # put back afterwards
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Qwen3", "Qwen2", "Llama"])
def test_scores_are_the_full_forward_pass_and_nothing_is_compiled_once_it_is_loaded(
    tmp_path: Path, home: Path, kind: str
) -> None:
    folder = write_base(tmp_path, kind)
    engine = TransformersEngine.load(folder, precision="fp32", threads=1, batch_tokens=256, compile=True)
    before = compiled()
    assert before["stats", "unique_graphs"] > 0

    want = reference(folder, PROMPTS)
    np.testing.assert_allclose(engine.score(PROMPTS, CODES, len(HEAD)).logprobs, want, atol=1e-4)
    np.testing.assert_allclose(engine.score(PROMPTS, CODES, 0).logprobs, want, atol=1e-4)
    np.testing.assert_allclose(engine.score(PROMPTS[:1], CODES, len(HEAD)).logprobs, want[:1], atol=1e-4)
    assert compiled() == before
    assert any((home / "compiled").rglob("*.so"))


def compiled() -> Counter[tuple[str, str]]:
    """What torch counts: functions it met and compiled, and kernels."""
    from torch._dynamo.utils import counters

    return Counter({(part, name): n for part, names in counters.items() for name, n in names.items()})


def test_without_a_compiler_the_setting_is_refused_before_any_weights_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)

    choose.require_installed("transformers", ServeSettings())
    with pytest.raises(
        ConfigurationError, match=r"serve\.compile needs a C\+\+ compiler, and g\+\+ or clang\+\+ is not"
    ):
        choose.require_installed("transformers", ServeSettings(compile=True))


def test_a_compiler_that_fails_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken-compiler"
    broken.write_text('#!/bin/sh\n[ "$1" = --version ] && exec g++ --version\necho no space left >&2\nexit 1\n')
    broken.chmod(0o755)
    env = os.environ | {"CXX": str(broken), "TINGSU_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    program = f"from deploy.engines.transformers import TransformersEngine as E; E.load({write_base(tmp_path)!r}, compile=True)"

    done = subprocess.run(
        [sys.executable, "-P", "-c", f"from pathlib import PosixPath; {program}"],
        env=env,
        capture_output=True,
        text=True,
    )
    assert "ConfigurationError: serve.compile: the C++ compiler fails" in done.stderr
    assert "no space left" in done.stderr.splitlines()[-1]


def test_a_model_that_transformers_runs_is_not_compiled(tmp_path: Path) -> None:
    folder = write_base(tmp_path, "Qwen2", use_sliding_window=True, sliding_window=16, max_window_layers=0)

    with pytest.raises(ConfigurationError, match=r"this model, Qwen2ForCausalLM on cpu, is run by transformers"):
        TransformersEngine.load(folder, precision="fp32", threads=1, compile=True)
