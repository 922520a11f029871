"""Small models in every form an engine serves, and the engines over them."""

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from configs.serving import ServeSettings
from data_contracts.artifacts import EngineName, Form
from data_contracts.errors import ConfigurationError
from data_contracts.prompt import Prompt
from deploy.engines import Engine, choose, llama_server, weights
from deploy.tokenizer import FILE, Tokens
from tasks import gguf_file, quantize
from tests import tiny
from tests.deploy import fake_ollama
from tests.deploy.fake_ollama import FakeOllama

PROMPT = Prompt(template="qwen3", instruction="判断这通电话的投诉类别，只回答代号。", max_call_tokens=512)
SERVE = ServeSettings(threads=1, precision="fp32", llama_slots=3, start_timeout_s=60)


LMDEPLOY = os.environ.get("TINGSU_LMDEPLOY_PYTHON", "")


class Case(NamedTuple):
    """An engine, a form it serves, and a backend where it has several."""

    engine: EngineName
    form: Form
    backend: str = ""

    @property
    def name(self) -> str:
        return "-".join(filter(None, self))

    @property
    def serve(self) -> ServeSettings:
        if self.engine == "ollama":
            return SERVE.model_copy(update={"ollama_url": an_ollama().url, "ollama_slots": 2})
        if self.engine != "lmdeploy":
            return SERVE
        sets = {
            "lmdeploy_python": str(stub()),
            "lmdeploy_backend": self.backend,
            "lmdeploy_slots": 4,
            "precision": "auto",
        }
        return SERVE.model_copy(update=sets)


BACKENDS = {"lmdeploy": ("pytorch", "turbomind")}
CASES = [
    Case(engine, form, backend)
    for engine, forms in choose.SERVED.items()
    for form in forms
    for backend in BACKENDS.get(engine, ("",))
    if form != "awq"  # what its weights are is read in tests/tasks/test_awq.py
]


def require(engine: str) -> None:
    """Skip, with the reason, where the engine's program is not installed."""
    if engine == "lmdeploy" and not LMDEPLOY:
        pytest.skip("TINGSU_LMDEPLOY_PYTHON names no interpreter with LMDeploy")
    if engine in ("llamacpp", "ollama"):
        try:
            llama_server.find("")
        except ConfigurationError as error:
            pytest.skip(str(error))


def an_ollama() -> FakeOllama:
    """One of its own: it runs until the tests end, and holds a model while an engine is open."""
    folder = Path(tempfile.mkdtemp(prefix="tingsu-ollama-"))
    stopping = ExitStack()
    server = stopping.enter_context(fake_ollama.running(folder))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(stopping.close)  # the last registered is the first called
    return server


@cache
def stub() -> Path:
    """The interpreter of an environment laid over LMDeploy's, whose engines need no GPU."""
    folder, python = Path(tempfile.mkdtemp(prefix="tingsu-lmdeploy-")), LMDEPLOY
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    real = subprocess.run([python, "-I", "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "real.pth").write_text(real)
    shutil.copy(Path(__file__).with_name("lmdeploy_stub.py"), site / "sitecustomize.py")
    return folder / "bin/python"


def write_forms(folder: Path, likely: Sequence[int] = (), **base: float) -> dict[Form, Path]:
    """A random model as safetensors, int8 and GGUF. It answers calls with one of the `likely` tokens, as a tuned one does."""
    shape = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32, "initializer_range": 0.05}
    made: dict[Form, Path] = {"merged": tiny.write_base(folder / "merged", tied=not likely, **{**shape, **base})}
    if likely:
        _prefer(made["merged"], likely)
    for form, write in (("int8", quantize.write_int8), ("gguf-q8_0", gguf_file.write)):
        (folder / form).mkdir()
        write(made["merged"], folder / form)
        for name in ("config.json", FILE):
            shutil.copy2(made["merged"] / name, folder / form / name)
        made[form] = folder / form  # type: ignore[index]
    return made


def start(case: Case, folder: Path) -> Engine:
    """The engine, as scoring and the service start it."""
    require(case.engine)
    return choose.load(case.engine, folder, case.serve, PROMPT.longest(Tokens.load(folder)))


def _prefer(folder: Path, likely: Sequence[int]) -> None:
    """Turn the output embedding of these tokens towards the hidden state behind a prompt."""
    import torch

    tokens, model = Tokens.load(folder), weights.load_model(folder, "fp32")
    prompts = [PROMPT.encode(text, tokens).ids for text in ("客户：我要投诉。", "您好，流量还剩多少？", "")]
    with torch.no_grad():
        behind = torch.stack([model.model(torch.tensor([p])).last_hidden_state[0, -1] for p in prompts]).mean(0)
        model.lm_head.weight[list(likely)] += 6 * behind / behind.square().sum()
    model.save_pretrained(folder)
