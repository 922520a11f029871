"""Verdicts are signed with Ed25519, so that a service can tell the gate's answer from anybody else's.

The private key lies in `<home>/keys/gate.pem` (0600) where the gate runs; a server needs only `<home>/keys/gate.pub`.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from data_contracts.artifacts import Emergency, GenerationVerdict, Verdict
from data_contracts.errors import ConfigurationError, GateRefused
from data_contracts.messages import told
from deploy.store import create_once, write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    PrivateKey = Ed25519PrivateKey

AnyVerdict = Verdict | GenerationVerdict | Emergency
Signed = TypeVar("Signed", Verdict, GenerationVerdict, Emergency)


def keypair(home: Path) -> "Ed25519PrivateKey":
    """The gate's key of this home, made on first use; two first uses at once agree on one key.

    Raises:
        ResourceInsufficient, StoreUnavailable: the disk is full, or the keys folder not writable.
        ConfigurationError: the key file is not an Ed25519 key.
    """
    path = home / "keys/gate.pem"
    if not path.exists():
        create(path)
    key = private_key(path)
    if not path.with_suffix(".pub").exists():
        write_atomically(path.with_suffix(".pub"), public_part(key).encode() + b"\n")
    return key


def private_key(path: Path) -> "Ed25519PrivateKey":
    """The key in a file.

    Raises:
        ConfigurationError: it is not there, or not an Ed25519 key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{path} cannot be read as a private key; restore it from your backup") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{path} is a {type(key).__name__}, not an Ed25519 key; restore it from your backup")
    return key


def public_key(home: Path) -> str:
    """The key (base64) whose verdicts this home trusts.

    Raises:
        ConfigurationError: there is none.
    """
    path = home / "keys/gate.pub"
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} is missing or unreadable, so no verdict can be checked; "
            "copy gate.pub from the machine where the gate ran"
        ) from error


def sign(verdict: Signed, key: "Ed25519PrivateKey") -> Signed:
    """The verdict with the public key and the signature over everything in it."""
    full = type(verdict).model_validate_json(
        verdict.model_copy(update={"public_key": public_part(key)}).model_dump_json()
    )
    return full.model_copy(update={"signature": base64.b64encode(key.sign(payload(full))).decode()})


def verify(verdict: AnyVerdict, bundle_digest: str, public_key: str) -> None:
    """Return if this verdict says PROMOTE of this bundle and was signed by this key.

    Raises:
        GateRefused: says which of the three does not hold.
    """
    authenticate(verdict, bundle_digest, public_key)
    if verdict.decision != "PROMOTE":
        raise GateRefused(told("verdict_not_promote", bundle=verdict.bundle_digest[:12], decision=verdict.decision))


def authenticate(verdict: AnyVerdict, bundle_digest: str, public_key: str) -> None:
    """Return if this verdict, whatever it says, is of this bundle and was signed by this key.

    Raises:
        GateRefused: says which of the two does not hold.
    """
    bundle = verdict.bundle_digest[:12]
    if not verdict.signature or verdict.public_key != public_key:
        raise GateRefused(told("verdict_other_key", bundle=bundle, key=public_key[:12]))
    if not is_signed(verdict, public_key):
        raise GateRefused(told("verdict_edited", bundle=bundle))
    if verdict.bundle_digest != bundle_digest:
        raise GateRefused(told("verdict_of_other", bundle=bundle, other=bundle_digest[:12]))


def verdict_id(verdict: AnyVerdict) -> str:
    """A short name of one signed verdict, for answers and logs."""
    return hashlib.sha256(verdict.signature.encode()).hexdigest()[:16]


def is_signed(verdict: AnyVerdict, public_key: str) -> bool:
    """Whether the signature is this key's (base64) over everything else that it says."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
        key.verify(base64.b64decode(verdict.signature, validate=True), payload(verdict))
    except (InvalidSignature, ValueError):
        return False
    return True


def payload(verdict: AnyVerdict) -> bytes:
    """What is signed. Fields that a later release adds with a default are absent from older verdicts and from this."""
    fields = verdict.model_dump(mode="json", exclude={"signature"}, exclude_unset=True)
    return json.dumps(fields, sort_keys=True, ensure_ascii=False).encode()


def public_part(key: "Ed25519PrivateKey") -> str:
    """Its public key, base64."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def create(path: Path) -> None:
    """A new private key (0600), unless there is a file of this name.

    Raises:
        ResourceInsufficient, StoreUnavailable: the disk is full, or the folder not writable.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    create_once(path, pem)
