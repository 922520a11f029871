"""A cluster as a target: real services behind an API server, through a rollout, a canary, an undo, and a cut at every write."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from configs.settings import Settings
from data_contracts.errors import ChampionUnavailable, ConfigurationError, EngineUnavailable, RolloutFailed, TingsuError
from deploy import bundle, keys, targets
from deploy.operate import canary_window
from deploy.s3 import S3Store
from deploy.store import FolderStore
from deploy.targets import Placed
from deploy.targets.kubernetes import Kubernetes
from tasks.controller import Controller
from tests import s3_server
from tests.deploy import charts, kube_server, served
from tests.deploy.kube_nodes import READY, SIDE, Callers, Kubelet, Nodes, running, waiting
from tests.deploy.kube_server import NAMESPACE, Server

BUCKET = "kube"


@dataclass
class Cluster:
    """A cluster, the home of the controller and two versions in the bucket its pods fetch from."""

    server: Server
    nodes: Nodes
    home: Path
    versions: tuple[Placed, ...]
    values: dict[str, Any]

    def target(self, **rollout: Any) -> Kubernetes:
        (self.home / "values.yaml").write_text(yaml.safe_dump(self.values))
        at = {
            "kubeconfig": str(self.server.kubeconfig(self.home)),
            "namespace": NAMESPACE,
            "values": ["values.yaml"],
            "start_timeout_s": 120,
            "split": "gateway",
            **rollout.pop("kubernetes", {}),
        }
        return Kubernetes(self.home, Settings.model_validate({"rollout": {"kubernetes": at, **rollout}}))

    def serving(self) -> dict[str, int]:
        """Version → percent of the requests, as the cluster's own objects say."""
        (rule,) = self.server.of("httproutes")["tingsu"]["spec"]["rules"]
        versions = {name: self.version(name) for name in self.server.of("deployments")}
        return {versions[ref["name"]]: ref["weight"] for ref in rule["backendRefs"]}

    def version(self, deployment: str) -> str:
        (container,) = self.server.of("deployments")[deployment]["spec"]["template"]["spec"]["containers"]
        return next(one.removeprefix("--version=") for one in container["args"] if one.startswith("--version="))


def values() -> dict[str, Any]:
    found = charts.values("canary-gateway", replicas=1, autoscaling={"enabled": False})
    for unwanted in ("blue", "green", "rollout", "serviceMonitor", "prometheusRule"):
        del found[unwanted]
    return found


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, tuple[Placed, ...]]]:
    """Home, the bucket's endpoint, and versions 1 and 2."""
    at = tmp_path_factory.mktemp("bucket")
    with s3_server.serving() as endpoint_url, pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.CREDENTIALS.items():
            patch.setenv(name, value)
        local, store = FolderStore(at / "local"), S3Store(f"s3://{BUCKET}/store", endpoint_url, at / "cache")
        store.client.create_bucket(Bucket=BUCKET)
        found = []
        for number in (1, 2):
            ref = served.fake_bundle(local, shift=float(number))
            folder = served.promote(local, ref, at / "home")
            verdict = local.read(f"{ref.key}.attest/{bundle.VERDICT}")
            assert verdict is not None
            shutil.copytree(local.root / ref.key, copy := at / f"copy-{number}")
            store.commit(copy, ref.key)
            store.write(f"{ref.key}.attest/{bundle.VERDICT}", verdict)
            placed = Placed(version=number, bundle_digest=ref.digest, folder=str(folder), verdict_signature="s")
            found.append(placed)
        yield at / "home", endpoint_url, tuple(found)


@pytest.fixture
def real(versions: Any, tmp_path: Path) -> Iterator[Cluster]:
    """Pods are processes: they fetch their bundle and serve it."""
    home, endpoint_url, placed = versions
    given = values()
    given["bundles"] = {"url": f"s3://{BUCKET}/store", "endpointUrl": endpoint_url, "credentialsSecret": "tingsu-s3"}
    with kube_server.serving() as server:
        kubelet = Kubelet(server, tmp_path)
        with running(server, Nodes(server, kubelet.start, kubelet.stop)) as nodes:
            yield Cluster(server, nodes, home, placed, given)


@pytest.fixture
def quick(versions: Any, services: dict[str, int]) -> Iterator[Cluster]:
    """Pods are there at once: behind those of a version stands one service that runs all the while."""
    home, _, placed = versions

    def start(pod: Any) -> int:
        (serving,) = pod["spec"]["containers"]
        return services[next(one for one in placed if f"--version={one.version}" in serving["args"]).bundle_digest]

    with kube_server.serving() as server, running(server, Nodes(server, start)) as nodes:
        yield Cluster(server, nodes, home, placed, values())


@pytest.fixture(scope="module")
def services(versions: Any) -> Iterator[dict[str, int]]:
    """Digest → port of a service of each version."""
    home, _, (one, two) = versions
    with (
        served.serving(Path(one.folder), home, "--version=1") as a,
        served.serving(Path(two.folder), home, "--version=2") as b,
    ):
        yield {of.bundle_digest: httpx.URL(s.ready().url).port or 0 for of, s in ((one, a), (two, b))}


def test_a_release_goes_live_a_canary_gets_its_share_and_an_undo_takes_it_back_without_losing_a_call(
    real: Cluster,
) -> None:
    one, two = real.versions
    key = keys.add(real.home, "caller", ["classify"])
    target = real.target()
    target.stage(one)
    target.verify(one)
    assert "httproutes" not in {k[1] for k in real.server.snapshot()} and target.status().serving == one.bundle_digest
    target.switch(one)
    champion = real.server.of("deployments")["tingsu-blue"]

    with Callers(real.nodes, key).calling() as callers:
        target.stage(two)
        target.verify(two)
        assert real.serving() == {"1": 100, "2": 0} and set(callers.answers) == {"1"}
        target.weigh(two, 0.2)
        before = target.look(two, 0.0)
        until, requests = time.monotonic() + 90, 0
        while requests < 150 and time.monotonic() < until:
            window = canary_window.between(before, target.look(two, 1.0))
            requests = window.champion.requests + window.candidate.requests
        target.switch(two)
        assert real.serving() == {"1": 0, "2": 100}
        assert real.server.of("deployments")["tingsu-blue"]["spec"] == champion["spec"]  # kept, and never touched
        real.server.writes.clear()
        began = time.monotonic()
        target.switch(one)  # as the controller goes back to the version before
        back_s = time.monotonic() - began
        target.switch(two)
        target.undo(one, two)

    assert requests >= 150 and 0.1 < window.candidate.requests / requests < 0.3
    assert callers.failed == [] and min(callers.answers.values()) > 10
    assert back_s < 5
    assert real.serving() == {"1": 100} and list(real.server.of("deployments")) == ["tingsu-blue"]
    assert target.status().serving == one.bundle_digest


@pytest.mark.parametrize("split", ["gateway", "replicas", "switch"])
def test_what_traffic_was_moved_to_is_what_the_chart_renders(quick: Cluster, split: str) -> None:
    one, two = quick.versions
    quick.values["replicas"] = total = 4 if split == "replicas" else 1
    target = quick.target(kubernetes={"split": split})
    target.stage(one)
    target.switch(one)
    target.stage(two)
    shares = [0.25, 0.5] if target.can_split else []

    def differs() -> list[str]:
        made = [target.open().apply(one, dry_run=True) for one in target._rendered(target._sides())]
        return [one.what for one in map(target._change, made) if one.before != one.after]

    for share in shares:
        target.weigh(two, share)
        assert differs() in ([], ["ConfigMap/tingsu-sides"])
        counted = {name: made["spec"]["replicas"] for name, made in quick.server.of("deployments").items()}
        halves = int(4 * share)
        expected = (4 - halves, halves) if split == "replicas" else (total, total)
        assert counted == dict(zip(("tingsu-blue", "tingsu-green"), expected, strict=True))
    target.switch(two)
    assert differs() in ([], ["ConfigMap/tingsu-sides"])
    assert quick.server.of("services")["tingsu"]["spec"]["selector"][SIDE] == "green"
    target.undo(one, two)
    assert differs() in ([], ["ConfigMap/tingsu-sides"])
    assert quick.server.of("services")["tingsu"]["spec"]["selector"][SIDE] == "blue"
    assert sorted(quick.server.of("deployments")) == ["tingsu-blue"]


def test_the_controller_undoes_a_candidate_that_answers_otherwise_and_keeps_the_evidence(
    quick: Cluster, services: dict[str, int]
) -> None:
    one, two = quick.versions
    key = keys.add(quick.home, "crm", ["classify"])
    ports = [services[placed.bundle_digest] for placed in (one, two)]
    text = next(
        t for t in (f"客户：第{i}次来电投诉。" for i in range(99)) if len({category(p, key, t) for p in ports}) == 2
    )
    steps = {"steps": [{"weight": 0.5, "calls": 400}], "look_every_s": 0.2, "latency_ratio": 50}
    target = quick.target(canary=steps)
    settings = target.settings.rollout
    controller = Controller(target, quick.home, "ops", lambda _: None, settings, lambda _: served.TAXONOMY.keys)
    controller.rollout(one)

    callers = Callers(quick.nodes, key, call={"text": text})
    with callers.calling(), pytest.raises(RolloutFailed, match="category"):
        controller.rollout(two)
    record = targets.read(quick.home, "kubernetes")

    assert [step.state for step in record.steps][:3] == ["planned", "staged", "verified"] and record.state == "undone"
    assert record.live == one and record.canary is not None
    assert quick.serving() == {"1": 100} and callers.failed == [] and set(callers.answers) == {"1", "2"}


def category(port: int, key: str, text: str) -> str:
    """What a service answers."""
    url, headers = f"http://127.0.0.1:{port}/api/v1/classify", {"Authorization": f"Bearer {key}"}
    return json.dumps(httpx.post(url, json={"text": text}, headers=headers).json()["category"])


class Killed(BaseException):
    """As kill -9: nothing of the controller's runs after it."""


def cut(target: Kubernetes, after: int) -> None:
    """The controller dies when it is about to write once more."""
    left = [after]
    send = target.open()._raw

    def dying(method: str, path: str, query: Any, *more: Any) -> bytes:
        if method != "GET" and "dryRun" not in query:
            if not left[0]:
                raise Killed
            left[0] -= 1
        return send(method, path, query, *more)

    target.open()._raw = dying  # type: ignore[method-assign]


def whole(cluster: Cluster) -> str:
    """What is wanted of the cluster, without what tells how often it was written."""
    found = {}
    for key, made in cluster.server.snapshot().items():
        if key[1] not in ("pods", "secrets"):
            shown = {k: v for k, v in made["metadata"].items() if k in ("name", "labels")}
            found["/".join(key)] = {**made, "metadata": shown, "status": None}
    return json.dumps(found, sort_keys=True)


@pytest.mark.slow
def test_a_controller_that_is_killed_before_any_write_goes_on_to_the_same_end_and_loses_no_traffic(
    quick: Cluster,
) -> None:
    one, two = quick.versions

    def roll(target: Kubernetes) -> None:
        target.stage(two)
        target.weigh(two, 0.25)
        target.switch(two)

    def anew() -> None:
        quick.target().undo(None, one)
        quick.target().stage(one)
        quick.target().switch(one)

    anew()
    quick.server.writes.clear()
    roll(quick.target())
    writes, wanted = len(quick.server.writes), whole(quick)
    for after in range(writes):
        anew()
        dying = quick.target()
        cut(dying, after)
        with pytest.raises(Killed):
            roll(dying)
        assert sum(quick.serving().values()) == 100
        roll(quick.target())
        assert whole(quick) == wanted, after
        anew()
        dying = quick.target()
        cut(dying, after)
        with pytest.raises(Killed):
            roll(dying)
        quick.target().undo(one, two)
        assert quick.serving() == {"1": 100}, after
    assert writes > 15


@pytest.mark.parametrize(
    ("status", "logs", "said"),
    [
        (
            waiting("service", "ImagePullBackOff", 'Back-off pulling image "x:1"'),
            {},
            r"container service of pod tingsu-green-\S+ in prod .*\(ImagePullBackOff: Back-off.*push the image",
        ),
        (
            waiting("service", "CreateContainerConfigError", 'secret "tingsu-s3" not found'),
            {},
            'secret "tingsu-s3" not found.*make the Secret',
        ),
        (
            waiting(
                "service",
                "CrashLoopBackOff",
                restartCount=3,
                lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            ),
            {
                "service/previous": '{"level": "INFO", "event": "loading", "text": "secret words"}\nsecret words of a caller\n'
            },
            r"OOMKilled: exit code 137\). Its log ends: INFO loading. What to do: raise resources.limits.memory",
        ),
        (
            waiting(
                "fetch",
                "CrashLoopBackOff",
                kind="initContainerStatuses",
                restartCount=2,
                lastState={"terminated": {"exitCode": 3, "reason": "Error"}},
            ),
            {"fetch/previous": "tingsu: bundle 1234 is not signed by the key this home trusts\n"},
            r"container fetch of pod .*\(Error: exit code 3\). Its log ends: bundle 1234 is not signed .*see that bundles.url",
        ),
        (
            {
                "phase": "Pending",
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes: Insufficient cpu",
                    }
                ],
            },
            {},
            r"pod tingsu-green-\S+ in prod does not start \(Unschedulable: 0/3 nodes: Insufficient cpu\). What to do: add nodes",
        ),
        (
            {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [{"name": "service", "state": {"running": {}}}],
            },
            {"service": '{"level": "ERROR", "event": "engine failed", "error": "OutOfMemoryError"}'},
            r"NotReady: Startup probe failed: 503\). Its log ends: ERROR engine failed OutOfMemoryError",
        ),
    ],
)
def test_a_pod_that_does_not_start_is_named_with_its_reason_and_what_to_do_and_the_champion_serves_on(
    quick: Cluster, status: dict[str, Any], logs: dict[str, str], said: str
) -> None:
    one, two = quick.versions
    target = quick.target(kubernetes={"start_timeout_s": 1.5})
    target.stage(one)
    target.switch(one)

    def fault(pod: Any) -> dict[str, Any] | None:
        if pod["metadata"]["labels"][SIDE] == "blue":
            return None
        name = pod["metadata"]["name"]
        quick.server.logs |= {(name, container): text for container, text in logs.items()}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name},
            "type": "Warning",
            "message": "Startup probe failed: 503",
        }
        quick.server.put("events", {**event, "involvedObject": {"name": name}})
        return status

    quick.nodes.fault = fault
    with pytest.raises(EngineUnavailable, match=said) as raised:
        target.stage(two)

    assert "secret words" not in str(raised.value)
    assert quick.serving() == {"1": 100, "2": 0}
    target.undo(one, two)
    assert quick.serving() == {"1": 100} and target.status().serving == one.bundle_digest


def test_the_plan_names_every_change_shows_no_secret_and_touches_nothing(quick: Cluster) -> None:
    one, two = quick.versions
    target = quick.target()
    first = {change.what: change for change in target.changes(one)}
    target.stage(one)
    target.switch(one)
    before = quick.server.snapshot()
    quick.server.writes.clear()

    plan = target.changes(two)

    assert quick.server.writes == [] and quick.server.snapshot().keys() == before.keys()
    assert {"Secret/tingsu-keys", "Deployment/tingsu-blue", "NetworkPolicy/tingsu"} <= first.keys()
    shown = {change.what: change for change in plan}
    assert two.bundle_digest in shown["Deployment/tingsu-green"].after and not shown["Deployment/tingsu-green"].before
    assert "Deployment/tingsu-blue" not in shown
    assert (
        "tingsu.io/side: blue" in shown["Service/tingsu"].before
        and "tingsu.io/side: green" in shown["Service/tingsu"].after
    )
    assert re.search(r"service.json: \d+ characters\n", first["Secret/tingsu-keys"].after)
    assert "Secret/tingsu-keys" not in shown


def test_a_secret_that_somebody_else_made_is_left_alone(quick: Cluster) -> None:
    one, _ = quick.versions
    theirs = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tingsu-keys", "labels": {"a": "b"}},
        "data": {"gate.pub": "eA=="},
    }
    quick.server.put("secrets", theirs)

    quick.target().stage(one)

    assert quick.server.of("secrets")["tingsu-keys"]["data"] == {"gate.pub": "eA=="}


def test_what_scales_by_itself_keeps_its_size_and_the_candidate_has_as_many_pods_before_it_has_the_traffic(
    quick: Cluster,
) -> None:
    one, two = quick.versions
    quick.values["autoscaling"] = {"enabled": True, "minReplicas": 2, "maxReplicas": 9}
    target = quick.target()
    target.stage(one)
    target.switch(one)
    target.open().scale("tingsu-blue", 5)  # as the autoscaler did meanwhile
    target._wait("blue")

    target.stage(two)
    target.weigh(two, 0.5)
    half = {name: made["spec"]["replicas"] for name, made in quick.server.of("deployments").items()}
    target.switch(two)
    quick.target().stage(two)

    assert half == {"tingsu-blue": 5, "tingsu-green": 3}
    assert {name: made["spec"]["replicas"] for name, made in quick.server.of("deployments").items()} == dict.fromkeys(
        half, 5
    )


def test_an_undo_needs_neither_the_values_nor_the_chart(quick: Cluster) -> None:
    one, two = quick.versions
    target = quick.target()
    target.stage(one)
    target.switch(one)
    target.stage(two)
    target.weigh(two, 0.25)
    target = quick.target()
    (quick.home / "values.yaml").write_text("nonsense: 1\n")

    target.undo(one, two)

    assert quick.serving() == {"1": 100}


def test_a_first_release_that_fails_leaves_nothing_that_serves(quick: Cluster) -> None:
    one, _ = quick.versions
    target = quick.target()
    target.stage(one)

    target.undo(None, one)

    assert not {"deployments", "services", "httproutes"} & {key[1] for key in quick.server.snapshot()}
    assert target.status().serving is None


def test_a_previous_version_is_not_kept_where_that_is_asked_for(quick: Cluster) -> None:
    one, two = quick.versions
    target = quick.target(keep_previous=False)
    target.stage(one)
    target.switch(one)
    target.stage(two)
    target.switch(two)

    assert quick.serving() == {"2": 100} and list(quick.server.of("deployments")) == ["tingsu-green"]


def test_an_api_server_that_is_away_for_a_moment_is_waited_for(quick: Cluster) -> None:
    one, _ = quick.versions
    target = quick.target()
    quick.server.failures += [503, 429, 500]

    target.stage(one)

    assert quick.server.of("pods").popitem()[1]["status"] == READY


def refusals(cluster: Cluster, case: str) -> Kubernetes:
    target = cluster.target()
    if case == "role":
        cluster.server.rules = [rule for rule in cluster.server.rules if "deployments" not in rule["resources"]]
    if case == "token":
        cluster.server.kubeconfig(cluster.home, token="old")
    if case == "context":
        return cluster.target(kubernetes={"context": "elsewhere"})
    if case == "gone":
        cluster.server.kubeconfig(cluster.home, url=f"http://127.0.0.1:{served.free_port()}")
        target.open().patience_s = 0.5
    if case == "gateway":
        cluster.server.known.remove("httproutes")
    if case == "namespace":
        return cluster.target(kubernetes={"namespace": "elsewhere"})
    if case == "values":
        (cluster.home / "values.yaml").write_text("replica: 3\n")
    if case == "file":
        return cluster.target(kubernetes={"values": ["nowhere.yaml"]})
    if case == "steps":
        return cluster.target(kubernetes={"split": "replicas"}, canary={"steps": [{"weight": 0.05, "calls": 50}]})
    return target


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("role", r'cannot patch resource "deployments".*controller-role.yaml'),
        ("token", "does not know who asks: Unauthorized. Renew the credentials"),
        ("context", "there is no way to a cluster: .*elsewhere.*kubectl config get-contexts"),
        ("gone", r"does not answer \(NewConnectionError\); is it up"),
        ("gateway", "an HTTPRoute needs the Gateway API"),
        ("namespace", "Is the namespace 'elsewhere' there"),
        ("values", "the values of the chart do not hold: .*'replica' not allowed"),
        ("file", "nowhere.yaml cannot be read"),
        ("steps", "rollout.weight 5 cannot be split over 1 replicas"),
    ],
)
def test_what_is_wrong_with_the_way_to_the_cluster_or_the_values_is_named(quick: Cluster, case: str, said: str) -> None:
    one, two = quick.versions
    if case == "steps":
        first = quick.target(kubernetes={"split": "replicas"})
        first.stage(one)
        first.switch(one)
    target = refusals(quick, case)

    with pytest.raises((ConfigurationError, EngineUnavailable), match=said):
        target.stage(two)
        target.switch(two)


def test_a_candidate_that_ended_by_itself_in_a_canary_is_to_blame_and_the_champion_that_is_away_is_not(
    quick: Cluster,
) -> None:
    one, two = quick.versions
    target = quick.target()
    target.stage(one)
    target.switch(one)
    target.stage(two)
    target.weigh(two, 0.25)
    (name, green) = next((n, p) for n, p in quick.server.of("pods").items() if p["metadata"]["labels"][SIDE] == "green")
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    state = {"name": "service", "restartCount": 1, "lastState": ended, "state": {"running": {}}}
    quick.server.put("pods", {**green, "status": {**READY, "containerStatuses": [state]}})

    with pytest.raises(
        EngineUnavailable, match=r"pod tingsu-green-\S+ in prod ended by itself \(OOMKilled: exit code 137"
    ):
        target.look(two, 0.0)

    quick.server.put("pods", green)
    assert target.look(two, 0.0).candidate.keys() == {name}
    (blue,) = (p for p in quick.server.of("pods").values() if p["metadata"]["labels"][SIDE] == "blue")
    quick.server.put("pods", {**blue, "status": {"phase": "Running", "conditions": []}})
    with pytest.raises(ChampionUnavailable, match=r"no pod of the side .* that is live is ready"):
        target.look(two, 0.0)


def test_status_says_what_is_wrong_instead_of_failing(quick: Cluster) -> None:
    quick.server.rules = []

    found = quick.target().status()

    assert found.serving is None and "controller-role.yaml" in found.detail


def test_a_route_that_no_gateway_takes_is_an_error_that_says_why(
    quick: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = quick.versions
    monkeypatch.setattr("deploy.targets.kubernetes_traffic.ACCEPTED_S", 0.5)
    monkeypatch.setattr(Nodes, "_accept", lambda self: None)
    target = quick.target()
    target.stage(one)

    with pytest.raises(TingsuError, match=r"HTTPRoute tingsu in prod is not taken \(no Gateway says anything"):
        target.switch(one)
