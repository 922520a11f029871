"""An API server on loopback, as faithful as rollouts need it: bearer tokens, a Role that counts, apply, patches, logs, ways into pods."""

import asyncio
import copy
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.deploy import charts, kube_objects
from tests.deploy.kube_objects import Object, Owners, Refused

TOKEN = "of-the-deployer"
NAMESPACE = "prod"
Key = tuple[str, str, str]
"""(apiVersion, plural, name)."""
SINGULAR = {"networkpolicies": "NetworkPolicy"}


@dataclass
class Server:
    """The namespace `prod` of a cluster that knows the Gateway API and the Prometheus operator. `is_open`: Helm shows its token only over
    TLS."""

    objects: dict[Key, Object] = field(default_factory=dict)
    owners: dict[Key, Owners] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    logs: dict[tuple[str, str], str] = field(default_factory=dict)
    forward: Callable[[str, int], int | None] = lambda pod, port: None
    known: set[str] = field(default_factory=lambda: set(kube_objects.CUSTOM.values()))
    rules: list[Object] = field(default_factory=list)
    is_open: bool = False
    turn: int = 0
    url: str = ""
    lock: Any = field(default_factory=threading.RLock)

    def kubeconfig(self, folder: Path, token: str = TOKEN, url: str = "") -> Path:
        """A file that leads here."""
        path = folder / "kubeconfig"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "here",
                    "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": {"server": url or self.url}}],
                    "users": [{"name": "u", "user": {"token": token}}],
                }
            )
        )
        return path

    def of(self, plural: str) -> dict[str, Object]:
        """Name → object, as copies."""
        with self.lock:
            return {key[2]: copy.deepcopy(made) for key, made in self.objects.items() if key[1] == plural}

    def put(self, plural: str, made: Object) -> None:
        """What a controller of the cluster writes: no validation, no owner."""
        with self.lock:
            self.turn += 1
            made["metadata"].setdefault("generation", 1)
            self.objects[(made["apiVersion"], plural, made["metadata"]["name"])] = made

    def drop(self, plural: str, name: str) -> None:
        with self.lock:
            self.turn += 1
            for key in [key for key in self.objects if key[1:] == (plural, name)]:
                del self.objects[key]

    def snapshot(self) -> dict[Key, Object]:
        with self.lock:
            return copy.deepcopy(self.objects)

    def patch(self, key: Key, body: Object, query: Any, content: str) -> Object:
        with self.lock:
            live, owners, manager = self.objects.get(key), self.owners.get(key, {}), query.get("fieldManager", "")
            wanted = body.get("metadata", {}).get("resourceVersion")
            if live is not None and wanted not in (None, live["metadata"].get("resourceVersion")):
                raise Refused(
                    409, f'Operation cannot be fulfilled on {key[1]} "{key[2]}": the object has been modified'
                )
            if content == "application/apply-patch+yaml":
                if not manager:
                    raise Refused(422, "fieldManager is required for apply patch")
                merged, owned = kube_objects.apply(
                    live or _bare(body), owners, body, manager, query.get("force") == "true"
                )
            elif live is None:
                raise Refused(404, f'{key[1]} "{key[2]}" not found')
            else:
                merged, owned = kube_objects.merge(live, owners, body, manager)
            made = kube_objects.finish(merged, live, self.turn + 1)
            if query.get("dryRun") != "All":
                self.turn += 1
                self.objects[key], self.owners[key] = made, owned
            return self.shown(key, made, owned)

    def create(self, key: Key, body: Object, query: Any) -> Object:
        with self.lock:
            if key in self.objects:
                raise Refused(409, f'{key[1]} "{key[2]}" already exists')
            return self.patch(key, body, {**query, "force": "true"}, "application/apply-patch+yaml")

    def shown(self, key: Key, made: Object, owned: Owners | None = None) -> Object:
        out = copy.deepcopy(made)
        held = self.owners.get(key, {}) if owned is None else owned
        out["metadata"]["managedFields"] = [{"manager": who, "operation": how, "fieldsV1": {}} for who, how in held]
        return out


def _bare(body: Object) -> Object:
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": {"name": body["metadata"]["name"], "namespace": NAMESPACE},
    }


def _failure(code: int, message: str) -> Response:
    return JSONResponse({"kind": "Status", "status": "Failure", "message": message, "code": code}, code)


def _app(server: Server) -> Starlette:
    def answer(request: Request) -> Response:
        p = request.path_params
        api = f"{p['group']}/{p['version']}" if "group" in p else p["version"]
        plural, name, sub = p["plural"], p.get("name", ""), p.get("sub", "")
        try:
            _admit(server, request, p.get("group", ""), f"{plural}/{sub}" if sub else plural, name)
            return _serve(server, request, (api, plural, name), sub)
        except Refused as refused:
            return _failure(refused.code, refused.message)

    async def ask(request: Request) -> Response:
        request.state.body = await request.body()
        return await asyncio.to_thread(answer, request)

    async def known(_: Request) -> Response:  # what Helm's `lookup` asks first
        configmaps = {"name": "configmaps", "namespaced": True, "kind": "ConfigMap", "verbs": ["get"]}
        return JSONResponse({"kind": "APIResourceList", "groupVersion": "v1", "resources": [configmaps]})

    async def forward(socket_: WebSocket) -> None:
        await _forward(server, socket_)

    routes: list[Any] = []
    for root in ("/api/{version}", "/apis/{group}/{version}"):
        base = root + "/namespaces/{namespace}/{plural}"
        for tail in ("/{name}/{sub}", "/{name}", ""):
            routes.append(Route(base + tail, ask, methods=["GET", "PATCH", "DELETE", "POST", "PUT"]))
    portforward = WebSocketRoute("/api/v1/namespaces/{namespace}/pods/{name}/portforward", forward)
    return Starlette(routes=[Route("/api/v1", known), portforward, *routes])


def _admit(server: Server, request: Request, group: str, resource: str, name: str) -> None:
    if server.failures:
        raise Refused(server.failures.pop(0), "etcdserver: request timed out")
    if not server.is_open and request.headers.get("authorization") != f"Bearer {TOKEN}":
        raise Refused(401, "Unauthorized")
    if request.path_params["namespace"] != NAMESPACE:
        raise Refused(404, f'namespaces "{request.path_params["namespace"]}" not found')
    verb = {"GET": "get" if name else "list", "PATCH": "patch", "DELETE": "delete", "POST": "create"}[request.method]
    server.asked.append((group, resource, verb))
    asked = [r for r in server.rules if group in r["apiGroups"] and resource in r["resources"] and verb in r["verbs"]]
    if not any(name in r.get("resourceNames", [name]) for r in asked):
        of = f'{resource}{"." if group else ""}{group} "{name}"'
        where = f'in API group "{group}" in the namespace "{NAMESPACE}"'
        raise Refused(403, f'{of} is forbidden: User "deployer" cannot {verb} resource "{resource}" {where}')


def _serve(server: Server, request: Request, key: Key, sub: str) -> Response:
    plural, name = key[1], key[2]
    if plural in kube_objects.CUSTOM.values() and plural not in server.known:
        return PlainTextResponse("404 page not found", 404)
    if sub == "log":
        previous = request.query_params.get("previous") == "true"
        found = server.logs.get((name, request.query_params["container"] + ("/previous" if previous else "")))
        if found is None:
            raise Refused(400, f'container "{request.query_params["container"]}" in pod "{name}" is waiting to start')
        return PlainTextResponse(found)
    if request.method == "GET":
        return JSONResponse(_read(server, request, key))
    dry = request.query_params.get("dryRun") == "All"
    if not dry:
        server.writes.append(f"{request.method} {plural}/{name}{'/' + sub if sub else ''}")
    if request.method == "DELETE":
        return _delete(server, key)
    body = yaml.safe_load(request.state.body)
    if request.method == "POST":
        return JSONResponse(server.create((key[0], plural, body["metadata"]["name"]), body, request.query_params), 201)
    content = request.headers.get("content-type", "")
    return JSONResponse(server.patch(key, body, request.query_params, content))


def _read(server: Server, request: Request, key: Key) -> Object:
    with server.lock:
        if key[2]:
            if key not in server.objects:
                raise Refused(404, f'{key[1]} "{key[2]}" not found')
            return server.shown(key, server.objects[key])
        wanted = dict(one.split("=") for one in request.query_params.get("labelSelector", "").split(",") if one)
        fields = dict(one.split("=") for one in request.query_params.get("fieldSelector", "").split(",") if one)
        found = [made for k, made in server.objects.items() if k[:2] == key[:2]]
        items = [
            one for one in found if wanted.items() <= one["metadata"].get("labels", {}).items() and _has(one, fields)
        ]
        return {"kind": "List", "items": copy.deepcopy(items)}


def _has(made: Object, fields: dict[str, str]) -> bool:
    for path, value in fields.items():
        node: Any = made
        for step in path.split("."):
            node = node.get(step, {}) if isinstance(node, dict) else {}
        if node != value:
            return False
    return True


def _delete(server: Server, key: Key) -> Response:
    with server.lock:
        if key not in server.objects:
            raise Refused(404, f'{key[1]} "{key[2]}" not found')
        server.turn += 1
        del server.objects[key]
        server.owners.pop(key, None)
    return JSONResponse({"kind": "Status", "status": "Success"})


async def _forward(server: Server, outer: WebSocket) -> None:
    """The protocol v4.channel.k8s.io: channel 0 is the data, 1 the errors; each begins with the port in two bytes."""
    if outer.headers.get("authorization") != f"Bearer {TOKEN}":
        await outer.close(1008)
        return
    port = int(outer.query_params["ports"])
    await outer.accept("v4.channel.k8s.io")
    inside = server.forward(outer.path_params["name"], port)
    for channel in (0, 1):
        await outer.send_bytes(bytes([channel]) + port.to_bytes(2, "little"))
    if inside is None:
        await outer.send_bytes(b"\x01error forwarding port: connection refused")
        await outer.close()
        return
    reader, writer = await asyncio.open_connection("127.0.0.1", inside)

    async def back() -> None:
        while data := await reader.read(65536):
            await outer.send_bytes(b"\x00" + data)
        await outer.close()

    task = asyncio.create_task(back())
    with suppress(WebSocketDisconnect, RuntimeError):
        while True:
            message = await outer.receive_bytes()
            writer.write(message[1:])
            await writer.drain()
    task.cancel()
    writer.close()


@contextmanager
def serving() -> Iterator[Server]:
    """While the block runs."""
    role = yaml.safe_load((charts.HELM / "controller-role.yaml").read_text(encoding="utf-8"))
    server = Server(rules=role["rules"])
    # asyncio sends an answer's body without waiting 40 ms for the client to acknowledge the headers only on a socket named TCP.
    with socket.socket(proto=socket.IPPROTO_TCP) as s:
        s.bind(("127.0.0.1", 0))
        s.listen(64)
        server.url = f"http://127.0.0.1:{s.getsockname()[1]}"
        running = uvicorn.Server(uvicorn.Config(_app(server), log_level="error", ws="websockets-sansio"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [s]}, daemon=True)
        thread.start()
        while not running.started:
            thread.join(0.01)
        try:
            yield server
        finally:
            running.should_exit = True
            thread.join(10)


def text(made: Object) -> str:
    return json.dumps(made, sort_keys=True)
