"""A cluster as a target: real services behind an API server, through a rollout, a canary and an undo."""

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import helm_python as helm
import httpx
import pytest

from data_contracts.errors import ChampionUnavailable, EngineUnavailable, RolloutFailed
from deploy import bundle, emergency, keys, operators, targets
from deploy.operate import canary_window
from deploy.targets import Placed
from deploy.targets import kubernetes_plan as plan
from deploy.targets import kubernetes_pods as pods
from deploy.targets.kubernetes_api import until
from tasks.controller import Controller
from tests.deploy import charts, served
from tests.deploy.kube_nodes import READY, SIDE, Callers, waiting
from tests.deploy.kube_world import Cluster


def test_a_release_goes_live_a_canary_gets_its_share_and_an_undo_takes_it_back_without_losing_a_call(
    real: Cluster,
) -> None:
    one, two = real.versions
    key = keys.add(real.home, "caller", ["classify"])
    target = real.target()
    target.stage(one)
    target.verify(one)
    assert "httproutes" not in {k[1] for k in real.server.snapshot()} and target.status().serving is None
    target.switch(one)
    champion = real.server.of("deployments")["tingsu-blue"]
    with real.ask("blue") as client:  # kube-proxy chooses by connection: a kept one would stay with the version before
        assert client.get("/ready").headers["connection"] == "close"

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
    assert window.mirrored > 0  # the pods ask each other with a key of their own
    assert callers.failed == [] and min(callers.answers.values()) > 10
    assert back_s < 5
    assert real.serving() == {"1": 100} and list(real.server.of("deployments")) == ["tingsu-blue"]
    assert target.status().serving == one.bundle_digest


@pytest.mark.parametrize("split", ["gateway", "replicas", "switch"])
def test_what_traffic_was_moved_to_is_what_the_chart_renders(quick: Cluster, split: str) -> None:
    one, two = quick.versions
    quick.values["replicas"] = total = 4 if split == "replicas" else 1
    target = quick.live(kubernetes={"split": split})
    target.stage(two)
    shares = [0.25, 0.5] if not target.unsplit(two) else []

    def differs() -> list[str]:
        made = [target.open().apply(one, dry_run=True) for one in target._rendered(target._sides())]
        return [one.what for one in (plan.change(target.open(), after) for after in made) if one.before != one.after]

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
    quick: Cluster, kube_services: tuple[dict[str, int], Path]
) -> None:
    one, two = quick.versions
    key = keys.add(quick.home, "crm", ["classify"])
    ports = [kube_services[0][placed.bundle_digest] for placed in (one, two)]
    text = next(
        t for t in (f"客户：第{i}次来电投诉。" for i in range(99)) if len({category(p, key, t) for p in ports}) == 2
    )
    steps = {"steps": [{"weight": 0.5, "calls": 400}], "look_every_s": 0.2, "latency_ratio": 50, "mirror_share": 1.0}
    target = quick.target(canary=steps)
    settings = target.settings.rollout
    controller = Controller(target, quick.home, "ops", lambda _: None, settings, lambda _: served.TAXONOMY.keys)
    controller.rollout(one)

    callers = Callers(quick.nodes, key, call={"text": text})
    with callers.calling(), pytest.raises(RolloutFailed, match=r"category|disagreement"):
        controller.rollout(two)
    record = targets.read(quick.home, "kubernetes")

    assert [step.state for step in record.steps][:3] == ["planned", "staged", "verified"] and record.state == "undone"
    assert record.live == one and record.canary is not None and record.canary.judgement is not None
    (mirrored,) = (seen for seen in record.canary.judgement.evidence if seen.signal == "disagreement")
    assert mirrored.candidate == 1.0  # of what the champion answered and the candidate was asked too
    with quick.ask("blue") as client:
        assert client.get("/model_info").json()["mirror"] is None
    assert quick.serving() == {"1": 100} and callers.failed == [] and set(callers.answers) == {"1", "2"}


def category(port: int, key: str, text: str) -> str:
    """What a service answers."""
    url, headers = f"http://127.0.0.1:{port}/api/v1/classify", {"Authorization": f"Bearer {key}"}
    return json.dumps(httpx.post(url, json={"text": text}, headers=headers).json()["category"])


SCALED = {"enabled": True, "minReplicas": 2, "maxReplicas": 9}


def test_what_scales_by_itself_keeps_its_size_and_the_candidate_has_as_many_pods_before_it_has_the_traffic(
    quick: Cluster,
) -> None:
    _, two = quick.versions
    quick.values["autoscaling"] = SCALED
    target = quick.live()
    target.open().scale("tingsu-blue", 5)  # as the autoscaler did meanwhile
    target._wait("blue")

    target.stage(two)
    target.weigh(two, 0.5)
    half = quick.sizes()
    target.switch(two)
    quick.target().stage(two)

    assert half == {"tingsu-blue": 5, "tingsu-green": 3}
    assert quick.sizes() == dict.fromkeys(half, 5)
    assert least(quick) == {"tingsu-blue": 2, "tingsu-green": 2}


def least(cluster: Cluster) -> dict[str, int]:
    return {name: made["spec"]["minReplicas"] for name, made in cluster.server.of("horizontalpodautoscalers").items()}


def test_the_traffic_comes_back_to_a_side_that_was_shrunk_as_fast_as_its_pods_do(quick: Cluster) -> None:
    one, two = quick.versions
    quick.values["autoscaling"] = SCALED | {"minReplicas": 1}
    target = quick.live()
    target.stage(two)
    target.switch(two)
    target.open().scale("tingsu-green", 4)
    target._wait("green")
    seen: list[int] = []

    def slow(pod: Any) -> dict[str, Any] | None:
        return waiting("service", "ContainerCreating") if pod["metadata"]["labels"][SIDE] == "blue" else None

    def start_one_after_the_other() -> None:
        for ready in (1, 2, 3):
            assert until(lambda: quick.serving()["1"] >= 25 * ready, 20)  # noqa: B023 - it is asked at once
            seen.append(quick.serving()["1"])
            name, pod = next((n, p) for n, p in sorted(quick.server.of("pods").items()) if p["status"] != READY)
            quick.nodes.ports[name] = quick.nodes.start(pod)
            quick.server.put("pods", {**pod, "status": READY})

    quick.nodes.fault = slow
    starting = threading.Thread(target=start_one_after_the_other)
    starting.start()
    target.undo(one, two)
    starting.join()

    assert seen == [25, 50, 75]  # percent of the traffic with 1, 2 and 3 of 4 pods
    assert quick.serving() == {"1": 100} and quick.sizes() == {"tingsu-blue": 4}
    assert least(quick) == {"tingsu-blue": 1}


def test_an_undo_needs_neither_the_values_nor_the_chart(quick: Cluster) -> None:
    one, two = quick.versions
    quick.in_canary(0.25)
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


@pytest.mark.parametrize("reached", [pytest.param("staged", marks=pytest.mark.slow), "live", "there already"])
def test_what_was_installed_with_helm_by_hand_serves_on_when_the_first_rollout_fails(
    quick: Cluster, reached: str
) -> None:
    one, two = quick.versions
    target, candidate = quick.target(), one if reached == "there already" else two
    by_hand = quick.values | {"blue": {"bundle": one.bundle_digest, "version": 1}, "rollout": {"by": "gateway"}}
    helms = {"meta.helm.sh/release-name": "tingsu", "meta.helm.sh/release-namespace": "prod"}
    for made in charts.render(by_hand):
        target.open().apply({**made, "metadata": {**made["metadata"], "annotations": helms}})
    target._wait("blue")
    before = quick.server.of("deployments")["tingsu-blue"]["spec"]

    target.stage(candidate)
    assert all(made["metadata"]["annotations"] == helms for made in quick.server.of("deployments").values())
    if reached != "staged":
        target.switch(candidate)
    target.undo(None, candidate)

    assert quick.serving() == {"1": 100} and list(quick.sizes()) == ["tingsu-blue"]
    assert quick.server.of("deployments")["tingsu-blue"]["spec"] == before
    assert target.status().serving == one.bundle_digest


WHY = "callers of the outage are sent to nobody"


def test_a_version_under_an_emergency_verdict_goes_live_and_its_pods_say_so(real: Cluster) -> None:
    bucket = real.bucket
    ref = bucket.add(3, "HOLD")
    key = bucket.home / "li.pem"
    operators.trust(bucket.home, "li", key)
    said = emergency.said(3, ref.digest, "li", WHY, "HOLD", datetime.now(UTC))
    signed = bundle.sign(said, operators.private(key))
    bundle.attest(bucket.local, ref, bundle.EMERGENCY, signed.model_dump_json().encode())
    bucket.attest(ref, bundle.EMERGENCY)
    folder = bundle.place(bucket.local, ref)
    admitted = bundle.admit(bundle.open(folder), bucket.home)
    assert admitted == signed
    candidate = Placed(
        version=3, bundle_digest=ref.digest, folder=str(folder), verdict_signature=signed.signature, emergency=WHY
    )
    target = real.target()

    target.stage(candidate)
    target.verify(candidate)
    target.switch(candidate)

    assert target.status().serving == ref.digest
    with real.ask("blue") as client:
        info = client.get("/model_info").json()
        assert info["emergency"] == {
            "operator": "li",
            "reason": WHY,
            "expires_at": said.expires_at,
            "emergency_expired": False,
        }
        assert client.get("/docs").status_code == 404  # it runs in production mode


def test_what_is_staged_changes_nothing_of_what_serves_or_of_the_way_to_it(quick: Cluster) -> None:
    one, two = quick.versions
    quick.live()
    before = live(quick)
    quick.values["settings"] = {"serve": {"max_turns": 50}}
    quick.values["networkPolicy"]["from"] = [{"podSelector": {"matchLabels": {"a": "nobody"}}}]
    quick.values["gateway"]["hostnames"] = ["new.example.com"]
    target = quick.target()

    target.stage(two)

    shared, held = live(quick), quick.server.of("configmaps")
    (rule,) = shared["httproutes"]["tingsu"]["rules"]
    assert rule["backendRefs"].pop() == {"name": "tingsu-green", "port": 8000, "weight": 0}
    assert shared == before
    assert "max_turns: 50" in held["tingsu-green"]["data"]["settings.yaml"]
    assert "nobody" in str(quick.server.of("networkpolicies")["tingsu-green"])
    target.switch(two)
    assert quick.server.of("httproutes")["tingsu"]["spec"]["hostnames"] == ["new.example.com"]
    target.undo(one, two)
    assert list(quick.server.of("networkpolicies")) == ["tingsu-blue"]


def live(cluster: Cluster) -> dict[str, Any]:
    """What serves and the way to it: kind → name → what is asked for."""
    kinds = ("deployments", "services", "configmaps", "networkpolicies", "httproutes")
    return {
        kind: {
            name: made.get("spec", made.get("data"))
            for name, made in cluster.server.of(kind).items()
            if not name.endswith(("-green", "-sides"))
        }
        for kind in kinds
    }


def test_helm_with_older_values_does_not_take_back_what_the_controller_released(quick: Cluster) -> None:
    one, two = quick.versions
    target = quick.live()
    quick.server.is_open = True
    first = quick.values | {"blue": {"bundle": one.bundle_digest, "version": 1}, "rollout": {"by": "gateway"}}
    now = {"champion": "green", "green": {"bundle": two.bundle_digest, "version": 2}}

    def upgrade(values: dict[str, Any]) -> None:
        with (
            helm.Config(kubeconfig_path=str(quick.server.kubeconfig(quick.home)), namespace="prod") as config,
            helm.Chart.load(str(charts.CHART)) as chart,
        ):
            config.render(chart, values, name="tingsu", namespace="prod", is_upgrade=True)

    upgrade(first)
    target.stage(two)
    with pytest.raises(helm.HelmError, match=r"a rollout by \./tingsu deploy is under way in prod"):
        upgrade(first)
    target.switch(two)
    with pytest.raises(helm.HelmError, match=f"champion=green,rollout.weight=0,blue.bundle={one.bundle_digest}"):
        upgrade(first)
    upgrade(first | now)


def test_a_previous_version_is_not_kept_where_that_is_asked_for_and_a_route_of_an_earlier_split_follows(
    quick: Cluster,
) -> None:
    _, two = quick.versions
    quick.live()
    target = quick.target(kubernetes={"split": "switch"}, keep_previous=False)
    target.stage(two)
    target.switch(two)

    assert quick.serving() == {"2": 100} and list(quick.server.of("deployments")) == ["tingsu-green"]


def test_a_candidate_that_ended_by_itself_in_a_canary_is_to_blame_and_the_champion_that_is_away_is_not(
    quick: Cluster,
) -> None:
    _, two = quick.versions
    target = quick.in_canary(0.25)
    (name, green) = next((n, p) for n, p in quick.server.of("pods").items() if p["metadata"]["labels"][SIDE] == "green")
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    state = {"name": "service", "restartCount": 1, "lastState": ended, "state": {"running": {}}}
    quick.server.put("pods", {**green, "status": {**READY, "containerStatuses": [state]}})

    with pytest.raises(
        EngineUnavailable, match=r"pod tingsu-green-\S+ in prod ended by itself \(OOMKilled: exit code 137"
    ):
        target.look(two, 0.0)

    rebooted = {**state, "lastState": {"terminated": {"exitCode": 255, "reason": "Unknown"}}}  # with its node
    quick.server.put("pods", {**green, "status": {**READY, "containerStatuses": [rebooted]}})
    pods.require_no_crash(target.open(), "tingsu", "green")
    quick.server.put("pods", green)
    assert target.look(two, 0.0).candidate.keys() == {name}
    (blue,) = (p for p in quick.server.of("pods").values() if p["metadata"]["labels"][SIDE] == "blue")
    quick.server.put("pods", {**blue, "status": {"phase": "Running", "conditions": []}})
    with pytest.raises(ChampionUnavailable, match=r"no pod of the side .* that is live is ready"):
        target.look(two, 0.0)
    status = target.status()
    assert status.serving is None and "no pod of side blue, which has the traffic, is ready" in status.untold
    assert target.clear in status.untold
