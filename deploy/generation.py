"""The bundle of slot `generate`: any causal language model with its tokenizer and chat template. Its only reader and writer.

bundles/<digest>/          model/  generation.json
bundles/<digest>.attest/   verdict.json, of the smoke and speed check
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from data_contracts.artifacts import BundleRef, EngineName, GenerationVerdict, Thinks
from data_contracts.errors import BundleCorrupt
from data_contracts.schema import Frozen
from deploy import sealed
from deploy.store import Store

FACTS = "generation.json"
WEIGHTS = (".safetensors", ".gguf")


class Facts(Frozen):
    """What a bundle of slot `generate` says of its model. `thinks`: what its own chat template does of itself.

    `context_tokens`: what the model was made for; `stop_ids`: the tokens that end an answer."""

    format: int = 1
    slot: Literal["generate"] = "generate"
    engine: EngineName
    quantization: str
    thinks: Thinks
    stop_ids: tuple[int, ...]
    context_tokens: int = Field(ge=1)


@dataclass(frozen=True)
class GenerationBundle:
    """A verified bundle of slot `generate`: any causal language model with its tokenizer and chat template."""

    folder: Path
    digest: str
    facts: Facts

    @property
    def model(self) -> Path:
        return self.folder / "model"


def assemble(files: Mapping[str, Path], facts: Facts, store: Store) -> BundleRef:
    """Commit a model of slot `generate` under its digest. Same parts, same bundle; a damaged one of that name is replaced.

    Args:
        files: name in the model folder → the file. Weights are linked, not copied, where the store lies on the same disk: who
            edits them in place later damages the bundle, which is found out at the next start.
    """
    parts = json.dumps([sorted(map(str, files.values())), facts.model_dump(mode="json")])
    content = sealed.workplace(store, parts)
    (content / "model").mkdir()
    for name, file in files.items():
        _link(file, content / "model" / name)
    (content / FACTS).write_text(facts.model_dump_json(indent=1), encoding="utf-8")
    return sealed.commit(store, content, False, open)


def open(folder: Path) -> GenerationBundle:
    """Read a bundle of slot `generate`, every file compared with its digest.

    Raises:
        BundleCorrupt: names the first file that is missing, changed or not part of the bundle.
    """
    digest = sealed.digest(folder)
    try:
        facts = Facts.model_validate_json((folder / FACTS).read_bytes())
    except (ValidationError, OSError) as error:
        raise BundleCorrupt(
            f"{folder} is no bundle of slot 'generate' that this version of Tingsu reads; make it again: ./tingsu import PATH"
        ) from error
    return GenerationBundle(folder=folder, digest=digest, facts=facts)


def permit(bundle: GenerationBundle, trusted_key: str) -> GenerationVerdict:
    """The verdict that lets this bundle serve.

    Raises:
        GateRefused: there is none, or it does not hold.
    """
    return sealed.permitted(bundle.folder, bundle.digest, GenerationVerdict, trusted_key, "./tingsu import PATH")


def _link(file: Path, target: Path) -> None:
    """Weights under another name; a copy where they lie on another disk, and of what people edit, such as a template."""
    source = file.resolve()
    try:
        if target.suffix in WEIGHTS:
            os.link(source, target)
            return
    except OSError:
        pass
    shutil.copyfile(source, target)
