"""Who may ask what: API keys, their scopes and their rates, as `deploy/keys.py` keeps them; changes count at once."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from urllib.parse import urlsplit

from data_contracts.errors import ConfigurationError
from deploy import keys
from deploy.keys import ApiKey, KeyFile, Scope
from deploy.service.problems import Refused

log = logging.getLogger(__name__)
OPEN = frozenset({"/health", "/ready"})
"""Asked by load balancers and orchestrators, which hold no key."""
SCOPES_OF: Mapping[str, tuple[Scope, ...]] = {
    "/api/v1/classify": ("classify",),
    "/api/v1/inference": ("generate",),
    "/generate": ("generate",),
    "/thinking": ("generate",),
    "/v1/chat/completions": ("classify", "generate"),
    "/metrics": ("metrics", "admin"),
    "/admin/reload": ("admin",),
    "/admin/candidate": ("admin",),
    "/admin/previous": ("admin",),
}
"""One of these is needed; which of a text's two is known when the request is read. Any other path needs a key of any scope."""


@dataclass
class _Bucket:
    """Tokens come back at the key's rate; at most a second's worth, and one at least, is saved up."""

    rate_per_s: float
    left: float
    at_s: float

    def take(self, now_s: float) -> float:
        """Take one token; 0, or the seconds until there is one."""
        self.left = min(max(1.0, self.rate_per_s), self.left + (now_s - self.at_s) * self.rate_per_s)
        self.at_s = now_s
        if self.left < 1:
            return (1 - self.left) / self.rate_per_s
        self.left -= 1
        return 0.0


@dataclass
class Access:
    """The door of one service. `is_public`: others than this machine reach it, so it is never open. `needed`: path → scopes."""

    home: Path
    is_public: bool
    needed: Mapping[str, tuple[Scope, ...]] = field(default_factory=lambda: SCOPES_OF)
    clock: Callable[[], float] = time.monotonic
    _seen: tuple[object, ...] = ()
    _kept: KeyFile | None = None
    _machine: ApiKey | None = None
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether everybody who reaches it may ask: no key was ever made, and only this machine reaches it."""
        self._look()
        return self._kept is None and not self.is_public

    def admit(self, path: str, headers: Mapping[bytes, str]) -> ApiKey | None:
        """Return the caller's key, None where none is needed.

        Raises:
            Refused: no key, an unknown one, one without the scope, or too many requests with it; where no key is needed, a
                request by another name than this machine's: of a page in a browser whose name was made to point here.
        """
        if path in OPEN:
            return None
        if self.is_open:
            _require_loopback(headers.get(b"host", ""))
            return None
        key = self._known(_shown(headers))
        needed = self.needed.get(path)
        if needed is not None and not set(needed) & set(key.scopes):
            raise Refused(403, "scope_missing", path=path, scope=needed[0], scopes=", ".join(key.scopes))
        self._count(key)
        return key

    def _known(self, shown: str) -> ApiKey:
        if not shown:
            raise Refused(401, "key_missing")
        kept = self._kept.keys if self._kept else ()
        key = keys.find((*kept, self._machine) if self._machine else kept, shown)
        if key is None:
            raise Refused(401, "key_unknown")
        return key

    def _count(self, key: ApiKey) -> None:
        if key.rate_per_s is None:
            return
        bucket = self._buckets.get(key.digest)
        if bucket is None or bucket.rate_per_s != key.rate_per_s:
            bucket = self._buckets[key.digest] = _Bucket(key.rate_per_s, max(1.0, key.rate_per_s), self.clock())
        wait_s = bucket.take(self.clock())
        if wait_s:
            seconds = ceil(wait_s)
            raise Refused(429, "rate_limited", wait_s, name=key.name, rate=key.rate_per_s, seconds=seconds)

    def _look(self) -> None:
        """Read the files again if they are others than last time; damaged ones leave what held before."""
        now = tuple(_stamp(path) for path in (keys.file(self.home), keys.machine_file(self.home)))
        if now == self._seen:
            return
        self._seen = now
        try:
            self._kept = keys.read(self.home)
            self._machine = _of_machine(self.home)
        except ConfigurationError as error:
            log.error("keys not read again", extra={"reason": str(error)})
            self._kept = self._kept or KeyFile()
            return
        log.info("keys read", extra={"keys": len(self._kept.keys) if self._kept else 0})


def _shown(headers: Mapping[bytes, str]) -> str:
    kind, _, token = headers.get(b"authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else headers.get(b"x-api-key", "").strip()


def _of_machine(home: Path) -> ApiKey | None:
    try:
        shown = keys.machine_file(home).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    if not shown:
        return None
    return ApiKey(name=keys.MACHINE, digest=keys.digest(shown), scopes=keys.SCOPES, created_at="")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _name(host: str) -> str:
    """Without the port; empty where it is no host at all."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _require_loopback(host: str) -> None:
    """Raises: Refused: the Host header names another machine."""
    if not keys.is_loopback(_name(host)):
        raise Refused(403, "host_refused", host=host[:100])
