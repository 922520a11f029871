"""A rollout to a cluster that cannot be: pods that do not start, a way in that nobody takes, a wrong role, wrong values; and its plan."""

import re
from typing import Any

import pytest

from data_contracts.errors import ConfigurationError, EngineUnavailable, TingsuError
from deploy.targets.kubernetes import Kubernetes
from tests.deploy import kube_server, served
from tests.deploy.kube_nodes import READY, SIDE, Nodes, waiting
from tests.deploy.kube_world import Cluster


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
    target = quick.live(kubernetes={"start_timeout_s": 1.5})

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


def test_a_quota_that_lets_no_pod_be_made_is_named(quick: Cluster) -> None:
    _, two = quick.versions
    target = quick.live(kubernetes={"start_timeout_s": 1.5})
    quick.nodes.forbidden = 'pods "tingsu-green-1" is forbidden: exceeded quota: small'

    with pytest.raises(EngineUnavailable, match=r"may have no more pods: .* exceeded quota: small\. Raise the quota"):
        target.stage(two)


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
    assert {"Secret/tingsu-keys", "Deployment/tingsu-blue", "NetworkPolicy/tingsu-blue"} <= first.keys()
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
    if case == "port":
        cluster.values["port"] = 9000
        return cluster.target()
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
        ("port", "port of the chart's values is 9000, and callers reach Service tingsu in prod at 8000"),
    ],
)
def test_what_is_wrong_with_the_way_to_the_cluster_or_the_values_is_named(quick: Cluster, case: str, said: str) -> None:
    _, two = quick.versions
    if case in ("steps", "port"):
        quick.live(kubernetes={"split": "replicas"})
    target = refusals(quick, case)

    with pytest.raises((ConfigurationError, EngineUnavailable), match=said):
        target.stage(two)
        target.switch(two)


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


def test_a_way_in_that_no_gateway_takes_is_as_it_was_before(quick: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = quick.versions
    quick.values["gateway"]["hostnames"] = []
    target = quick.live()
    before = quick.server.of("httproutes")["tingsu"]["spec"]
    quick.values["gateway"] |= {"parentRefs": [{"name": "misspelt"}], "hostnames": ["new.example.com"]}
    target = quick.target()
    target.stage(two)
    accept = Nodes._accept
    monkeypatch.setattr("deploy.targets.kubernetes_traffic.ACCEPTED_S", 0.5)
    monkeypatch.setattr(Nodes, "_accept", lambda self: accept(self) if "misspelt" not in server_text(self) else None)

    with pytest.raises(EngineUnavailable, match=r"mend gateway\.parentRefs"):
        target.switch(two)
    target.undo(one, two)

    assert quick.server.of("httproutes")["tingsu"]["spec"] == before and quick.serving() == {"1": 100}


def server_text(nodes: Nodes) -> str:
    return kube_server.text(nodes.server.of("httproutes"))
