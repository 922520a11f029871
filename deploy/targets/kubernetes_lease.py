"""One rollout at a time to a release, from whatever home: a Lease in the namespace, renewed while it is held.

Who was killed cannot give it back: the same home takes it at once (its own lock file says that nobody else is at it), another one when
it was not renewed for LASTS_S.
"""

import hashlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from data_contracts.errors import Busy, RolloutFailed, TingsuError
from deploy.store import create_once
from deploy.targets.kubernetes_api import Cluster, Conflict, Object

API = "coordination.k8s.io/v1"
LASTS_S, RENEW_S = 30, 5.0
LOOKS_S = 1.5 * RENEW_S
"""How long a Lease that looks forgotten is watched: clocks differ, and whoever renews it is there."""


class Lease:
    """Of a release, for whoever `by` is in this home."""

    def __init__(self, cluster: Cluster, release: str, home: Path, by: str) -> None:
        self.cluster = cluster
        self.name = f"{release}-rollout"
        self.home_id = _home_id(home)
        self.holder = f"{by} on {socket.gethostname()} (home {self.home_id})"
        self._renewed_s = 0.0

    def require(self) -> None:
        """Return if it is still held.

        Raises:
            RolloutFailed: it could not be renewed for so long that somebody else may hold it.
        """
        silent_s = time.monotonic() - self._renewed_s
        if silent_s > LASTS_S:
            raise RolloutFailed(
                f"Lease {self.name} in {self.cluster.namespace} could not be renewed for {silent_s:.0f} s, and somebody else may roll "
                "out by now; nothing more was touched. See that the API server answers, then do the same again"
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it while the block runs.

        Raises:
            Busy: somebody else holds it; says who, and since when.
        """
        self._take()
        stopped = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(stopped,), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            stopped.set()
            renewing.join()
            self._give_back()

    def _take(self) -> None:
        began_s, now = time.monotonic(), _now()
        spec = {"holderIdentity": self.holder, "leaseDurationSeconds": LASTS_S, "acquireTime": now, "renewTime": now}
        try:
            found = self.cluster.get(API, "Lease", self.name)
            if found is None:
                metadata = {"name": self.name, "namespace": self.cluster.namespace}
                self.cluster.create({"apiVersion": API, "kind": "Lease", "metadata": metadata, "spec": spec})
            else:
                self._require_free(found)
                began_s = time.monotonic()
                version = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}}
                self.cluster.patch(API, "Lease", self.name, {**version, "spec": {**spec, "renewTime": _now()}})
        except Conflict as error:
            raise self._busy(self.cluster.get(API, "Lease", self.name) or {"spec": {}}) from error
        self._renewed_s = began_s

    def _require_free(self, found: Object) -> None:
        held_by = str(found["spec"].get("holderIdentity") or "")
        if not held_by or held_by.endswith(f"(home {self.home_id})"):
            return
        if _silent_s(found) < found["spec"].get("leaseDurationSeconds", LASTS_S):
            raise self._busy(found)
        time.sleep(LOOKS_S)
        again = self.cluster.get(API, "Lease", self.name) or {"spec": {}}
        if again["spec"].get("renewTime") != found["spec"].get("renewTime"):
            raise self._busy(again)

    def _busy(self, found: Object) -> Busy:
        by, since = (found["spec"].get(name) or "?" for name in ("holderIdentity", "acquireTime"))
        return Busy(
            f"a rollout to {self.cluster.namespace} is under way by {by} since {since}; nothing was touched. Run this again when it has "
            f"ended; if its process died, {LASTS_S} s after that"
        )

    def _renew(self, stopped: threading.Event) -> None:
        cluster = self.cluster.beside(RENEW_S)
        while not stopped.wait(RENEW_S):
            began_s = time.monotonic()
            try:
                found = cluster.get(API, "Lease", self.name) or {"metadata": {}, "spec": {}}
                if found["spec"].get("holderIdentity") != self.holder:
                    self._renewed_s = float("-inf")
                    return
                version = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}}
                cluster.patch(API, "Lease", self.name, {**version, "spec": {"renewTime": _now()}})
            except TingsuError:  # it is tried again; `require` says when that is too late
                continue
            self._renewed_s = began_s

    def _give_back(self) -> None:
        """Unless somebody else has it by now. What is not given back runs out."""
        try:
            found = self.cluster.get(API, "Lease", self.name)
            if found is not None and found["spec"].get("holderIdentity") == self.holder:
                version = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}}
                self.cluster.patch(API, "Lease", self.name, {**version, "spec": {"holderIdentity": None}})
        except TingsuError:
            return


def _silent_s(found: Object) -> float:
    """Since it was renewed, by this machine's clock."""
    renewed = datetime.fromisoformat(str(found["spec"].get("renewTime") or "1970-01-01T00:00:00Z"))
    return (datetime.now(UTC) - renewed).total_seconds()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _home_id(home: Path) -> str:
    """Tells this home from every other one: also from a copy of it, and from another machine's of the same path."""
    path = home / "rollouts/home.id"
    if not path.exists():
        create_once(path, secrets.token_hex(16).encode())
    said = f"{path.read_text(encoding='ascii')} {socket.gethostname()} {home.resolve()}"
    return hashlib.sha256(said.encode()).hexdigest()[:8]
