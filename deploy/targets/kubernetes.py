"""A cluster as a target: two sides of one release of the chart, blue and green, and the traffic between them.

What is wanted is written into the cluster before it is carried out, so that any step can be done again from any machine. The staged
version is applied beside the champion, whose own Deployment is not touched: a new image or setting of the chart is tried on the
candidate as well.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path

from configs.rollout import KubernetesSettings
from configs.settings import Settings
from data_contracts.errors import ChampionUnavailable, EngineUnavailable, TingsuError
from deploy.operate.canary_window import Counted, Look
from deploy.targets import Change, Placed, Status
from deploy.targets import kubernetes_asked as asked
from deploy.targets import kubernetes_chart as chart
from deploy.targets import kubernetes_keys as keys
from deploy.targets import kubernetes_plan as plan
from deploy.targets import kubernetes_pods as pods
from deploy.targets import kubernetes_sides as record
from deploy.targets import kubernetes_traffic as traffic
from deploy.targets.kubernetes_api import Cluster, Object, connect
from deploy.targets.kubernetes_lease import Lease
from deploy.targets.kubernetes_sides import Name, Sides


class Kubernetes:
    """Blue-green or canary in one namespace, by one kubeconfig; pods are asked through the API server."""

    name = "kubernetes"

    def __init__(
        self, home: Path, settings: Settings, connect: Callable[[KubernetesSettings], Cluster] = connect
    ) -> None:
        """`connect` opens the way to the cluster of the settings; nothing is asked yet."""
        self.home = home
        self.settings = settings
        self.at = settings.rollout.kubernetes
        self.release = self.at.release
        self._connect = connect
        self._cluster: Cluster | None = None
        self._lease: Lease | None = None

    @contextmanager
    def held(self, by: str) -> Iterator[None]:
        """No other home rolls out to the release while the block runs.

        Raises:
            Busy: one does; says who, and since when.
            ConfigurationError, EngineUnavailable: the cluster refuses, or does not answer.
        """
        self._lease = Lease(self.open(), self.release, self.home, by)
        try:
            with self._lease.held():
                yield
        finally:
            self._lease = None

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
        kinds = "all,configmap,networkpolicy,pdb" + (",httproute" if self.at.split == "gateway" else "")
        made_by_us = f"kubectl -n {self.at.namespace} delete {kinds} -l app.kubernetes.io/instance={self.release}"
        return f"helm -n {self.at.namespace} uninstall {self.release} if Helm put it there, else {made_by_us}"

    def changes(self, candidate: Placed) -> tuple[Change, ...]:
        """Each object that staging and then switching would make or change, as the API server itself says in a dry run."""
        staged = self._sides().staging(candidate)
        led = staged.led_by(staged.holding(candidate) or staged.champion)
        wanted = [*self._staged(staged), *filter(traffic.is_entry, self._rendered(led))]
        made = [self.open().apply(one, dry_run=True) for one in wanted]
        return tuple(one for one in (plan.change(self.open(), made_so) for made_so in made) if one.before != one.after)

    def unsplit(self, candidate: Placed) -> str:
        return "rollout.kubernetes.split is switch" if self.at.split == "switch" else ""

    def stage(self, candidate: Placed) -> None:
        """Apply the candidate's side and wait for its pods; the weights of the canary are checked before anything is touched. The way in
        stays as it is, but for its shares.

        Raises:
            ConfigurationError: the values are wrong, or give the entry another port.
        """
        sides = self._sides().staging(candidate)
        splits = self.at.split != "switch" and len(traffic.names(sides)) > 1
        for step in self.settings.rollout.canary.steps if splits else ():
            self._rendered(self._weighed(sides, step.weight))
        objects = self._staged(sides)
        traffic.require_port(self.open(), self.release, int(self._values()["port"]))
        self._write(sides)
        for one in objects:
            self.open().apply(one)
        traffic.route(self.open(), self.release, sides, self.at.split)
        self._wait(sides.holding(candidate) or sides.candidate)

    def verify(self, candidate: Placed) -> None:
        self._check(self._side_of(candidate), candidate, Path(candidate.folder))

    def weigh(self, candidate: Placed, share: float) -> str:
        """So much of the traffic to the candidate; its pods are there before the calls are."""
        self._side_of(candidate)
        sides = self._weighed(self._sides(), share)
        given = self._values()
        self._write(sides)
        self._resize(given, sides, sides.candidate)
        traffic.route(self.open(), self.release, sides, self.at.split)
        traffic.wait_accepted(self.open(), self.release, self.at.split)
        self._resize(given, sides, sides.champion)
        self._mirror(sides.champion, self.settings.rollout.canary.mirror_share)
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
        """All of the traffic to the candidate, once it has as many pods as serve now, or to a side that was kept, as its pods come; the
        side before stays as it was."""
        if self._sides().holding(candidate) is None:
            self.stage(candidate)
        side = self._side_of(candidate)
        sides, given = self._sides(), self._values()
        if sides.is_staged:
            self._resize(given, sides.led_by(side), side)
        sides = self._led(sides, side)
        traffic.make_way_in(self.open(), self.release, self._rendered(sides), self.at.split)
        self._check(side, candidate)
        if not self.settings.rollout.keep_previous:
            self._withdraw(sides)
        elif not given["autoscaling"]["enabled"]:
            for one in traffic.names(sides):
                traffic.resize(self.open(), self.release, given, sides, one)
        return self._endpoint()

    def undo(self, live: Placed | None, candidate: Placed) -> None:
        """The traffic goes back before anything else, without the chart; then the other side is taken away. What was not staged for
        this candidate is left alone."""
        if live is None:
            self._unstage(candidate)
            return
        side = self._sides().holding(live)
        if side is None:  # somebody took it away: it is put up again, beside whatever is there
            self.stage(live)
            side = self._side_of(live)
        sides = self._sides()
        back = self._led(sides, side)
        if self.at.split == "replicas":
            self._resize(self._values(), back, side)
        self._check(side, live)
        if sides.is_staged or sides.champion != side or sides.holding(candidate) == back.candidate:
            self._withdraw(back)

    def _unstage(self, candidate: Placed) -> None:
        """As it was before this candidate came, where nobody knows what served: this home never rolled out here."""
        sides = self._sides()
        if sides.holding(candidate) is None or sides.before is None:
            return
        if sides.before != "neither":
            self._withdraw(self._led(sides, sides.before))
            return
        self._require_held()
        traffic.close(self.open(), self.release, self.at.split)
        for name in ("blue", "green"):
            traffic.remove(self.open(), self.release, name)
        record.forget(self.open(), self.release)

    def status(self) -> Status:
        try:
            return self._status(self._sides())
        except TingsuError as error:
            return Status(endpoint=self.at.url, serving=None, detail=str(error), untold=str(error))

    def _status(self, sides: Sides) -> Status:
        if sides.is_silent:
            return Status(endpoint=self._endpoint(), serving=None, detail=f"nothing serves in {self.at.namespace}")
        told = [self._told(sides, side) for side in traffic.names(sides)]
        found = pods.ready(self.open(), self.release, sides.champion)
        serving = asked.info(self.open(), self.home, found[0], "bundle_digest") if found else None
        silent = f"no pod of side {sides.champion}, which has the traffic, is ready; wait until one is, or end it: {self.clear}"
        return Status(
            endpoint=self._endpoint(), serving=serving, detail="; ".join(told), untold="" if found else silent
        )

    def _told(self, sides: Sides, side: Name) -> str:
        found = len(pods.ready(self.open(), self.release, side))
        return f"{side}: version {sides.of(side).version}, {found} pods ready, {sides.share(side)} % of the traffic"

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
        """What staging applies: all but the way in and what is the champion's own."""
        untouched = "" if len(traffic.names(sides)) == 1 else sides.champion
        made = [one for one in self._rendered(sides) if one["metadata"]["labels"].get(traffic.SIDE) != untouched]
        name, replace = str(self._values()["keys"]["secret"]), self.settings.rollout.replace_keys
        secret = keys.secret(self.open(), self.home, name, replace)
        its, annotations = record.name(self.release), record.helms(self.open(), self.release)
        ours = [one for one in made if not traffic.is_entry(one) and one["metadata"]["name"] != its]
        for one in ours if annotations else ():
            one["metadata"]["annotations"] = one["metadata"].get("annotations", {}) | annotations
        return [*secret, *ours]

    def _require_held(self) -> None:
        if self._lease is not None:
            self._lease.require()

    def _write(self, sides: Sides) -> None:
        self._require_held()
        record.write(self.open(), self.release, sides)

    def _wait(self, side: Name, limit_s: float | None = None) -> None:
        limit_s = limit_s or self.at.start_timeout_s
        pods.wait(self.open(), self.release, f"{self.release}-{side}", side, limit_s)

    def _resize(self, given: Object, sides: Sides, side: Name) -> None:
        """As many pods as its share of the traffic needs. What scales by itself gets at least its share of those that serve now."""
        if given["autoscaling"]["enabled"]:
            other: Name = "green" if side == "blue" else "blue"
            least = ceil(sides.share(side) / 100 * len(pods.ready(self.open(), self.release, other)))
            traffic.hold(self.open(), self.release, side, least)
        else:
            traffic.resize(self.open(), self.release, given, sides, side)
        self._wait(side)

    def _led(self, sides: Sides, side: Name) -> Sides:
        """With all of the traffic on this side: carried out."""
        self._require_held()
        led = traffic.lead(self.open(), self.release, sides, side, self.at.split, self.at.start_timeout_s)
        traffic.entitle(self.open(), self.release, led)
        for name in traffic.names(led):
            self._mirror(name, 0.0)
        traffic.let_go(self.open(), self.release)
        return led

    def _withdraw(self, sides: Sides) -> None:
        """Take the side away that has no traffic, once nobody sends it any."""
        alone = sides.without(sides.candidate)
        if traffic.route(self.open(), self.release, alone, self.at.split):
            traffic.wait_accepted(self.open(), self.release, self.at.split)
        traffic.remove(self.open(), self.release, sides.candidate)
        self._write(alone)

    def _mirror(self, live: Name, share: float) -> None:
        asked.mirror(self.open(), self.home, self.release, live, share)

    def _check(self, side: Name, placed: Placed, folder: Path | None = None) -> None:
        found = pods.ready(self.open(), self.release, side)
        if not found:
            self._wait(side)
            found = pods.ready(self.open(), self.release, side)
        asked.check(self.open(), self.home, found, placed, self.settings.rollout.verify_timeout_s, folder)

    def _counted(self, side: Name) -> dict[str, Counted]:
        return asked.counted(self.open(), self.home, self.release, side)

    def _endpoint(self) -> str:
        entry = None if self.at.url else self.open().get("v1", "Service", self.release)
        port = entry["spec"]["ports"][0]["port"] if entry else 8000
        return self.at.url or f"http://{self.release}.{self.at.namespace}.svc:{port}"
