"""What the services in the pods are asked, by way of the API server: whether they answer as they must, what they counted, to mirror."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data_contracts.errors import EngineUnavailable, TingsuError
from deploy import keys
from deploy.client import Client
from deploy.operate import canary_window, trial
from deploy.operate.trial import Where
from deploy.targets import Placed
from deploy.targets import kubernetes_pods as pods
from deploy.targets.kubernetes_api import Cluster, Object
from deploy.targets.kubernetes_sides import Name

MIRROR_S = 10.0


@contextmanager
def reach(cluster: Cluster, pod: Object) -> Iterator[str]:
    """The address of a pod's service for as long as the block runs."""
    with cluster.forward(pod["metadata"]["name"], _port(pod)) as url:
        yield url


def key(home: Path) -> str:
    """What this home's commands show to the services of its rollouts."""
    return keys.chosen(home, "http://127.0.0.1") or keys.own(home)


def check(
    cluster: Cluster, home: Path, found: list[Object], placed: Placed, limit_s: float, folder: Path | None = None
) -> None:
    """Every endpoint of these pods; with the bundle's folder, of the first one also what the bundle says it answers, and a load.

    Raises:
        EngineUnavailable: names the pod and every check that failed.
    """
    for pod in found:
        with reach(cluster, pod) as url:
            where = Where(url, key(home))
            try:
                if folder is not None and pod is found[0]:
                    trial.require(where, folder, placed.bundle_digest, limit_s)
                else:
                    trial.endpoints(where, placed.bundle_digest, limit_s)
            except EngineUnavailable as error:
                name = f"pod {pod['metadata']['name']} in {cluster.namespace}"
                raise EngineUnavailable(f"version {placed.version} in {name} fails its check: {error}") from error


def counted(cluster: Cluster, home: Path, release: str, side: Name) -> dict[str, canary_window.Counted]:
    """Of every ready pod of a side, by its name. One that was taken away between being found and being asked is left out.

    Raises:
        EngineUnavailable: one is there and does not answer.
    """
    found = {}
    for pod in pods.ready(cluster, release, side):
        name = str(pod["metadata"]["name"])
        try:
            with reach(cluster, pod) as url, Client(url, key=key(home)) as client:
                found[name] = canary_window.read(client)
        except EngineUnavailable:
            if any(one["metadata"]["name"] == name for one in pods.ready(cluster, release, side)):
                raise
    return found


def info(cluster: Cluster, home: Path, pod: Object, field: str) -> str:
    """A field of a pod's /model_info."""
    with reach(cluster, pod) as url, Client(url, key=key(home)) as client:
        return str(client.model_info()[field])


def mirror(cluster: Cluster, home: Path, release: str, live: Name, share: float) -> None:
    """Have every ready pod of the live side ask the other side too what it answered, of so many of the requests; 0 ends it.

    A pod that does not take it mirrors nothing: the judge then says that disagreement was not measured, and judges by the rest.
    """
    other = "green" if live == "blue" else "blue"
    for pod in pods.ready(cluster, release, live):
        url = f"http://{release}-{other}.{cluster.namespace}.svc:{_port(pod)}"
        with suppress(TingsuError), reach(cluster, pod) as here, Client(here, MIRROR_S, 0.0, key=key(home)) as client:
            if share:
                client.weigh(0.0, share, url)
            else:
                client.withdraw(MIRROR_S)


def _port(pod: Object) -> int:
    """The Services have the same one."""
    (service,) = (one for one in pod["spec"]["containers"] if one["name"] == "service")
    return int(service["ports"][0]["containerPort"])
