"""The pods of one side: waiting for them, and saying of one that does not start which container, why, and what to do."""

from collections.abc import Iterator
from typing import NamedTuple

from data_contracts.errors import EngineUnavailable
from deploy.targets import last_words
from deploy.targets.kubernetes_api import Cluster, Object, until

TRIES = 2
"""Restarts, or failed pulls, after which waiting on is no use."""

ADVICE = {
    "ErrImagePull": "push the image, or mend image.repository, image.tag, image.digest and image.pullSecrets",
    "ImagePullBackOff": "push the image, or mend image.repository, image.tag, image.digest and image.pullSecrets",
    "InvalidImageName": "mend image.repository, image.tag or image.digest",
    "CreateContainerConfigError": "make the Secret or ConfigMap that it names",
    "OOMKilled": "raise resources.limits.memory, or lower settings.serve.batch_tokens",
    "Unschedulable": "add nodes, lower resources.requests, or mend nodeSelector and tolerations",
    "NotReady": "its log says how far it came; startSeconds gives weights more time",
}
NODES = ("Unknown", "ContainerStatusUnknown")
"""Why a container ended with its node: whose fault it is not."""
LOADED = "its log says what it died of"
FETCHED = "see that bundles.url, bundles.credentialsSecret, keys.secret and networkPolicy.to are those of the store"


class Trouble(NamedTuple):
    """Why a pod is not ready. `is_final`: more time will not help."""

    pod: str
    container: str
    reason: str
    said: str
    is_final: bool
    had_run: bool = False


def labels(release: str, side: str) -> dict[str, str]:
    """Of the pods of a side."""
    return {"app.kubernetes.io/instance": release, "tingsu.io/side": side}


def ready(cluster: Cluster, release: str, side: str) -> list[Object]:
    """The pods of the side that take traffic."""
    found = cluster.find("v1", "Pod", labels(release, side))
    return [pod for pod in found if _is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]


def require_no_crash(cluster: Cluster, release: str, side: str) -> None:
    """Return if no container of the side was started again after it had failed.

    Raises:
        EngineUnavailable: one was; why, and the end of its log.
    """
    found = [
        Trouble(
            pod["metadata"]["name"],
            one["name"],
            ended.get("reason", "Error"),
            f"exit code {ended['exitCode']}",
            True,
            True,
        )
        for pod in cluster.find("v1", "Pod", labels(release, side))
        for one in pod.get("status", {}).get("containerStatuses", [])
        if (ended := one.get("lastState", {}).get("terminated")) and ended.get("exitCode")
        if ended.get("reason") not in NODES
    ]
    if found:
        raise EngineUnavailable(explain(cluster, found, "ended by itself"))


def wait(cluster: Cluster, release: str, deployment: str, side: str, limit_s: float) -> None:
    """Until every pod of the Deployment is of its newest template and ready.

    Raises:
        EngineUnavailable: one does not start, and why; or it took too long.
    """
    final: list[Trouble] = []

    def is_over() -> bool:
        made = cluster.get("apps/v1", "Deployment", deployment)
        if made is None:
            raise EngineUnavailable(
                f"Deployment {deployment} in {cluster.namespace} was deleted meanwhile; do the same again"
            )
        if _is_rolled_out(made):
            return True
        final[:] = [one for one in _troubles(cluster, made, release, side) if one.is_final]
        return bool(final)

    is_in_time = until(is_over, limit_s)
    if is_in_time and not final:
        return
    made = cluster.get("apps/v1", "Deployment", deployment) or {}
    troubles = final or list(_troubles(cluster, made, release, side))
    raise EngineUnavailable(explain(cluster, troubles) if troubles else _no_pod(cluster, made, deployment, limit_s))


def explain(cluster: Cluster, troubles: list[Trouble], what: str = "does not start") -> str:
    """A few sentences: what is wrong with the first pod, the end of its log, what to do."""
    one = troubles[0]
    others = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
    lines = last_words.told(cluster.log(one.pod, one.container, previous=one.had_run)) if one.container else []
    log = f" Its log ends: {' | '.join(lines)}." if lines else ""
    advice = ADVICE.get(one.reason, FETCHED if one.container == "fetch" else LOADED)
    where = f"container {one.container} of pod {one.pod}" if one.container else f"pod {one.pod}"
    said = f": {one.said.rstrip('.')}" if one.said else ""
    return f"{where}{others} in {cluster.namespace} {what} ({one.reason}{said}).{log} What to do: {advice}"


def _no_pod(cluster: Cluster, made: Object, deployment: str, limit_s: float) -> str:
    conditions = made.get("status", {}).get("conditions", [])
    forbidden = [one.get("message", "") for one in conditions if one["type"] == "ReplicaFailure"]
    if forbidden:
        return (
            f"Deployment {deployment} in {cluster.namespace} may have no more pods: {forbidden[0].rstrip('.')}. Raise the quota, or "
            f"mend the policy; kubectl -n {cluster.namespace} get resourcequota"
        )
    return (
        f"Deployment {deployment} in {cluster.namespace} was not ready within {limit_s:.0f} s and has no pod that says why; "
        f"kubectl -n {cluster.namespace} describe deployment {deployment} names a quota or a policy that forbids its pods"
    )


def _is_rolled_out(made: Object) -> bool:
    status, wanted = made.get("status", {}), made["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < made["metadata"].get("generation", 0):
        return False
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return counts == [wanted] * 3


def _troubles(cluster: Cluster, made: Object, release: str, side: str) -> Iterator[Trouble]:
    """Of the pods of the newest template that are not ready, the hopeless ones first."""
    wanted = _runs(made.get("spec", {}).get("template", {}))
    pods = [
        pod for pod in cluster.find("v1", "Pod", labels(release, side)) if _runs(pod) == wanted and not _is_ready(pod)
    ]
    yield from sorted((_trouble(cluster, pod) for pod in pods), key=lambda one: not one.is_final)


def _trouble(cluster: Cluster, pod: Object) -> Trouble:
    name, status = str(pod["metadata"]["name"]), pod.get("status", {})
    for one in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        found = _of_container(name, one)
        if found is not None:
            return found
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return Trouble(name, "", condition.get("reason", "Unschedulable"), condition.get("message", ""), False)
    running = [one["name"] for one in status.get("containerStatuses", []) if "running" in one.get("state", {})]
    return Trouble(name, running[0] if running else "", "NotReady", _last_warning(cluster, name), False)


def _of_container(pod: str, one: Object) -> Trouble | None:
    """What a container's state says, if it is not simply on its way."""
    ended = one.get("lastState", {}).get("terminated") or one.get("state", {}).get("terminated")
    waiting = one.get("state", {}).get("waiting") or {}
    restarts = int(one.get("restartCount", 0))
    if ended and ended.get("exitCode"):
        reason = ended.get("reason", "Error")
        code = f"exit code {ended['exitCode']}"
        return Trouble(pod, one["name"], reason, code, restarts >= TRIES, "lastState" in one and bool(waiting))
    if waiting.get("reason") in ADVICE:
        is_final = waiting["reason"] != "ErrImagePull"
        return Trouble(pod, one["name"], waiting["reason"], waiting.get("message", ""), is_final)
    return None


def _last_warning(cluster: Cluster, pod: str) -> str:
    """Such as a probe's: what was last said of the pod."""
    found = cluster.find("v1", "Event", fields=f"involvedObject.name={pod},type=Warning")
    return str(found[-1].get("message", "")) if found else ""


def _runs(made: Object) -> list[tuple[str, str, tuple[str, ...]]]:
    """Image and arguments of its containers: those of another template are other ones."""
    spec = made.get("spec", {})
    containers = (*spec.get("initContainers", []), *spec.get("containers", []))
    return [(one["name"], one["image"], tuple(one.get("args", []))) for one in containers]


def _is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", []))
