"""AWQ: int4 weights, the channels our own calls excite scaled up before rounding. LMDeploy makes it, in its own environment.

Its pins contradict ours, so its interpreter runs one script (`deploy/lmdeploy/awq.py`). What it learns the scales from are
calls of the train side as the model reads them: gold and calibration calls are for measuring.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from configs.training import QuantizeSettings
from data_contracts.artifacts import Model, Splits
from data_contracts.errors import ConfigurationError, EngineUnavailable
from data_contracts.prompt import Prompt
from deploy.lmdeploy import awq as script
from deploy.lmdeploy import environment
from deploy.tokenizer import Tokens
from tasks.merge import carry, described
from tasks.stages import Work

ARCHITECTURES = ("Qwen2ForCausalLM", "Qwen3ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM")
CALLS = 128
"""Calls to calibrate with: LMDeploy's own number of samples."""
BLOCK_TOKENS = 512


def check(settings: QuantizeSettings, base: Path) -> None:
    """Return if AWQ is not asked for, or can be made of this base here.

    Raises:
        ConfigurationError: no LMDeploy environment, another version of it, or a model that AWQ does not fit.
    """
    if "awq" not in settings.forms:
        return
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    without = "leave 'awq' out of quantize.forms"
    kind = (config.get("architectures") or ["model of no named architecture"])[0]
    if kind not in ARCHITECTURES:
        raise ConfigurationError(
            f"AWQ of a {kind} is not made; allowed: {', '.join(ARCHITECTURES)}. Otherwise {without}"
        )
    for name, size in _inputs(config).items():
        if size % script.GROUP:
            raise ConfigurationError(
                f"AWQ needs layers with a multiple of {script.GROUP} inputs, and {base.name} has {name} {size}; {without}"
            )
    environment.require(
        settings.lmdeploy_python, "quantize.lmdeploy_python", "quantize.forms has 'awq', which LMDeploy makes"
    )


def _inputs(config: dict[str, int]) -> dict[str, int]:
    """Inputs of the linear layers, by where the number comes from."""
    heads = config["num_attention_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    names = ("hidden_size", "intermediate_size")
    return {**{name: config[name] for name in names}, "num_attention_heads x head_dim": heads * size}


def quantize(model: Model, splits: Splits, prompt: Prompt, python: Path, work: Work) -> Model:
    """Write the merged model in int4, calibrated with calls of the train side.

    Raises:
        EngineUnavailable: LMDeploy failed; the last line it wrote, and where the rest is.
    """
    source, folder = work.store.local(model.key), work.out / "awq"
    calls = _calls(work.store.local(splits.file("train")))
    place = Path(tempfile.mkdtemp(dir=work.scratch))  # of this attempt alone: a killed one's LMDeploy may still write
    rows = place / "blocks.json"
    rows.write_text(json.dumps(blocks(calls, prompt, Tokens.load(source))), encoding="utf-8")
    _run(python.expanduser(), [str(source), str(place / "made"), str(rows)], place / "lmdeploy.log")
    folder.mkdir()
    for file in (place / "made").iterdir():
        if file.name == "config.json" or file.name.startswith("model"):
            shutil.copy2(file, folder / file.name)
    carry(source, folder)
    return described(folder, "awq", work)


def blocks(calls: Sequence[str], prompt: Prompt, tokens: Tokens) -> list[list[int]]:
    """Whole prompts end to end, cut into rows of one length, which LMDeploy asks for; the last piece is left out."""
    stream = [i for call in calls for i in prompt.encode(call, tokens).ids]
    length = min(BLOCK_TOKENS, len(stream))
    return [stream[at : at + length] for at in range(0, len(stream) - length + 1, length)]


def _calls(train: Path) -> list[str]:
    """At most CALLS texts, evenly over the file."""
    import polars as pl

    texts: list[str] = pl.read_parquet(train, columns=["input_text"])["input_text"].to_list()
    step = max(1, len(texts) // CALLS)
    return texts[::step][:CALLS]


def _run(python: Path, arguments: Sequence[str], log: Path) -> None:
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "true", "CUDA_VISIBLE_DEVICES": ""}
    with log.open("wb") as file:
        done = subprocess.run(
            [python, "-I", script.__file__, *arguments], stdout=file, stderr=file, env={**os.environ, **quiet}
        )
    if done.returncode:
        lines = log.read_text(errors="replace").strip().splitlines() or ["it wrote nothing"]
        raise EngineUnavailable(
            f"LMDeploy could not make AWQ weights (exit {done.returncode}): {lines[-1][:300]}. All it wrote is in {log}; "
            "leave 'awq' out of quantize.forms to go on without"
        )
