"""Small models in every form an engine serves, and the engines over them."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from configs.settings import ServeSettings
from data_contracts.artifacts import EngineName, Form
from data_contracts.errors import ConfigurationError
from data_contracts.prompt import Prompt
from deploy.engines import Engine, choose, llama_server
from deploy.tokenizer import FILE, Tokens
from tasks import gguf_file, quantize
from tests import tiny

PROMPT = Prompt(template="qwen3", instruction="判断这通电话的投诉类别，只回答代号。", max_call_tokens=512)
SERVE = ServeSettings(threads=1, precision="fp32", llama_slots=3, start_timeout_s=60)


class Case(NamedTuple):
    """An engine and a form it serves."""

    engine: EngineName
    form: Form


CASES = [Case(engine, form) for engine, forms in choose.SERVED.items() for form in forms if form != "awq"]


def require(engine: str) -> None:
    """Skip, with the reason, where the engine's program is not installed."""
    if engine == "llamacpp":
        try:
            llama_server.find("")
        except ConfigurationError as error:
            pytest.skip(str(error))


def write_forms(folder: Path, **base: float) -> dict[Form, Path]:
    """A random model as safetensors, int8 and GGUF."""
    shape = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32, "initializer_range": 0.05}
    made: dict[Form, Path] = {"merged": tiny.write_base(folder / "merged", **{**shape, **base})}
    for form, write in (("int8", quantize.write_int8), ("gguf-q8_0", gguf_file.write)):
        (folder / form).mkdir()
        write(made["merged"], folder / form)
        for name in ("config.json", FILE):
            shutil.copy2(made["merged"] / name, folder / form / name)
        made[form] = folder / form  # type: ignore[index]
    return made


def start(case: Case, folder: Path, serve: ServeSettings = SERVE) -> Engine:
    """The engine, as scoring and the service start it."""
    require(case.engine)
    return choose.load(case.engine, folder, serve, PROMPT.longest(Tokens.load(folder)))
