"""Adopts a model made elsewhere for slot `generate`: a folder of a causal language model, or a GGUF file, becomes a bundle."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from data_contracts.artifacts import BundleRef, EngineName
from data_contracts.errors import ConfigurationError, ModelLoadError
from data_contracts.schema import Frozen
from deploy import generation
from deploy.chat_template import CONFIG as TOKENIZER_CONFIG
from deploy.chat_template import FILE as TEMPLATE
from deploy.dialogue import Dialogue
from deploy.engines import weights
from deploy.engines.llama_server import SPARE_TOKENS
from deploy.generation import Facts
from deploy.store import Store
from deploy.tokenizer import FILE as TOKENIZER
from tasks import gguf_source

TAKEN = ("config.json", "generation_config.json", TOKENIZER, TOKENIZER_CONFIG, TEMPLATE)
"""Besides the weights; nothing else of a folder is read when a model is served."""
INDEX = "model.safetensors.index.json"
UNKNOWN_CONTEXT = 2048


class Adopted(Frozen):
    """A bundle of slot `generate`, and the name of what it was made from."""

    name: str
    bundle: BundleRef
    facts: Facts


class _Source(NamedTuple):
    """Files by the name they have in a model folder. `reads`: a folder with tokenizer, template and configuration."""

    files: Mapping[str, Path]
    reads: Path
    engine: EngineName
    quantization: str
    spare_tokens: int = 0


def adopt(path: Path, store: Store) -> Adopted:
    """Commit the bundle of a model. The weights are linked where the store lies on the same disk, else copied.

    Raises:
        ConfigurationError: no such folder or file, or not a causal language model.
        ModelLoadError: weights are pickled, missing or damaged, or there is no tokenizer or chat template; says what to do.
    """
    path = path.expanduser().absolute()
    source = _gguf(path, store) if path.suffix == ".gguf" and path.is_file() else _folder(path)
    dialogue = Dialogue.load(source.reads)
    config = _config(source.reads)
    facts = Facts(
        engine=source.engine,
        quantization=source.quantization,
        thinks=dialogue.thinks,
        stop_ids=dialogue.stop_ids,
        context_tokens=(config.get("max_position_embeddings") or UNKNOWN_CONTEXT) - source.spare_tokens,
    )
    return Adopted(name=path.name, bundle=generation.assemble(source.files, facts, store), facts=facts)


def _folder(folder: Path) -> _Source:
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder} is neither a folder nor a .gguf file on this machine; fetch the model yourself "
            "(`hf download Qwen/Qwen3-4B-Thinking-2507 --local-dir Qwen3-4B-Thinking`), then import that folder"
        )
    config = _config(folder)
    form = weights.form_of(folder)
    if form == "gguf-q8_0":
        raise ConfigurationError(f"{folder} holds a GGUF file; import the file itself: {folder / weights.GGUF_FILE}")
    _require_language_model(folder, config)
    shards = sorted(folder.glob("*.safetensors"))
    _require_whole(folder, shards)
    taken = [folder / name for name in (*TAKEN, INDEX) if (folder / name).is_file()]
    kind = str(config.get("dtype") or config.get("torch_dtype") or "unknown") if form == "merged" else form
    return _Source({file.name: file for file in (*shards, *taken)}, folder, "transformers", kind)


def _gguf(file: Path, store: Store) -> _Source:
    size = file.stat()
    name = hashlib.sha256(f"{file}{size.st_size}{size.st_mtime_ns}".encode()).hexdigest()[:16]
    made = store.scratch(f"import-{name}")
    quantization = gguf_source.write(file, made)
    files = {name: made / name for name in gguf_source.MADE if (made / name).is_file()}
    return _Source({weights.GGUF_FILE: file, **files}, made, "llamacpp", quantization, SPARE_TOKENS)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{folder} has no config.json; give the folder of a Hugging Face causal language model, or a .gguf file"
        ) from error
    except (ValueError, TypeError) as error:
        raise ModelLoadError(f"{path} is damaged; copy it from the checkpoint again") from error


def _require_language_model(folder: Path, config: Mapping[str, Any]) -> None:
    names = [str(name) for name in config.get("architectures") or ()]
    if not any(name.endswith("ForCausalLM") for name in names):
        raise ConfigurationError(
            f"{folder} is {', '.join(names) or 'of no named architecture'}, not a causal language model; slot 'generate' takes "
            "a folder whose config.json names a …ForCausalLM, such as Qwen3ForCausalLM"
        )


def _require_whole(folder: Path, shards: list[Path]) -> None:
    """Every shard that the index names is there, and every one has all the bytes that its header promises."""
    from safetensors import SafetensorError, safe_open

    index = folder / INDEX
    named = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else set()
    missing = sorted(named - {shard.name for shard in shards})
    if missing:
        raise ModelLoadError(f"{folder / missing[0]} is missing ({len(missing)} such); copy the checkpoint again")
    for shard in shards:
        try:
            with safe_open(shard, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelLoadError(f"{shard} is damaged: {error}. Copy it from the checkpoint again") from error
