"""The bundle: the one folder that is deployed, named by the digest of its content. Its only reader and writer.

bundles/<digest>/          model/  prompt.json  taxonomy.json  codes.json  calibration.json  golden.json  bundle.json
bundles/<digest>.attest/   verdict.json, emergency.json and reports: they cite the digest, so they lie beside it

Bundles of slot `generate` are in deploy/generation.py.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from data_contracts.artifacts import (
    BundleRef,
    Calibration,
    Emergency,
    Form,
    Model,
    Verdict,
)
from data_contracts.errors import BundleCorrupt, GateRefused
from data_contracts.messages import Said, told
from data_contracts.prompt import Prompt
from data_contracts.schema import Frozen
from data_contracts.taxonomy import Taxonomy
from deploy import emergency, sealed
from deploy.sealed import VERDICT
from deploy.signing import keypair, public_key, sign, verdict_id, verify
from deploy.store import LISTING, Store, write_atomically

__all__ = [
    "Bundle",
    "Golden",
    "Parity",
    "Parts",
    "admit",
    "assemble",
    "attest",
    "keypair",
    "open",
    "permit",
    "place",
    "public_key",
]
__all__ += ["VERDICT", "sign", "verdict_id", "verify"]
WEIGHTS = (".safetensors", ".gguf")
EMERGENCY = "emergency.json"
WITHDRAWN = "files.json"
"""The list of files of a bundle whose content was removed."""


class Golden(Frozen):
    """One call (text as the model reads it), what the bundle must answer, and how far off a probability may be."""

    text: str
    probabilities: dict[str, float]
    tolerance: float = Field(default=0.05, gt=0, le=1)


class Parity(Frozen):
    """Of a probability: how far apart the engine's own answers to one call were, and how far another machine's may be."""

    spread: float = Field(ge=0, le=1)
    tolerance: float = Field(gt=0, le=1)


class Facts(Frozen):
    """What else the content depends on. `engine` is the one it was calibrated and measured on; `parity` was measured with it and
    this quantization (null in bundles that are older: theirs stands with each golden call)."""

    format: int = 1
    engine: str
    quantization: Form
    synthetic: bool
    model_digest: str
    prompt_digest: str
    taxonomy_digest: str
    parity: Parity | None = None


class Parts(Frozen):
    """Everything a bundle is made of."""

    model: Model
    prompt: Prompt
    taxonomy: Taxonomy
    calibration: Calibration
    golden: tuple[Golden, ...] = Field(min_length=1, max_length=64)
    engine: str
    synthetic: bool
    parity: Parity | None = None


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on this machine. `code_ids`: each category's answer token, in taxonomy order."""

    folder: Path
    digest: str
    facts: Facts
    prompt: Prompt
    taxonomy: Taxonomy
    calibration: Calibration
    code_ids: tuple[int, ...]
    golden: tuple[Golden, ...]

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def weights_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.model.iterdir() if file.suffix in WEIGHTS)


def assemble(parts: Parts, store: Store) -> BundleRef:
    """Copy the model, write the rest beside it, and commit the whole under its digest. Same parts, same bundle;
    a damaged one of that name is replaced.

    Raises:
        ModelLoadError: pickled weights, no tokenizer, or a code that is not one token.
    """
    content = sealed.workplace(store, parts.model_dump_json())
    _copy_model(store.local(parts.model.key), content / "model")
    for name, text in _documents(parts, content / "model").items():
        (content / name).write_text(text, encoding="utf-8")
    return sealed.commit(store, content, parts.synthetic, open)


def open(folder: Path) -> Bundle:
    """Read a bundle, every file compared with its digest.

    Raises:
        BundleCorrupt: names the first file that is missing, changed or not part of the bundle.
    """
    digest = sealed.digest(folder)
    try:
        codes = json.loads((folder / "codes.json").read_text(encoding="utf-8"))
        golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
        return Bundle(
            folder=folder,
            digest=digest,
            facts=Facts.model_validate_json((folder / "bundle.json").read_bytes()),
            prompt=Prompt.model_validate_json((folder / "prompt.json").read_bytes()),
            taxonomy=(taxonomy := Taxonomy.model_validate_json((folder / "taxonomy.json").read_bytes())),
            calibration=Calibration.model_validate_json((folder / "calibration.json").read_bytes()),
            code_ids=tuple(int(codes[key]["id"]) for key in taxonomy.keys),
            golden=tuple(Golden.model_validate(item) for item in golden),
        )
    except (ValidationError, KeyError, OSError) as error:
        raise BundleCorrupt(
            f"bundle {folder} is of another kind, or was written by another version of Tingsu; assemble it again with this one"
        ) from error


def golden(folder: Path) -> tuple[Golden, ...]:
    """The golden requests of a bundle's folder; its content is not compared with its digest.

    Raises:
        BundleCorrupt: there are none to read.
    """
    try:
        found = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
        return tuple(Golden.model_validate(item) for item in found)
    except (OSError, ValueError) as error:
        raise BundleCorrupt(f"bundle {folder} has no golden requests to read; assemble it again") from error


def attest(store: Store, ref: BundleRef, name: str, data: bytes) -> None:
    """Keep a statement about a bundle beside it."""
    store.write(f"{ref.key}.attest/{name}", data)


def withdraw(store: Store, digest: str) -> None:
    """Remove a bundle's content. What it was made of, by file and SHA-256, and what was said of it stay beside its place."""
    listed = store.read(f"bundles/{digest}/{LISTING}")
    if listed is not None:
        store.write(f"bundles/{digest}.attest/{WITHDRAWN}", listed)
    store.delete(f"bundles/{digest}")


def place(store: Store, ref: BundleRef) -> Path:
    """The bundle's folder on this machine, with the verdicts it has beside it: what a service is started on."""
    folder = store.local(ref.key)
    for name in (VERDICT, EMERGENCY):
        verdict, beside = store.read(f"{ref.key}.attest/{name}"), sealed.beside(folder) / name
        if verdict is not None and (not beside.exists() or beside.read_bytes() != verdict):
            write_atomically(beside, verdict)
    return folder


def permit(bundle: Bundle, trusted_key: str) -> Verdict:
    """The verdict that lets this bundle serve.

    Raises:
        GateRefused: there is none, or it does not hold.
    """
    return sealed.permitted(bundle.folder, bundle.digest, Verdict, trusted_key, "./tingsu retrain")


def admit(bundle: Bundle, home: Path) -> Verdict | Emergency:
    """What lets this bundle serve in this home now; see `in_force`."""
    return in_force(bundle.folder, bundle.digest, home)


def in_force(folder: Path, digest: str, home: Path) -> Verdict | Emergency:
    """What lets a bundle of this digest, whose content is not read, serve in this home now: the gate's PROMOTE, else an
    operator's emergency verdict.

    Raises:
        GateRefused: neither, or neither holds; says why of both.
        ConfigurationError: this home has no public key of the gate.
    """
    try:
        return sealed.permitted(folder, digest, Verdict, public_key(home), "./tingsu retrain")
    except GateRefused as refused:
        path = sealed.beside(folder) / EMERGENCY
        if not path.is_file():
            raise
        return lifted(path.read_bytes(), digest, home, refused)


def _also(refused: GateRefused, further: Said) -> Said:
    """Why the gate's verdict does not hold, and why the emergency one does not."""
    first = refused.said
    return Said(further.code, f"{first.en}; and {further.en}", f"{first.zh}；另外，{further.zh}")


def lifted(data: bytes, digest: str, home: Path, refused: GateRefused) -> Emergency:
    """The emergency verdict by which a bundle of this digest serves although the gate refused it.

    Raises:
        GateRefused: it does not hold; says so after the refusal.
    """
    try:
        said = Emergency.model_validate_json(data)
        emergency.require(said, digest, home)
    except ValidationError as error:
        raise GateRefused(_also(refused, told("emergency_unreadable", file=EMERGENCY))) from error
    except GateRefused as error:
        raise GateRefused(_also(refused, error.said)) from error
    return said


def _copy_model(source: Path, target: Path) -> None:
    sealed.refuse_pickles(source)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(LISTING, "record.json"))


def _documents(parts: Parts, model: Path) -> dict[str, str]:
    """The files of a bundle besides its weights, by name."""
    from deploy.tokenizer import Tokens

    ids = parts.taxonomy.code_ids(Tokens.load(model))
    facts = Facts(
        engine=parts.engine,
        quantization=parts.model.form,
        synthetic=parts.synthetic,
        model_digest=parts.model.digest,
        prompt_digest=parts.prompt.digest,
        taxonomy_digest=parts.taxonomy.digest,
        parity=parts.parity,
    )
    return {
        "bundle.json": facts.model_dump_json(indent=1),
        "prompt.json": parts.prompt.model_dump_json(indent=1),
        "taxonomy.json": parts.taxonomy.model_dump_json(indent=1),
        "calibration.json": parts.calibration.model_dump_json(indent=1),
        "codes.json": _json(
            {c.key: {"code": c.code, "id": i} for c, i in zip(parts.taxonomy.categories, ids, strict=True)}
        ),
        "golden.json": _json([g.model_dump(mode="json") for g in parts.golden]),
    }


def _json(value: dict[str, object] | Sequence[object]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)
