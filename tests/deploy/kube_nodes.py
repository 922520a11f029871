"""What else there is in a cluster: Deployments that make pods, an autoscaler's minimum, a Gateway, names, callers."""

import copy
import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from deploy.store import write_atomically
from tests.deploy.kube_objects import Object
from tests.deploy.kube_server import NAMESPACE, Server

SIDE = "tingsu.io/side"
CALL = {"text": "客户：上个月多扣了我三十块钱。"}
Status = dict[str, Any]
Fault = Callable[[Object], Status | None]
"""What a pod's status is instead, if it does not start."""
READY: Status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def waiting(container: str, reason: str, message: str = "", kind: str = "containerStatuses", **more: Any) -> Status:
    state = {"name": container, "state": {"waiting": {"reason": reason, "message": message}}, **more}
    return {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}], kind: [state]}


@dataclass
class Nodes:
    """Runs what the server holds. `start` makes a pod's service and returns its port; `fault` may stop one from starting. `names`: the
    file by which pods find each other's Services, see `kube_kubelet`. `forbidden`: why no pod more is made."""

    server: Server
    start: Callable[[Object], int]
    stop: Callable[[str], None] = lambda name: None
    fault: Fault = lambda pod: None
    ports: dict[str, int] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)
    names: Path | None = None
    forbidden: str = ""

    def run(self) -> None:
        seen = -1
        while not self.ended.wait(0.02):
            if seen != self.server.turn:
                seen = self.server.turn
                self.turn()

    def turn(self) -> None:
        """One look of every controller at everything."""
        server = self.server
        for name, made in server.of("deployments").items():
            self._scale(name)
            self._deploy(name, made)
        wanted = {made["metadata"]["uid"] for made in server.of("deployments").values()}
        for name, pod in server.of("pods").items():
            if pod["metadata"]["owner"] not in wanted:
                self._end(name)
        self._accept()
        self._publish()

    def _publish(self) -> None:
        """As DNS and kube-proxy together: each Service leads to one of its pods."""
        if self.names is None:
            return
        found = {}
        for name, made in self.server.of("services").items():
            ready = self._selected(made["spec"]["selector"])
            if ready:
                found[f"{name}.{NAMESPACE}.svc"] = self.ports[ready[0]]
        write_atomically(self.names, json.dumps(found).encode())

    def _selected(self, selector: dict[str, str]) -> list[str]:
        pods = self.server.of("pods").items()
        return sorted(
            n
            for n, p in pods
            if selector.items() <= p["metadata"]["labels"].items() and p["status"] == READY and n in self.ports
        )

    def _scale(self, name: str) -> None:
        scaler = self.server.of("horizontalpodautoscalers").get(name)
        with self.server.lock:
            live = self.server.objects.get(("apps/v1", "deployments", name))
            if scaler and live and live["spec"]["replicas"] < scaler["spec"]["minReplicas"]:
                live["spec"]["replicas"] = scaler["spec"]["minReplicas"]
                live["metadata"]["generation"] += 1
                self.server.turn += 1  # there is something new to look at, once this look is over

    def _deploy(self, name: str, made: Object) -> None:
        template = made["spec"]["template"]
        digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:8]
        mine = {n: p for n, p in self.server.of("pods").items() if p["metadata"]["owner"] == made["metadata"]["uid"]}
        new = {n: p for n, p in mine.items() if p["metadata"]["labels"]["pod-template-hash"] == digest}
        count = made["spec"]["replicas"]
        for number in range(count):
            if f"{name}-{digest}-{number}" not in new and not self.forbidden:
                self._begin(f"{name}-{digest}-{number}", made, template, digest)
        ready = [n for n, p in new.items() if p["status"] == READY]
        for extra in sorted(new)[count:]:
            self._end(extra)
        if len(ready) >= count:
            for old in mine.keys() - new.keys():
                self._end(old)
        status: Status = {
            "observedGeneration": made["metadata"]["generation"],
            "replicas": len(mine),
            "updatedReplicas": min(len(new), count),
            "availableReplicas": min(len(ready), count),
        }
        if self.forbidden and len(new) < count:
            status["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": self.forbidden}]
        with self.server.lock:
            live = self.server.objects.get(("apps/v1", "deployments", name))
            if live:
                live["status"] = status

    def _begin(self, name: str, made: Object, template: Object, digest: str) -> None:
        labels = {**template["metadata"]["labels"], "pod-template-hash": digest}
        metadata = {"name": name, "labels": labels, "owner": made["metadata"]["uid"]}
        pod: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}
        found = self.fault(pod)
        if found is None:
            self.ports[name] = self.start(pod)
        self.server.put("pods", {**pod, "status": found or READY})

    def _end(self, name: str) -> None:
        self.server.drop("pods", name)
        if self.ports.pop(name, None):
            self.stop(name)

    def _accept(self) -> None:
        with self.server.lock:
            services = {key[2] for key in self.server.objects if key[1] == "services"}
            for key, way in self.server.objects.items():
                if key[1] == "httproutes":
                    refs = {ref["name"] for rule in way["spec"]["rules"] for ref in rule["backendRefs"]}
                    seen = {"observedGeneration": way["metadata"]["generation"], "reason": "r", "message": "m"}
                    resolved = "True" if refs <= services else "False"
                    found = [
                        {"type": "Accepted", "status": "True", **seen},
                        {"type": "ResolvedRefs", "status": resolved, **seen},
                    ]
                    way["status"] = {"parents": [{"conditions": found}]}

    def reach(self, pod: str, port: int) -> int | None:
        return self.ports.get(pod)

    def pick(self, chance: random.Random) -> int | None:
        """The port of the pod that the next request goes to: by the route, else by the entry Service."""
        services, ways = self.server.of("services"), self.server.of("httproutes")
        name = "tingsu"
        if ways:
            (rule,) = ways["tingsu"]["spec"]["rules"]
            name = chance.choices([r["name"] for r in rule["backendRefs"]], [r["weight"] for r in rule["backendRefs"]])[
                0
            ]
        if name not in services:
            return None
        found = self._selected(services[name]["spec"]["selector"])
        return self.ports.get(chance.choice(found)) if found else None


@contextmanager
def running(server: Server, nodes: Nodes) -> Iterator[Nodes]:
    """The controllers, for as long as the block runs."""
    server.forward = nodes.reach
    thread = threading.Thread(target=nodes.run, daemon=True)
    thread.start()
    try:
        yield nodes
    finally:
        nodes.ended.set()
        thread.join(30)
        for name in list(nodes.ports):
            nodes.stop(name)


@dataclass
class Callers:
    """Who calls all the while, by way of the entry; counts what they get by model version."""

    nodes: Nodes
    key: str
    answers: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    paused_s: float = 0.01
    call: dict[str, str] = field(default_factory=lambda: dict(CALL))

    def run(self) -> None:
        chance = random.Random(1)
        with httpx.Client(headers={"Authorization": f"Bearer {self.key}"}, timeout=30) as client:
            while not self.ended.wait(self.paused_s):
                port = self.nodes.pick(chance)
                if port is None:
                    self.failed.append("nobody there")
                    continue
                try:
                    answer = client.post(f"http://127.0.0.1:{port}/api/v1/classify", json=self.call)
                    self.answers[str(answer.json()["model_version"]).partition("+")[0]] += 1
                except (httpx.TransportError, KeyError, ValueError) as error:
                    self.failed.append(repr(error))

    @contextmanager
    def calling(self) -> Iterator["Callers"]:
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.ended.set()
            thread.join(30)
