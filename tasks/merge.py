"""Merges an adapter into its base: one safetensors model, in the base's own precision, with its tokenizer."""

import shutil
from pathlib import Path
from typing import Any

from data_contracts.artifacts import Adapter, Model
from data_contracts.errors import ModelLoadError
from deploy.engines import weights
from deploy.store import Store, folder_digest
from tasks.stages import Work

CARRIED = (
    "tokenizer*",
    "special_tokens_map.json",
    "chat_template*",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
)
"""Files of a model folder that travel with its weights through every form."""


def merge(adapter: Adapter, work: Work) -> Model:
    """Add each layer's low-rank product to its weight, in fp32, and save as the base was saved.

    The base is the one on disk, whole, also where QLoRA trained on its 4-bit copy: that copy is for training. An adapter
    hop is scored on what it was trained on, so the step from there to the merged hop is what leaving 4 bits costs.

    Raises:
        ModelLoadError: base or adapter cannot be loaded.
    """
    import torch

    base = Path(adapter.base.path)
    stored = stored_dtype(base)
    merged = attach(adapter, weights.load_model(base, "fp32"), work.store).merge_and_unload()
    folder = work.out / "model"
    with weights.quiet():
        merged.to(getattr(torch, stored)).save_pretrained(folder)
    carry(base, folder)
    return described(folder, "merged", work)


def as_trained(adapter: Adapter, precision: weights.Precision, store: Store) -> Any:
    """The model that learned: the adapter over the base in the form it was trained on, in peft's wrapper.

    Raises:
        ModelLoadError: base or adapter cannot be loaded.
    """
    base = Path(adapter.base.path)
    whole = adapter.settings.get("method") != "qlora"
    return attach(adapter, weights.load_model(base, precision) if whole else weights.load_4bit(base), store)


def attach(adapter: Adapter, model: Any, store: Store) -> Any:
    """A loaded base with the adapter applied to it, not merged, in peft's wrapper.

    Raises:
        ModelLoadError: the adapter cannot be loaded, or belongs to another base.
    """
    with weights.quiet():
        from peft import PeftModel

        folder = store.local(adapter.key)
        try:
            return PeftModel.from_pretrained(model, str(folder))
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelLoadError(f"adapter {adapter.key} does not fit {adapter.base.path}: {error}") from error


def carry(source: Path, folder: Path) -> None:
    """Copy the tokenizer and its like."""
    for pattern in CARRIED:
        for path in source.glob(pattern):
            shutil.copy2(path, folder / path.name)


def described(folder: Path, form: Any, work: Work) -> Model:
    """The artefact of a finished model folder within `work.out`."""
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    key = f"{work.key}/{folder.relative_to(work.out).as_posix()}"
    return Model(key=key, form=form, digest=folder_digest(folder), size_mb=size / 2**20)


def stored_dtype(folder: Path) -> str:
    """bfloat16, float16 or float32: what most of the base's numbers are stored as."""
    from safetensors import safe_open

    names = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
    counts: dict[str, int] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 (not a mapping)
                part = file.get_slice(key)
                kind = part.get_dtype()
                counts[kind] = counts.get(kind, 0) + _size(part.get_shape())
    return names.get(max(counts, key=lambda k: counts[k]), "float32")


def _size(shape: list[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total
