"""Who gets the traffic of a release: the entry Service, the HTTPRoute, and how many pods each side has.

Traffic is moved by changing what is there, without the chart: an undo works also when the values no longer do. What comes out is
what the chart renders of the same sides.
"""

from data_contracts.errors import ConfigurationError, EngineUnavailable
from deploy.targets import kubernetes_pods as pods
from deploy.targets.kubernetes_api import Cluster, Object, until
from deploy.targets.kubernetes_sides import Name, Sides, write

GATEWAY = "gateway.networking.k8s.io/v1"
SIDE = "tingsu.io/side"
PARTS = (
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
)
"""What there is once for each side."""
ACCEPTED_S = 60.0
SCALER = ("autoscaling/v2", "HorizontalPodAutoscaler")
LEAST = "tingsu.io/min-replicas"
"""At an autoscaler: its own minimum, while it has another one for a rollout's sake."""


def is_entry(made: Object) -> bool:
    """Whether callers come in by it."""
    component = made["metadata"].get("labels", {}).get("app.kubernetes.io/component")
    return bool(made["kind"] == "HTTPRoute" or (made["kind"] == "Service" and component == "entry"))


def names(sides: Sides) -> list[Name]:
    """The sides that are there."""
    return [side for side in ("blue", "green") if sides.of(side).bundle]


def selected(sides: Sides, split: str) -> Name | None:
    """The side that the entry Service points at; None: at both, and their pods are counted out."""
    if split == "replicas" and 0 < sides.weight < 100:
        return None
    return sides.candidate if sides.weight == 100 else sides.champion


def route(cluster: Cluster, name: str, sides: Sides, split: str) -> bool:
    """Give the sides the traffic that is theirs; whether there is a way in already. A route of an earlier split follows too."""
    change = {"spec": {"selector": {SIDE: selected(sides, split)}}}
    is_there = cluster.patch("v1", "Service", name, change, missing=True) is not None
    way = cluster.get(GATEWAY, "HTTPRoute", name)
    if way is not None:
        rules = [{**rule, "backendRefs": _shared(name, sides, rule["backendRefs"])} for rule in way["spec"]["rules"]]
        cluster.patch(GATEWAY, "HTTPRoute", name, {"spec": {"rules": rules}})
    return is_there if split != "gateway" else way is not None


def make_way_in(cluster: Cluster, name: str, rendered: list[Object], split: str) -> None:
    """Where callers come in by, as the values have it by now.

    Raises:
        EngineUnavailable: no Gateway takes it; it is as it was before.
    """
    before = []
    for one in filter(is_entry, rendered):
        before.append(cluster.get(one["apiVersion"], one["kind"], name))
        cluster.apply(one)
    try:
        wait_accepted(cluster, name, split)
    except EngineUnavailable:
        for was in filter(None, before):
            now = cluster.get(was["apiVersion"], was["kind"], name) or {"spec": {}}
            whole = {"spec": dict.fromkeys(now["spec"]) | was["spec"]}  # None takes out what it did not have
            cluster.patch(was["apiVersion"], was["kind"], name, whole, missing=True)
        raise


def require_port(cluster: Cluster, name: str, port: int) -> None:
    """Return if callers come in at this port, or nobody comes in yet.

    Raises:
        ConfigurationError: they come in at another one, which the side that serves answers at.
    """
    entry = cluster.get("v1", "Service", name)
    there = entry["spec"]["ports"][0]["port"] if entry else port
    if there != port:
        raise ConfigurationError(
            f"port of the chart's values is {port}, and callers reach Service {name} in {cluster.namespace} at {there}, as does its route; "
            f"leave it at {there}, or make another release of the new port (rollout.kubernetes.release) beside this one"
        )


def wait_accepted(cluster: Cluster, name: str, split: str) -> None:
    """Until a Gateway has taken the route as it is now, where there is one.

    Raises:
        EngineUnavailable: it refuses it, and why; or none takes it.
    """
    said = "no Gateway says anything of it"
    if split != "gateway":
        return

    def is_accepted() -> bool:
        nonlocal said
        way = cluster.get(GATEWAY, "HTTPRoute", name) or {"metadata": {}}
        parents = way.get("status", {}).get("parents", [])
        current = way["metadata"].get("generation", 0)
        found = [c for parent in parents for c in parent["conditions"] if c.get("observedGeneration", 0) >= current]
        wrong = [c for c in found if c["type"] in ("Accepted", "ResolvedRefs") and c["status"] != "True"]
        said = (
            "; ".join(f"{c['type']} {c['status']}, {c.get('reason', '')}: {c.get('message', '')}" for c in wrong)
            or said
        )
        return not wrong and any(c["type"] == "Accepted" for c in found)

    if not until(is_accepted, ACCEPTED_S):
        raise EngineUnavailable(
            f"HTTPRoute {name} in {cluster.namespace} is not taken ({said}); mend gateway.parentRefs, or the Gateway they name"
        )


def sizes(given: Object, sides: Sides) -> dict[Name, int]:
    """How many pods each side gets where nothing scales them, as the chart counts."""
    total, weight = int(given["replicas"]), sides.weight
    share = (total * weight + 50) // 100
    if given["rollout"]["by"] == "replicas" and 0 < weight < 100:
        return {sides.champion: total - share, sides.candidate: share}
    return {side: int(given[side]["replicas"]) or total for side in names(sides)}


def resize(cluster: Cluster, name: str, given: Object, sides: Sides, side: Name) -> None:
    """As many pods as the side's share of the traffic needs, where nothing scales them."""
    deployment = f"{name}-{side}"
    made = cluster.get("apps/v1", "Deployment", deployment)
    if made is not None and made["spec"].get("replicas", 1) != (wanted := sizes(given, sides)[side]):
        cluster.scale(deployment, wanted)


def hold(cluster: Cluster, name: str, side: Name, least: int) -> None:
    """No fewer pods than these from now on, until `let_go`. An autoscaler is told so too: it knows the load that was, not what comes."""
    deployment = f"{name}-{side}"
    made, scaler = cluster.get("apps/v1", "Deployment", deployment), cluster.get(*SCALER, deployment)
    if scaler is not None:
        least = min(least, int(scaler["spec"]["maxReplicas"]))
        now = str(scaler["spec"].get("minReplicas", 1))
        own = scaler["metadata"].get("annotations", {}).get(LEAST, now)
        if least > int(now):
            change = {"metadata": {"annotations": {LEAST: own}}, "spec": {"minReplicas": least}}
            cluster.patch(*SCALER, deployment, change)
    if made is not None and int(made["spec"].get("replicas", 1)) < least:
        cluster.scale(deployment, least)


def let_go(cluster: Cluster, name: str) -> None:
    """Autoscalers count by their own minimum again."""
    for side in ("blue", "green"):
        scaler = cluster.get(*SCALER, f"{name}-{side}") or {"metadata": {}}
        own = scaler["metadata"].get("annotations", {}).get(LEAST)
        if own is not None:
            change = {"metadata": {"annotations": {LEAST: None}}, "spec": {"minReplicas": int(own)}}
            cluster.patch(*SCALER, f"{name}-{side}", change, missing=True)


def lead(cluster: Cluster, name: str, sides: Sides, side: Name, split: str, limit_s: float) -> Sides:
    """All of the traffic to this side: at once where it carries at least half of it already, or has as many pods ready as the other one.
    Else as much as they are of those, more with each that gets ready; split by `switch` it waits for the last.

    Raises:
        EngineUnavailable: not one was ready in time.
    """
    led, other = sides, sides.led_by(side).candidate
    began = sides.share(side)

    def is_enough() -> bool:
        nonlocal led
        found, needed = (len(pods.ready(cluster, name, one)) for one in (side, other))
        if began >= 50 or found >= needed:
            return True
        hold(cluster, name, side, needed)
        share = max(began, 100 * found // needed)
        if split != "switch" and share > led.share(side):
            led = led.led_by(side, 100 - share)
            _carry_out(cluster, name, led, split)
        return False

    if not until(is_enough, limit_s) and not pods.ready(cluster, name, side):
        raise EngineUnavailable(
            f"no pod of Deployment {name}-{side} in {cluster.namespace} was ready within {limit_s:.0f} s; the traffic stays where it is; "
            f"kubectl -n {cluster.namespace} describe deployment {name}-{side}"
        )
    led = led.led_by(side)
    _carry_out(cluster, name, led, split)
    return led


def _carry_out(cluster: Cluster, name: str, sides: Sides, split: str) -> None:
    write(cluster, name, sides)
    route(cluster, name, sides, split)


def entitle(cluster: Cluster, name: str, sides: Sides) -> None:
    """Write at each Deployment what it is now; nothing depends on it but who looks."""
    for side in names(sides):
        role = "champion" if side == sides.champion else "candidate"
        change = {"metadata": {"labels": {"tingsu.io/role": role}}}
        cluster.patch("apps/v1", "Deployment", f"{name}-{side}", change, missing=True)


def remove(cluster: Cluster, name: str, side: Name) -> None:
    """All that a side is made of."""
    for api, kind in PARTS:
        cluster.delete(api, kind, f"{name}-{side}")


def close(cluster: Cluster, name: str, split: str) -> None:
    """No way in any more."""
    cluster.delete("v1", "Service", name)
    if split == "gateway":
        cluster.delete(GATEWAY, "HTTPRoute", name)


def require_share(split: str, share: float) -> int:
    """The share in percent.

    Raises:
        ConfigurationError: it cannot be had by this split.
    """
    weight = round(share * 100)
    if split == "switch":
        raise ConfigurationError(
            f"rollout.kubernetes.split is switch, which is all or nothing, and rollout.canary.steps asks for {share:.0%}; "
            "set rollout.canary.steps to [], or rollout.kubernetes.split to gateway or replicas"
        )
    if not 1 <= weight <= 99 or abs(weight - 100 * share) > 1e-6:
        raise ConfigurationError(
            f"rollout.canary.steps asks for a weight of {share:g}, and Kubernetes splits by whole percent from 0.01 to 0.99"
        )
    return weight


def _shared(name: str, sides: Sides, before: list[Object]) -> list[Object]:
    port = before[0]["port"]
    given = {sides.champion: 100 - sides.weight, sides.candidate: sides.weight}
    return [{"name": f"{name}-{side}", "port": port, "weight": given[side]} for side in names(sides)]
