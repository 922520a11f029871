"""The Kubernetes API as rollouts need it: objects as plain mappings, server-side apply, logs, and a way into a pod."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.rollout import KubernetesSettings
from data_contracts.errors import ConfigurationError, EngineUnavailable, TingsuError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Object = dict[str, Any]
MANAGER = "tingsu"
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
PASSING = (429, 500, 502, 503, 504)
PATIENCE_S = 30.0
"""For an API server that is being restarted or is too busy. Whatever is asked of it here may be asked twice."""


class Cluster:
    """One namespace of one cluster."""

    def __init__(self, client: "ApiClient", namespace: str, patience_s: float = PATIENCE_S) -> None:
        self.client = client
        self.namespace = namespace
        self.patience_s = patience_s

    @property
    def address(self) -> str:
        return str(self.client.configuration.host)

    def beside(self, patience_s: float) -> "Cluster":
        """The same one, by a client of its own: for another thread."""
        from kubernetes.client import ApiClient

        return Cluster(ApiClient(self.client.configuration), self.namespace, patience_s)

    def get(self, api: str, kind: str, name: str) -> Object | None:
        """The object; None if there is none."""
        return self._send("GET", self._path(api, kind, name), missing=True)

    def find(self, api: str, kind: str, labels: Mapping[str, str] = {}, fields: str = "") -> list[Object]:
        """The objects that bear the labels (and fields such as involvedObject.name=a)."""
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items()), "fieldSelector": fields}
        found = self._send("GET", self._path(api, kind), {key: value for key, value in query.items() if value})
        return list((found or {}).get("items", []))

    def apply(self, made: Object, *, dry_run: bool = False) -> Object:
        """Make the object so, server-side, and leave alone what others have set in it; returns it as it is then, or would be."""
        query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        query |= {"dryRun": "All"} if dry_run else {}
        path = self._path(made["apiVersion"], made["kind"], made["metadata"]["name"])
        return self._send("PATCH", path, query, made, APPLY) or {}

    def patch(
        self, api: str, kind: str, name: str, change: Object, *, dry_run: bool = False, missing: bool = False
    ) -> Object | None:
        """Change some fields; `missing`: an object that is not there is no error, but None.

        Raises:
            Conflict: `change` names another metadata.resourceVersion than the object has by now.
        """
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return self._send("PATCH", self._path(api, kind, name), query, change, MERGE, missing=missing)

    def create(self, made: Object) -> Object:
        """Make an object that is not there yet.

        Raises:
            Conflict: there is one of that name.
        """
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        path = self._path(made["apiVersion"], made["kind"])
        return self._send("POST", path, query, made, "application/json") or {}

    def scale(self, deployment: str, replicas: int) -> None:
        """So many pods from now on, whoever counts them else."""
        path = f"{self._path('apps/v1', 'Deployment', deployment)}/scale"
        self._send("PATCH", path, {"fieldManager": MANAGER}, {"spec": {"replicas": replicas}}, MERGE)

    def delete(self, api: str, kind: str, name: str) -> None:
        """Delete it and what it made; nothing if it is gone already."""
        path = self._path(api, kind, name)
        self._send("DELETE", path, {"propagationPolicy": "Background"}, missing=True)

    def log(self, pod: str, container: str, *, previous: bool) -> list[str]:
        """The last lines of a container; empty where there is no log."""
        query = {"container": container, "previous": str(previous).lower(), "tailLines": "40"}
        try:
            return (
                self._raw("GET", f"{self._path('v1', 'Pod', pod)}/log", query, None, "")
                .decode(errors="replace")
                .splitlines()
            )
        except TingsuError:  # it never ran, or its log went with its node: what is told of it stays
            return []

    @contextmanager
    def forward(self, pod: str, port: int) -> Iterator[str]:
        """The address, on this machine, of a pod's port, by way of the API server, whatever the network's policies say."""
        with socket.create_server(("127.0.0.1", 0)) as door:
            stopped = threading.Event()
            waiting = threading.Thread(target=self._let_in, args=(door, stopped, pod, port), daemon=True)
            waiting.start()
            try:
                yield f"http://127.0.0.1:{door.getsockname()[1]}"
            finally:
                stopped.set()
                with suppress(OSError), socket.create_connection(door.getsockname(), 1):
                    pass  # so that accept() returns
                waiting.join(5)

    def _let_in(self, door: socket.socket, stopped: threading.Event, pod: str, port: int) -> None:
        while not stopped.is_set():
            caller, _ = door.accept()
            if not stopped.is_set():
                threading.Thread(target=self._join, args=(caller, pod, port), daemon=True).start()
            else:
                caller.close()

    def _join(self, caller: socket.socket, pod: str, port: int) -> None:
        """Carry what is said both ways. A pod that cannot be reached looks to the caller like one that hangs up."""
        from kubernetes.client import ApiClient, CoreV1Api
        from kubernetes.client.exceptions import ApiException
        from kubernetes.stream import portforward

        try:  # a client of its own: `portforward` exchanges a method of it for the time of the call
            api = CoreV1Api(ApiClient(self.client.configuration))
            inside = portforward(api.connect_get_namespaced_pod_portforward, pod, self.namespace, ports=str(port))
        except (ApiException, OSError):
            caller.close()
            return
        there = inside.socket(port)
        back = threading.Thread(target=_copy, args=(there, caller), daemon=True)
        back.start()
        _copy(caller, there)
        back.join()
        caller.close()
        there.close()

    def _path(self, api: str, kind: str, name: str = "") -> str:
        plural = kind.lower().removesuffix("y") + ("ies" if kind.endswith("y") else "s")
        group = f"/apis/{api}" if "/" in api else f"/api/{api}"
        return f"{group}/namespaces/{self.namespace}/{plural}" + (f"/{name}" if name else "")

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] = {},
        body: Object | None = None,
        content: str = "",
        *,
        missing: bool = False,
    ) -> Object | None:
        """The object answered; None for what is missing where that may be."""
        try:
            answer = self._raw(method, path, query, body, content)
        except _Missing:
            if missing:
                return None
            raise
        return dict(json.loads(answer))

    def _raw(self, method: str, path: str, query: Mapping[str, str], body: Object | None, content: str) -> bytes:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json"} | ({"Content-Type": content} if content else {})
        until = time.monotonic() + self.patience_s
        while True:
            failed: Exception
            try:
                answer = self.client.call_api(
                    path,
                    method,
                    query_params=list(query.items()),
                    header_params=dict(headers),
                    body=body,
                    auth_settings=["BearerToken"],
                    _preload_content=False,
                    _return_http_data_only=True,
                    _request_timeout=(5, 30),
                )
                return bytes(answer.data)
            except ApiException as error:
                failed = error
                if error.status not in PASSING:
                    raise self._refused(method, path, error) from error
            except (HTTPError, OSError) as error:
                failed = error
            if time.monotonic() > until:
                raise EngineUnavailable(
                    f"the Kubernetes API at {self.address} does not answer ({type(failed).__name__}); is it up, and is "
                    f"rollout.kubernetes.context the right one? kubectl -n {self.namespace} get deployments"
                ) from failed
            time.sleep(0.5)

    def _refused(self, method: str, path: str, error: Any) -> TingsuError:
        what = f"the Kubernetes API at {self.address}"
        said = _message(error.body)
        if error.status == 401:
            return ConfigurationError(f"{what} does not know who asks: {said}. Renew the credentials of the kubeconfig")
        if error.status == 403:
            return ConfigurationError(
                f"{said} ({what}). Grant deploy/helm/controller-role.yaml to whom the kubeconfig names"
            )
        if error.status == 404:
            return _Missing(
                f"{what} has no {path}: {said}. Is the namespace {self.namespace!r} there, and does the cluster know the kind "
                "(an HTTPRoute needs the Gateway API, a ServiceMonitor the Prometheus operator)?"
            )
        if error.status == 409:
            return Conflict(f"{what} refuses {method} {path}: {said}. Somebody changed it meanwhile; do the same again")
        return ConfigurationError(
            f"{what} refuses {method} {path}: {said}. Mend the values of the chart, and do the same again"
        )


class _Missing(ConfigurationError):
    """There is no such object, namespace or kind."""


class Conflict(ConfigurationError):
    """The object is there already, or is another one by now."""


def connect(settings: KubernetesSettings) -> Cluster:
    """The cluster of the settings: by kubeconfig, or, without one, as the pod this runs in.

    Raises:
        ConfigurationError: the client is not installed, or there is no kubeconfig or no such context.
    """
    try:
        from kubernetes import client, config
        from kubernetes.config.config_exception import ConfigException
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "rollout.target is kubernetes, and its client is not installed: "
            ".venv/bin/pip install -c constraints.txt --group kubernetes"
        ) from error
    found = client.Configuration()
    try:
        try:
            file = str(Path(settings.kubeconfig).expanduser()) if settings.kubeconfig else None
            config.load_kube_config(file, settings.context or None, found, persist_config=False)
        except ConfigException:
            if settings.kubeconfig or settings.context:
                raise
            config.load_incluster_config(found)
    except (ConfigException, OSError) as error:
        raise ConfigurationError(
            f"there is no way to a cluster: {error}. Set rollout.kubernetes.kubeconfig and rollout.kubernetes.context; "
            "kubectl config get-contexts shows what there is"
        ) from error
    found.retries = False
    return Cluster(client.ApiClient(found), settings.namespace)


def until(holds: Callable[[], bool], limit_s: float) -> bool:
    """Wait for it, asking less and less often; whether it came true in time."""
    end, pause_s = time.monotonic() + limit_s, 0.05
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 1.0)
    return True


def _copy(source: Any, sink: Any) -> None:
    """Until one side ends; then the other one is told."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _message(body: str | bytes | None) -> str:
    try:
        return str(json.loads(body or "{}")["message"])
    except (ValueError, KeyError, TypeError):
        return "no reason given"
