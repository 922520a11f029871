"""A cluster as a target: two sides of one release of the chart, blue and green, and the traffic between them.

What is wanted is written into the cluster before it is carried out, so that any step can be done again from any machine. The staged
version is applied beside the champion, whose own Deployment is not touched: a new image or setting of the chart is tried on the
candidate as well.
"""

import json
from base64 import b64encode
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import yaml

from configs.rollout import KubernetesSettings
from configs.settings import Settings
from data_contracts.errors import ChampionUnavailable, EngineUnavailable, TingsuError
from deploy import keys, signing
from deploy.client import Client
from deploy.operate import canary_window, trial
from deploy.operate.canary_window import Look
from deploy.operate.trial import Where
from deploy.targets import Change, Placed, Status
from deploy.targets import kubernetes_chart as chart
from deploy.targets import kubernetes_pods as pods
from deploy.targets import kubernetes_sides as record
from deploy.targets import kubernetes_traffic as traffic
from deploy.targets.kubernetes_api import Cluster, Object, connect
from deploy.targets.kubernetes_sides import Name, Sides

OURS = {"app.kubernetes.io/managed-by": "tingsu"}
NOT_ASKED_FOR = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")


class Kubernetes:
    """Blue-green or canary in one namespace, by one kubeconfig; pods are asked through the API server."""

    name = "kubernetes"

    def __init__(
        self, home: Path, settings: Settings, connect: Callable[[KubernetesSettings], Cluster] = connect
    ) -> None:
        """`connect` opens the way to the cluster of the settings; nothing is asked yet."""
        self.can_split = settings.rollout.kubernetes.split != "switch"
        self.home = home
        self.settings = settings
        self.at = settings.rollout.kubernetes
        self.release = chart.name(self.at.release)
        self._connect = connect
        self._cluster: Cluster | None = None

    def open(self) -> Cluster:
        """The cluster; opened at first use, so that a target can be named without one.

        Raises:
            ConfigurationError: see kubernetes_api.connect.
        """
        if self._cluster is None:
            self._cluster = self._connect(self.at)
        return self._cluster

    @property
    def mend(self) -> str:
        return f"look: kubectl -n {self.at.namespace} get pods,services -l app.kubernetes.io/instance={self.release}"

    @property
    def clear(self) -> str:
        return f"helm -n {self.at.namespace} uninstall {self.release}"

    def changes(self, candidate: Placed) -> tuple[Change, ...]:
        """Each object that staging and then switching would make or change, as the API server itself says in a dry run."""
        staged = self._sides().staging(candidate)
        made = [self.open().apply(one, dry_run=True) for one in self._staged(staged)]
        side = staged.holding(candidate) or staged.champion
        made += traffic.route(self.open(), self.release, staged.led_by(side), self.at.split, dry_run=True)
        return tuple(change for one in made if (change := self._change(one)).before != change.after)

    def stage(self, candidate: Placed) -> None:
        """Apply the candidate's side and wait for its pods; the weights of the canary are checked before anything is touched."""
        sides = self._sides().staging(candidate)
        for step in self.settings.rollout.canary.steps if self.can_split and len(traffic.names(sides)) > 1 else ():
            self._rendered(self._weighed(sides, step.weight))
        objects = self._staged(sides)
        record.write(self.open(), self.release, sides)
        for one in objects:
            self.open().apply(one)
        self._wait(sides.holding(candidate) or sides.candidate)

    def verify(self, candidate: Placed) -> None:
        self._check(self._side_of(candidate), candidate, Path(candidate.folder))

    def weigh(self, candidate: Placed, share: float) -> str:
        """So much of the traffic to the candidate; its pods are there before the calls are."""
        self._side_of(candidate)
        sides = self._weighed(self._sides(), share)
        given = self._values()
        record.write(self.open(), self.release, sides)
        self._resize(given, sides, sides.candidate)
        traffic.route(self.open(), self.release, sides, self.at.split)
        if self.at.split == "gateway":
            traffic.wait_accepted(self.open(), self.release)
        self._resize(given, sides, sides.champion)
        return self._endpoint()

    def look(self, candidate: Placed, at_s: float) -> Look:
        """The counters of every ready pod of both sides. A container of the candidate that ended by itself is a fault of it."""
        side = self._side_of(candidate)
        pods.require_no_crash(self.open(), self.release, side)
        try:
            champion = self._counted("green" if side == "blue" else "blue")
        except EngineUnavailable as error:
            raise ChampionUnavailable(str(error)) from error
        candidate_seen = self._counted(side)
        if not candidate_seen:
            self._wait(side, limit_s=self.settings.rollout.verify_timeout_s)  # says why none of them is ready
        if not champion:
            raise ChampionUnavailable(f"no pod of the side of release {self.release} that is live is ready")
        return Look(at_s=at_s, champion=champion, candidate=candidate_seen)

    def switch(self, candidate: Placed) -> str:
        """All of the traffic to the candidate, once it has as many pods as serve now; the side before stays as it was."""
        if self._sides().holding(candidate) is None:
            self.stage(candidate)
        side = self._side_of(candidate)
        sides = self._sides().led_by(side)
        given = self._values()
        self._resize(given, sides, side)
        record.write(self.open(), self.release, sides)
        if not traffic.route(self.open(), self.release, sides, self.at.split):
            for one in filter(traffic.is_entry, self._rendered(sides)):
                self.open().apply(one)
        if self.at.split == "gateway":
            traffic.wait_accepted(self.open(), self.release)
        traffic.entitle(self.open(), self.release, sides)
        self._check(side, candidate)
        if not self.settings.rollout.keep_previous:
            self._withdraw(sides)
        elif not given["autoscaling"]["enabled"]:
            traffic.resize(self.open(), self.release, given, sides, sides.candidate)
        return self._endpoint()

    def undo(self, live: Placed | None, candidate: Placed) -> None:
        """The traffic goes back before anything else, without the chart; then the other side is taken away."""
        sides = self._sides()
        if live is None:
            traffic.close(self.open(), self.release, self.at.split)
            for name in ("blue", "green"):
                traffic.remove(self.open(), self.release, name)
            record.forget(self.open(), self.release)
            return
        side = sides.holding(live)
        if side is None:  # somebody took it away: it is put up again, beside whatever is there
            self.stage(live)
            sides = self._sides()
            side = self._side_of(live)
        back = sides.led_by(side)
        record.write(self.open(), self.release, back)
        traffic.route(self.open(), self.release, back, self.at.split)
        traffic.entitle(self.open(), self.release, back)
        if self.at.split == "replicas":
            self._resize(self._values(), back, side)
        self._check(side, live)
        if sides.is_staged or sides.champion != side:
            self._withdraw(back)

    def held(self, by: str) -> AbstractContextManager[None]:
        return nullcontext()

    def status(self) -> Status:
        try:
            return self._status(self._sides())
        except TingsuError as error:
            return Status(endpoint=self.at.url, serving=None, detail=str(error))

    def _status(self, sides: Sides) -> Status:
        if sides.is_empty:
            return Status(
                endpoint=self._endpoint(), serving=None, detail=f"nothing is installed in {self.at.namespace}"
            )
        told = [self._told(sides, side) for side in traffic.names(sides)]
        found = pods.ready(self.open(), self.release, sides.champion)
        serving = self._info(found[0], "bundle_digest") if found else None
        return Status(endpoint=self._endpoint(), serving=serving, detail="; ".join(told))

    def _told(self, sides: Sides, side: Name) -> str:
        share = 100 - sides.weight if side == sides.champion else sides.weight
        found = len(pods.ready(self.open(), self.release, side))
        return f"{side}: version {sides.of(side).version}, {found} pods ready, {share} % of the traffic"

    def _sides(self) -> Sides:
        return record.read(self.open(), self.release)

    def _side_of(self, placed: Placed) -> Name:
        side = self._sides().holding(placed)
        if side is None:
            raise EngineUnavailable(
                f"version {placed.version} is on neither side of release {self.release} in {self.at.namespace}: somebody changed "
                "it meanwhile. Do the same again"
            )
        return side

    def _weighed(self, sides: Sides, share: float) -> Sides:
        return sides.model_copy(update={"weight": traffic.require_share(self.at.split, share)})

    def _values(self) -> Object:
        return chart.values(self.settings, self.home)

    def _rendered(self, sides: Sides) -> list[Object]:
        return chart.render(self._values(), sides, self.release, self.at.namespace)

    def _staged(self, sides: Sides) -> list[Object]:
        """What staging applies: all but what is the champion's own; the way in only where it leads to something already."""
        is_first = len(traffic.names(sides)) == 1
        untouched = "" if is_first else sides.champion
        made = [one for one in self._rendered(sides) if one["metadata"]["labels"].get(traffic.SIDE) != untouched]
        skipped = [one for one in made if one["metadata"]["name"] == record.name(self.release)]
        skipped += filter(traffic.is_entry, made) if is_first else []
        return [*self._keys(), *(one for one in made if one not in skipped)]

    def _keys(self) -> list[Object]:
        """The Secret with what pods check verdicts and callers by, unless somebody else made it."""
        name = str(self._values()["keys"]["secret"])
        there = self.open().get("v1", "Secret", name)
        if there is not None and not OURS.items() <= there["metadata"].get("labels", {}).items():
            return []
        held = {"gate.pub": signing.public_key(self.home), "service.json": keys.shared(self.home)}
        data = {key: b64encode(text.encode()).decode() for key, text in held.items()}
        metadata = {"name": name, "namespace": self.at.namespace, "labels": OURS}
        return [{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}]

    def _wait(self, side: Name, limit_s: float | None = None) -> None:
        limit_s = limit_s or self.at.start_timeout_s
        pods.wait(self.open(), self.release, f"{self.release}-{side}", side, limit_s)

    def _resize(self, given: Object, sides: Sides, side: Name) -> None:
        traffic.resize(self.open(), self.release, given, sides, side)
        self._wait(side)

    def _withdraw(self, sides: Sides) -> None:
        """Take the side away that has no traffic."""
        alone = sides.without(sides.candidate)
        record.write(self.open(), self.release, alone)
        traffic.route(self.open(), self.release, alone, self.at.split)
        traffic.remove(self.open(), self.release, sides.candidate)

    def _key(self) -> str:
        return keys.chosen(self.home, "http://127.0.0.1") or keys.own(self.home)

    def _reach(self, pod: Object) -> AbstractContextManager[str]:
        """The address of a pod's service for as long as the block runs."""
        (service,) = (one for one in pod["spec"]["containers"] if one["name"] == "service")
        return self.open().forward(pod["metadata"]["name"], int(service["ports"][0]["containerPort"]))

    def _check(self, side: Name, placed: Placed, folder: Path | None = None) -> None:
        """Every endpoint of every pod; with the bundle's folder, of the first one also what the bundle says it answers, and a load."""
        found = pods.ready(self.open(), self.release, side)
        if not found:
            self._wait(side)
            found = pods.ready(self.open(), self.release, side)
        limit_s = self.settings.rollout.verify_timeout_s
        for pod in found:
            with self._reach(pod) as url:
                where = Where(url, self._key())
                try:
                    if folder is not None and pod is found[0]:
                        trial.require(where, folder, placed.bundle_digest, limit_s)
                    else:
                        trial.endpoints(where, placed.bundle_digest, limit_s)
                except EngineUnavailable as error:
                    name = f"pod {pod['metadata']['name']} in {self.at.namespace}"
                    raise EngineUnavailable(f"version {placed.version} in {name} fails its check: {error}") from error

    def _counted(self, side: Name) -> dict[str, canary_window.Counted]:
        """By the names of the pods. One that was taken away between being found and being asked is left out."""
        found = {}
        for pod in pods.ready(self.open(), self.release, side):
            name = str(pod["metadata"]["name"])
            try:
                with self._reach(pod) as url, Client(url, key=self._key()) as client:
                    found[name] = canary_window.read(client)
            except EngineUnavailable:
                if any(one["metadata"]["name"] == name for one in pods.ready(self.open(), self.release, side)):
                    raise
        return found

    def _info(self, pod: Object, field: str) -> str:
        with self._reach(pod) as url, Client(url, key=self._key()) as client:
            return str(client.model_info()[field])

    def _endpoint(self) -> str:
        entry = None if self.at.url else self.open().get("v1", "Service", self.release)
        port = entry["spec"]["ports"][0]["port"] if entry else 8000
        return self.at.url or f"http://{self.release}.{self.at.namespace}.svc:{port}"

    def _change(self, after: Object) -> Change:
        before = self.open().get(after["apiVersion"], after["kind"], after["metadata"]["name"])
        what = f"{after['kind']}/{after['metadata']['name']}"
        return Change(what=what, before=_text(before) if before else "", after=_text(after))


def _text(made: Object) -> str:
    """As it is asked for: without what the API server adds, and of a Secret no more than how long it is."""
    found = json.loads(json.dumps(made))
    found.pop("status", None)
    for name in NOT_ASKED_FOR:
        found["metadata"].pop(name, None)
    if found["kind"] == "Secret":
        found["data"] = {key: f"{len(text)} characters" for key, text in found.get("data", {}).items()}
    return yaml.safe_dump(found, sort_keys=True, allow_unicode=True)
