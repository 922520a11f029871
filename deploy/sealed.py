"""A folder whose every file is listed with its digest, as the store commits it: read back byte for byte, or refused."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import ValidationError

from data_contracts.artifacts import BundleRef
from data_contracts.errors import BundleCorrupt, GateRefused, ModelLoadError
from data_contracts.messages import told
from deploy import signing
from deploy.signing import Signed
from deploy.store import LISTING, Store, folder_digest, sha256_file

VERDICT = "verdict.json"
"""In the folder beside the content, which it cites."""

PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def digest(folder: Path) -> str:
    """The digest of the folder's content, every file compared with the listing.

    Raises:
        BundleCorrupt: names the first file that is missing, changed or not listed.
    """
    expected = _listed(folder)
    _compare(folder, expected)
    found = hashlib.sha256(json.dumps(expected, sort_keys=True).encode()).hexdigest()
    if len(folder.name) == len(found) and folder.name != found:
        raise BundleCorrupt(
            f"{folder / LISTING} was changed: its digest is {found[:12]}, the folder's name says {folder.name[:12]}"
        )
    return found


def refuse_pickles(folder: Path) -> None:
    """Return if no file of the folder can run code when it is loaded.

    Raises:
        ModelLoadError: names the first that may.
    """
    pickled = sorted(p.name for p in folder.rglob("*") if p.suffix in PICKLED)
    if pickled:
        raise ModelLoadError(
            f"{folder / pickled[0]} may be a pickle, which can run code when loaded; only safetensors and GGUF are bundled"
        )


def permitted(folder: Path, content: str, kind: type[Signed], trusted_key: str, first: str) -> Signed:
    """The verdict beside a bundle of this digest; `first`: how to come by one.

    Raises:
        GateRefused: there is none, or it does not hold.
    """
    path = beside(folder) / VERDICT
    try:
        verdict = kind.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise GateRefused(told("verdict_missing", bundle=content[:12], path=path, command=first)) from error
    except ValidationError as error:
        raise GateRefused(told("verdict_unreadable", path=path, command=first)) from error
    signing.verify(verdict, content, trusted_key)
    return verdict


def workplace(store: Store, parts: str) -> Path:
    """An empty folder for the content of a bundle of these parts: the same one for the same parts."""
    content = store.scratch(f"bundle-{hashlib.sha256(parts.encode()).hexdigest()[:16]}") / "content"
    shutil.rmtree(content, ignore_errors=True)
    content.mkdir(parents=True)
    return content


def commit(store: Store, content: Path, synthetic: bool, opened: Callable[[Path], object]) -> BundleRef:
    """Commit a bundle's content under its digest; one that is there and that `opened` refuses as corrupt makes room."""
    ref = BundleRef(digest=(found := folder_digest(content)), key=f"bundles/{found}", synthetic=synthetic)
    try:
        if store.has(ref.key):
            opened(store.local(ref.key))
    except BundleCorrupt:
        store.delete(ref.key)
    store.commit(content, ref.key)
    return ref


def beside(folder: Path) -> Path:
    """Where the attestations of a bundle are."""
    return folder.with_name(folder.name + ".attest")


def _listed(folder: Path) -> dict[str, dict[str, object]]:
    try:
        return {str(k): dict(v) for k, v in json.loads((folder / LISTING).read_bytes()).items()}
    except FileNotFoundError as error:
        raise BundleCorrupt(
            f"{folder} is no bundle, or its copying was cut off: {LISTING} is missing. Copy it again"
        ) from error
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BundleCorrupt(f"{folder / LISTING} is damaged; copy the bundle again") from error


def _compare(folder: Path, expected: dict[str, dict[str, object]]) -> None:
    """Sizes and names first: they cost nothing, and a cut-off copy shows there."""
    there = {p.relative_to(folder).as_posix(): p for p in _files(folder)}
    strange = sorted(there.keys() - expected.keys())
    if strange:
        raise BundleCorrupt(f"{folder / strange[0]} is not part of the bundle; remove it, or copy the bundle again")
    for name, entry in sorted(expected.items()):
        if name not in there or there[name].stat().st_size != entry.get("size"):
            raise BundleCorrupt(
                f"{folder / name} is missing or has another size than when the bundle was made; copy the bundle again"
            )
    for name, entry in sorted(expected.items()):
        if sha256_file(there[name]) != entry.get("sha256"):
            raise BundleCorrupt(f"{folder / name} does not match its digest; copy the bundle again")


def _files(folder: Path) -> Iterable[Path]:
    return (p for p in folder.rglob("*") if p.is_file() and p.name != LISTING)
