"""API keys of the service: who may call it, for what, and how often. `<home>/keys/service.json` (0600) keeps hashes only.

A key is 256 random bits, so one SHA-256 of it cannot be guessed back; a slow hash would only slow every request down.
While the file exists the service asks for a key, also once the last one is revoked; without it, it is open on loopback.

The product's own commands use the machine key of the home, which only its owner can read and who could write the key
file as well: nothing has to be handed round for rollouts and benchmarks to go on working when keys come into use.
"""

import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from data_contracts.errors import ConfigurationError
from data_contracts.schema import Frozen
from deploy.operate import lock
from deploy.store import create_once, write_atomically

Scope = Literal["classify", "generate", "metrics", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
MACHINE = "this-machine"
VARIABLE = "TINGSU_API_KEY"


class ApiKey(Frozen):
    """One key as it is kept. `rate_per_s`: requests a second, None for no limit."""

    name: str = Field(pattern=NAME)
    digest: str
    scopes: tuple[Scope, ...] = Field(min_length=1)
    rate_per_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    created_at: str


class KeyFile(Frozen):
    """What `service.json` holds. `owner`: random, the same in all copies of one home's file."""

    keys: tuple[ApiKey, ...] = ()
    owner: str = ""


def file(home: Path) -> Path:
    """Where the hashes are."""
    return home / "keys/service.json"


def machine_file(home: Path) -> Path:
    """Where the machine key is, itself and not its hash."""
    return home / "keys/machine.key"


def read(home: Path) -> KeyFile | None:
    """The keys; None if none was ever made.

    Raises:
        ConfigurationError: the file is damaged or not readable.
    """
    path = file(home)
    try:
        return KeyFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise ConfigurationError(
            f"{path} cannot be read as the service's keys; restore it from your backup, or move it away and "
            "make new keys: ./tingsu keys add NAME"
        ) from error


def add(home: Path, name: str, scopes: Sequence[str], rate_per_s: float | None = None) -> str:
    """Make a key and keep its hash; returns the key, which nobody can show again.

    Raises:
        ConfigurationError: the name is taken or not a name, a scope is unknown, or the rate is not above 0.
    """
    shown = f"tsk_{secrets.token_urlsafe(32)}"
    at = datetime.now(UTC).isoformat(timespec="seconds")
    fields = {"name": name, "digest": digest(shown), "scopes": scopes, "rate_per_s": rate_per_s, "created_at": at}
    try:
        made = ApiKey.model_validate(fields)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, fields)) from error
    with lock.held(_lock(home)):
        kept = read(home) or KeyFile()
        if name == MACHINE or any(key.name == name for key in kept.keys):
            raise ConfigurationError(f"key name {name!r} is taken; choose another, or ./tingsu keys revoke {name}")
        _write(home, kept, (*kept.keys, made))
    return shown


def revoke(home: Path, name: str) -> int:
    """Forget a key at once; returns how many are left.

    Raises:
        ConfigurationError: there is no key of this name.
    """
    with lock.held(_lock(home)):
        kept = read(home) or KeyFile()
        left = tuple(key for key in kept.keys if key.name != name)
        if len(left) == len(kept.keys):
            known = ", ".join(key.name for key in kept.keys) or "none"
            raise ConfigurationError(f"there is no key {name!r}; there are: {known}")
        _write(home, kept, left)
    return len(left)


def digest(shown: str) -> str:
    """The hash under which a key is kept."""
    return hashlib.sha256(shown.encode()).hexdigest()


def find(keys: Sequence[ApiKey], shown: str) -> ApiKey | None:
    """The key shown, compared with every one in constant time."""
    given = digest(shown)
    found = [key for key in keys if hmac.compare_digest(key.digest, given)]
    return found[0] if found else None


def machine(home: Path) -> str | None:
    """The key of this home's own commands, made at first use; None while the service asks for none.

    Raises:
        ResourceInsufficient, StoreUnavailable: the disk is full or not writable.
    """
    return own(home) if file(home).exists() else None


def own(home: Path) -> str:
    """The machine key, whether or not the service here asks for one.

    Raises:
        ResourceInsufficient, StoreUnavailable: the disk is full or not writable.
    """
    return _made(machine_file(home))


def of_pods(home: Path) -> str:
    """The machine key of the homes that are mounted elsewhere: the services there show it to each other, when a candidate is asked too
    what the champion has answered. Not this home's own, which only its owner has.

    Raises:
        ResourceInsufficient, StoreUnavailable: the disk is full or not writable.
    """
    return _made(home / "keys/pods.key")


def shared(home: Path) -> str:
    """`service.json` for services elsewhere: the keys of this home, and its machine key, so that its commands are let in there.

    Raises:
        ConfigurationError: the file is damaged or not readable.
    """
    kept = read(home) or KeyFile()
    machine = ApiKey(name=MACHINE, digest=digest(own(home)), scopes=SCOPES, created_at="")
    return kept.model_copy(update={"keys": (*kept.keys, machine)}).model_dump_json(indent=1)


def require_own(home: Path, there: str, where: str) -> None:
    """Return if this home's keys may replace those that a target has, the text of a `service.json` or nothing: no caller is shut out
    but by the home that let it in.

    Raises:
        ConfigurationError: they are another home's, and callers have some that this home does not know; or a file is damaged.
    """
    try:
        found = KeyFile.model_validate_json(there) if there.strip() else KeyFile()
    except ValidationError:
        return  # of no use to any caller
    kept = read(home) or KeyFile()
    known = {key.digest for key in kept.keys}
    lost = ", ".join(key.name for key in found.keys if key.name != MACHINE and key.digest not in known)
    if lost and found.owner and found.owner != kept.owner:
        raise ConfigurationError(
            f"{where} lets callers in by keys of another home that {home} does not know: {lost}. They would be refused from now on, so "
            f"nothing was touched. Copy that home's keys/service.json, machine.key and operators to {file(home).parent} first, or roll out "
            "from there; --set rollout.replace_keys=true replaces them all the same"
        )


def chosen(home: Path, url: str, env: Mapping[str, str] = os.environ) -> str | None:
    """The key to show at an address: `TINGSU_API_KEY`, else the machine key, which never leaves this machine."""
    return env.get(VARIABLE) or (machine(home) if _is_here(url) else None)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host name or address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_here(url: str) -> bool:
    """Whether the address is one of this machine's own. A name other than `localhost` is not: its owner may move it."""
    import psutil

    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    own = {found.address for card in psutil.net_if_addrs().values() for found in card}
    return is_loopback(host) or host in own


def _made(path: Path) -> str:
    if not path.exists():
        create_once(path, f"tsk_{secrets.token_urlsafe(32)}".encode())
    return path.read_text(encoding="ascii").strip()


def _lock(home: Path) -> Path:
    folder = file(home).parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / ".service.lock"


def _write(home: Path, kept: KeyFile, keys: tuple[ApiKey, ...]) -> None:
    made = KeyFile(keys=keys, owner=kept.owner or secrets.token_hex(8))
    write_atomically(file(home), made.model_dump_json(indent=1).encode())


def _explain(error: ValidationError, fields: Mapping[str, object]) -> str:
    wrong = str(error.errors()[0]["loc"][0])
    allowed = {
        "name": "a name has up to 64 letters, digits, '.', '_' and '-', and begins with a letter or digit",
        "scopes": f"allowed: {', '.join(SCOPES)}, separated by commas",
        "rate_per_s": "requests a second, a number above 0 such as 5/s",
    }
    return f"{wrong} {fields[wrong]!r} of the key is not right; {allowed[wrong]}"
