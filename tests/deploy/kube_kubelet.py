"""A kubelet that runs pods as processes here, with their volumes as folders, and the names by which they find each other."""

import base64
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests import s3_server
from tests.deploy import charts, served
from tests.deploy.kube_objects import Object
from tests.deploy.kube_server import Server

RESOLVE = """
import json, os, socket
ask = socket.getaddrinfo
def answer(host, port, *more, **named):
    with open(os.environ["CLUSTER_NAMES"]) as file:
        found = json.load(file).get(host)
    return ask("127.0.0.1", found, *more, **named) if found else ask(host, port, *more, **named)
socket.getaddrinfo = answer
"""


def in_cluster(folder: Path) -> dict[str, str]:
    """The environment of a process that finds Services by their names; the file of names is in this folder."""
    (folder / "sitecustomize.py").write_text(RESOLVE)
    if not names(folder).exists():
        names(folder).write_text("{}")
    return {"PYTHONPATH": f"{folder}:{served.ROOT}", "CLUSTER_NAMES": str(names(folder))}


def names(folder: Path) -> Path:
    return folder / "names.json"


@dataclass
class Kubelet:
    """Runs a pod's containers as they are rendered: `deploy.fetch`, then `deploy.service`, with its volumes as folders here."""

    server: Server
    folder: Path
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start(self, pod: Object) -> int:
        name = pod["metadata"]["name"]
        home, bundles, port = self.folder / name / "home", self.folder / name / "srv", served.free_port()
        self._mount(pod, home)
        fetching, serving = charts.containers(pod)
        here = {"/etc/tingsu": str(home), "/srv/tingsu": str(bundles)}

        def moved(arguments: list[str]) -> list[str]:
            return [re.sub("|".join(here), lambda found: here[found.group()], one) for one in arguments]

        env = {**served.environment(), **s3_server.CREDENTIALS, **in_cluster(self.folder)}
        subprocess.run(
            [sys.executable, *fetching["command"][1:], *moved(fetching["args"])], env=env, check=True, timeout=120
        )
        arguments = [one for one in moved(serving["args"]) if not one.startswith(("--port", "--host"))]
        command = [sys.executable, "-P", "-c", served.WITH_FAKE, *arguments, f"--port={port}"]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait(name, port)
        return port

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        process.wait(30)

    def _mount(self, pod: Object, home: Path) -> None:
        (home / "keys").mkdir(parents=True)
        (volume,) = (one["projected"] for one in pod["spec"]["volumes"] if one["name"] == "home")
        for source in volume["sources"]:
            of, plural = ("configMap", "configmaps") if "configMap" in source else ("secret", "secrets")
            held = self.server.of(plural)[source[of]["name"]]["data"]
            for item in source[of]["items"]:
                if source[of].get("optional") and item["key"] not in held:
                    continue
                text = held[item["key"]].encode()
                (home / item["path"]).write_bytes(base64.b64decode(text) if of == "secret" else text)

    def _wait(self, name: str, port: int) -> None:
        while self.processes[name].poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200:
                    return
        raise AssertionError((self.folder / f"{name}.log").read_text()[-2000:])
