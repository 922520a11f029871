"""Everything an auditor needs for one version or all, in a folder that can be checked without Tingsu; no text of a call.

README.txt · history.jsonl · head.txt · keys/ · versions/<V>/ (each signed verdict as it stands in a history line, what exactly was
signed, the signature; the evidence it cites; the bundle's list of files) · check.py · SHA256SUMS
"""

import base64
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from data_contracts.artifacts import Emergency, Verdict
from data_contracts.errors import ConfigurationError
from data_contracts.schema import Frozen
from deploy import bundle, disk, operators, signing
from deploy.store import LISTING, sha256_file
from tasks import audit_check, history, proven, stages
from tasks.history import Entry
from tasks.proven import Proven
from tasks.versions import Registry

SPKI = bytes.fromhex(
    "302a300506032b6570032100"
)  # what comes before an Ed25519 public key in its standard form (RFC 8410)


class Exported(Frozen):
    """What was written. `missing`: evidence that verdicts cite and the store has no longer."""

    folder: str
    files: int
    lines: int
    versions: tuple[int, ...]
    missing: tuple[str, ...]


def export(at: Registry, out: Path, version: int | None = None) -> Exported:
    """Write the folder, whole or not at all. The history is always in it as a whole: a part of a chain proves nothing.

    Raises:
        BundleCorrupt: the history does not hold together; nothing is written.
        ConfigurationError: the folder is there and not empty, or the history has no such version.
        ResourceInsufficient, StoreUnavailable: the disk is full or not writable.
    """
    known = proven.read(at)
    chosen = _chosen(known.entries, version)
    out = out.expanduser().absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError(f"--out {out} is there and not empty; name a folder that is not")
    with disk.explained(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            missing = _fill(at, made, known, chosen)
            files = _sums(made)
            os.replace(made, out)  # also over an empty folder
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return Exported(folder=str(out), files=files, lines=len(known.entries), versions=chosen, missing=missing)


def _chosen(entries: tuple[Entry, ...], version: int | None) -> tuple[int, ...]:
    there = sorted({e.event.version for e in entries if e.event.version is not None})
    if version is not None and version not in there:
        names = ", ".join(map(str, there)) or "none"
        raise ConfigurationError(f"version {version} is not in the history; versions there: {names}")
    return tuple(there) if version is None else (version,)


def _fill(at: Registry, made: Path, known: Proven, chosen: tuple[int, ...]) -> tuple[str, ...]:
    lines = len(known.entries)
    whole = (at.home / history.FILE).read_bytes() if lines else b""
    (made / history.FILE).write_bytes(b"".join(whole.splitlines(keepends=True)[:lines]))
    (made / "head.txt").write_text((known.head or "") + "\n", encoding="utf-8")
    _keys(at, made / "keys", known.entries)
    missing = [
        name for version in chosen for name in _version(at, made / f"versions/{version}", known.entries, version)
    ]
    shutil.copyfile(Path(audit_check.__file__), made / "check.py")
    about = {"at": stages.now(), "said": known.said, "versions": ", ".join(map(str, chosen)) or "none"}
    absent = "".join(f"\n  MISSING in the store: {name}" for name in missing)
    (made / "README.txt").write_text(_README.format(**about, absent=absent), encoding="utf-8")
    return tuple(missing)


def _keys(at: Registry, folder: Path, entries: tuple[Entry, ...]) -> None:
    """The gate's public key, and every operator's that ever counted; those that are revoked too: they signed what they signed."""
    told = [e.event.detail for e in entries if e.event.kind == "operator_trusted"]
    ever = {(str(d["operator"]), str(d["public_key"])) for d in told} | set(operators.trusted(at.home).items())
    named = {f"operators/{name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}": key for name, key in sorted(ever)}
    for name, key in {"gate": at.trusted_key, **named}.items():
        path = folder / f"{name}.pem"
        path.parent.mkdir(parents=True, exist_ok=True)
        der = base64.b64encode(SPKI + base64.b64decode(key)).decode()
        path.write_text(f"-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n", encoding="ascii")


def _version(at: Registry, folder: Path, entries: tuple[Entry, ...], version: int) -> Iterator[str]:
    """Write what there is of a version; the names of what there should be."""
    folder.mkdir(parents=True)
    own = [e for e in entries if e.event.version == version]
    (folder / "lines.json").write_text(
        json.dumps([e.model_dump(mode="json") for e in own], ensure_ascii=False, indent=1), encoding="utf-8"
    )
    for entry in own:
        for kind, name in ((Verdict, "verdict"), (Emergency, "emergency")):
            if name in entry.event.detail and entry.event.kind in ("recorded", "emergency"):
                said = kind.model_validate(entry.event.detail[name])
                _signed(folder / f"line-{entry.number}-{name}", entry.event.detail[name], said)
                if isinstance(said, Verdict):
                    yield from _evidence(at, folder, said)
    digest = next((e.event.bundle_digest for e in own if e.event.bundle_digest), "")
    places = (f"bundles/{digest}/{LISTING}", f"bundles/{digest}.attest/{bundle.WITHDRAWN}") if digest else ()
    listing = next((data for place in places if (data := at.store.read(place)) is not None), None)
    if listing is None:
        yield f"version {version}: the list of files of bundle {digest[:12]}"
    else:
        (folder / "bundle-files.json").write_bytes(listing)


def _signed(stem: Path, said: object, verdict: signing.AnyVerdict) -> None:
    stem.with_suffix(".json").write_text(json.dumps(said, ensure_ascii=False, indent=1), encoding="utf-8")
    stem.with_suffix(".signed").write_bytes(signing.payload(verdict))
    stem.with_suffix(".sig").write_bytes(base64.b64decode(verdict.signature))


def _evidence(at: Registry, folder: Path, said: Verdict) -> Iterator[str]:
    name = f"evidence-{said.report_digest}.json"
    data = at.store.read(f"bundles/{said.bundle_digest}.attest/{name}")
    if data is None:
        yield f"{folder.name}/{name}"
    else:
        (folder / name).write_bytes(data)


def _sums(made: Path) -> int:
    files = sorted(p for p in made.rglob("*") if p.is_file())
    rows = (f"{sha256_file(p)}  {p.relative_to(made).as_posix()}\n" for p in files)
    (made / "SHA256SUMS").write_text("".join(rows), encoding="utf-8")
    return len(files) + 1


_README = """Audit export of Tingsu, written {at}; versions: {versions}.
{said}{absent}

Check it without Tingsu:
  sha256sum -c SHA256SUMS        every file is the one that was written
  python3 check.py               the chain, the verdicts, their evidence and signatures (needs openssl 3.0 or newer
                                 for the last); at its end, what to compare outside of this folder
By hand:
  A line of history.jsonl is JSON. Take `digest` out of it, write the rest with keys in order and ", " and ": " between
  (Python: json.dumps(rest, ensure_ascii=False, sort_keys=True)): its SHA-256 is `digest`. `previous` is the `digest` of the line
  before, 64 zeros in the first. head.txt is NUMBER:DIGEST of the newest line that MLflow, another system, had been told of.
  openssl pkeyutl -verify -pubin -inkey keys/gate.pem -rawin -in versions/V/line-N-verdict.signed -sigfile versions/V/line-N-verdict.sig

versions/V/lines.json          what happened to version V: who, when, from which verdict
versions/V/line-N-verdict.*    the gate's verdict of history line N: .json as it stands there, .signed the bytes signed, .sig
versions/V/line-N-emergency.*  an operator's word against the gate, with name and reason, likewise
versions/V/evidence-D.json     the numbers a verdict cites by SHA-256: every report, thresholds, speed. No text of a call
versions/V/bundle-files.json   SHA-256 of every file of the bundle; the SHA-256 of this list (keys in order) is the bundle's name
keys/                          public keys: gate.pem, operators/NAME-*.pem, also of operators since revoked (history says when)
"""
