"""The base model of a run: a folder of a causal language model with safetensors weights. Nothing is ever downloaded."""

from pathlib import Path

from data_contracts.artifacts import Base
from data_contracts.errors import ConfigurationError
from deploy.engines import weights
from deploy.store import folder_digest
from deploy.tokenizer import FILE as TOKENIZER
from deploy.tokenizer import conversion
from tasks.stages import ROOT

BUILTIN = {"builtin:tiny": ROOT / "configs" / "tiny-base"}


def resolve(base_model: str) -> Base:
    """The base model named in `train.base_model`.

    Args:
        base_model: `builtin:tiny`, or a folder.

    Raises:
        ConfigurationError: no such folder, or one that is no Hugging Face checkpoint; says what to do.
        ModelLoadError: the weights are pickled, or there is no fast tokenizer; names the command that converts them.
    """
    folder = BUILTIN.get(base_model) or Path(base_model).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigurationError(f"train.base_model {base_model!r} is no folder on this machine{_advice(base_model)}")
    if not (folder / "config.json").is_file():
        raise ConfigurationError(
            f"{folder} has no config.json; give the folder of a Hugging Face causal language model"
        )
    form = weights.form_of(folder)
    if form != "merged":
        raise ConfigurationError(
            f"{folder} holds {form} weights; only one with unquantized *.safetensors can be trained"
        )
    if not (folder / TOKENIZER).is_file():
        raise ConfigurationError(f"{folder} has no {TOKENIZER}. Make it once: {conversion(folder)}")
    return Base(path=str(folder), name=base_model, digest=folder_digest(folder), revision=_revision(folder))


def tokenizer_of(base_model: str) -> Path | None:
    """The file of the tokenizer that `resolve` would take; None where it is not on this machine."""
    file = (BUILTIN.get(base_model) or Path(base_model).expanduser().absolute()) / TOKENIZER
    return file if file.is_file() else None


def _advice(base_model: str) -> str:
    if base_model in BUILTIN:
        return f"; make it with `python -P -m tasks.pretrain --out {BUILTIN[base_model]}`"
    if base_model.count("/") == 1 and not base_model.startswith((".", "/", "~")):
        name = base_model.split("/")[1]
        fetch = f"hf download {base_model} --local-dir {name}"
        return f". Nothing is downloaded: fetch it yourself (`{fetch}`), then --set train.base_model={name}"
    return f"; give the folder of a Hugging Face checkpoint, or one of {', '.join(BUILTIN)}"


def _revision(folder: Path) -> str | None:
    """The commit, where `hf download --local-dir` left a note of it."""
    notes = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    return notes.read_text(encoding="utf-8").splitlines()[0] if notes.is_file() else None
