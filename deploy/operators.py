"""Operators: people whose own Ed25519 key this home trusts to sign an emergency verdict, `<home>/keys/operators/<name>.pub`.

The private key is the operator's file and stays with the operator; nothing of Tingsu reads it but the command that signs. A home that is
mounted, as in a pod, has all public keys in one file instead, `<home>/keys/operators.json`. Keys that were revoked are remembered, one a
line, in `<home>/keys/operators/<name>.revoked`: a target may still have them from this home.
"""

import json
import re
import stat
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from data_contracts.errors import ConfigurationError
from deploy import signing
from deploy.keys import NAME
from deploy.store import write_atomically


def folder(home: Path) -> Path:
    """Where the public keys are."""
    return home / "keys/operators"


def shared_file(home: Path) -> Path:
    """Where a mounted home has them."""
    return home / "keys/operators.json"


def shared(home: Path) -> str:
    """The text of that file for services elsewhere: every operator's public key (base64), by name."""
    return json.dumps(trusted(home), indent=1)


def read_shared(text: str) -> dict[str, str]:
    """What such a file says; nothing, if it is none: it is of no use to any service."""
    try:
        return TypeAdapter(dict[str, str]).validate_json(text)
    except ValidationError:
        return {}


def trust(home: Path, name: str, file: Path) -> str:
    """Trust the key in the operator's own file, made there if there is none; returns the public key (base64).

    Raises:
        ConfigurationError: the name is not a name or has another key here, or the file is no private key of its owner alone.
        ResourceInsufficient, StoreUnavailable: the disk is full, or a folder not writable.
    """
    known = _own(home).get(_named(name))
    if not file.exists():
        signing.create(file)
    public = signing.public_part(private(file))
    if known not in (None, public):
        raise ConfigurationError(
            f"operator {name!r} has another key here; ./tingsu keys operator {name} --revoke, then make the new one"
        )
    write_atomically(folder(home) / f"{name}.pub", public.encode() + b"\n")
    return public


def trusted(home: Path) -> dict[str, str]:
    """Every operator's public key (base64), by name.

    Raises:
        ConfigurationError: the file of a mounted home is damaged.
    """
    path = shared_file(home)
    try:
        return TypeAdapter(dict[str, str]).validate_json(path.read_bytes()) | _own(home)
    except FileNotFoundError:
        return _own(home)
    except (OSError, ValidationError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as operators' keys; roll out again from the home that made it"
        ) from error


def _own(home: Path) -> dict[str, str]:
    found = sorted(path for path in folder(home).glob("*.pub") if path.is_file())
    return {path.stem: path.read_text(encoding="ascii", errors="replace").strip() for path in found}


def revoke(home: Path, name: str) -> str:
    """Trust an operator no more: emergency verdicts of theirs admit nothing from now on; returns the key they had.

    Raises:
        ConfigurationError: there is no such operator.
    """
    known = _own(home)
    if name not in known:
        raise ConfigurationError(f"there is no operator {name!r}; there are: {', '.join(known) or 'none'}")
    remembered = "\n".join([*_revoked(home, name), known[name], ""])
    write_atomically(folder(home) / f"{name}.revoked", remembered.encode())
    (folder(home) / f"{name}.pub").unlink(missing_ok=True)
    return known[name]


def require_own(home: Path, there: dict[str, str], where: str) -> None:
    """Return if this home's operators may replace those that a target has, public keys by name: no operator is put out of office but by
    the home that trusted them.

    Raises:
        ConfigurationError: this home never trusted some of them.
    """
    here = trusted(home)
    lost = [name for name, key in there.items() if key not in (here.get(name), *_revoked(home, name))]
    if lost:
        raise ConfigurationError(
            f"{where} are of another home that {home} does not know: {', '.join(lost)}. Their emergency verdicts would count no more, so "
            f"nothing was touched. Copy that home's keys/operators to {folder(home)} first, or roll out from there; "
            "--set rollout.replace_keys=true replaces them all the same"
        )


def _revoked(home: Path, name: str) -> list[str]:
    path = folder(home) / f"{name}.revoked"
    return path.read_text(encoding="ascii", errors="replace").split() if path.is_file() else []


def private(file: Path) -> "signing.PrivateKey":
    """An operator's private key.

    Raises:
        ConfigurationError: it is not there, no Ed25519 key, or others than its owner can read it.
    """
    if not file.exists():
        raise ConfigurationError(
            f"there is no private key at {file}; ./tingsu keys operator NAME makes one, or name yours with --key FILE"
        )
    if file.is_file() and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"{file} can be read by others than its owner; chmod 600 {file}")
    return signing.private_key(file)


def _named(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise ConfigurationError(
            f"operator {name!r} is not a name; it has up to 64 letters, digits, '.', '_' and '-', and begins with a "
            "letter or digit"
        )
    return name
