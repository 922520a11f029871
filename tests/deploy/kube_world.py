"""A cluster with two versions in the bucket that its pods fetch from, and the home of a controller: fixtures for rollouts to Kubernetes."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from configs.settings import Settings
from data_contracts.artifacts import BundleRef
from deploy import bundle
from deploy.s3 import S3Store
from deploy.store import FolderStore
from deploy.targets import Placed
from deploy.targets.kubernetes import Kubernetes
from tests import s3_server
from tests.deploy import charts, kube_kubelet, kube_server, served
from tests.deploy.kube_kubelet import Kubelet
from tests.deploy.kube_nodes import Nodes, running
from tests.deploy.kube_server import NAMESPACE, Server

BUCKET = "kube"


@dataclass
class Bucket:
    """A store on S3 and the same one in a folder; `home`: where the gate's key is."""

    home: Path
    endpoint_url: str
    local: FolderStore
    store: S3Store
    versions: tuple[Placed, ...] = ()

    def add(self, number: int, decision: str = "PROMOTE") -> BundleRef:
        """A bundle that learned from real calls, as far as it says, judged by the gate."""
        model = served.fake_model(self.local, shift=float(number))
        golden = served.golden(self.local.root / model.key, served.FakeEngine(shift=float(number)))
        parts = served.parts(model, golden).model_copy(update={"synthetic": False})
        ref = bundle.assemble(parts, self.local)
        served.promote(self.local, ref, self.home, decision)
        shutil.copytree(self.local.root / ref.key, copy := self.home / f"copy-{number}")
        self.store.commit(copy, ref.key)
        self.attest(ref, bundle.VERDICT)
        return ref

    def attest(self, ref: BundleRef, name: str) -> None:
        said = self.local.read(f"{ref.key}.attest/{name}")
        assert said is not None
        self.store.write(f"{ref.key}.attest/{name}", said)


@dataclass
class Cluster:
    """A cluster, and what is rolled out to it from where. `one` and `two`: versions that the gate promoted."""

    server: Server
    nodes: Nodes
    bucket: Bucket
    values: dict[str, Any]

    @property
    def home(self) -> Path:
        return self.bucket.home

    @property
    def versions(self) -> tuple[Placed, ...]:
        return self.bucket.versions

    def another_home(self, folder: Path) -> Path:
        """A home with the keys of the first one, and a record of its own."""
        shutil.copytree(self.home / "keys", folder / "keys")
        return folder

    def target(self, home: Path | None = None, **rollout: Any) -> Kubernetes:
        home = home or self.home
        (home / "values.yaml").write_text(yaml.safe_dump(self.values))
        at = {
            "kubeconfig": str(self.server.kubeconfig(home)),
            "namespace": NAMESPACE,
            "values": ["values.yaml"],
            "start_timeout_s": 120,
            "split": "gateway",
            **rollout.pop("kubernetes", {}),
        }
        return Kubernetes(home, Settings.model_validate({"rollout": {"kubernetes": at, **rollout}}))

    def live(self, **rollout: Any) -> Kubernetes:
        """The target once version 1 has all of the traffic."""
        target = self.target(**rollout)
        target.stage(self.versions[0])
        target.switch(self.versions[0])
        return target

    def in_canary(self, share: float, **rollout: Any) -> Kubernetes:
        """The target once version 2 has this share beside version 1."""
        target = self.live(**rollout)
        target.stage(self.versions[1])
        target.weigh(self.versions[1], share)
        return target

    def serving(self) -> dict[str, int]:
        """Version → percent of the requests, as the cluster's own objects say."""
        (rule,) = self.server.of("httproutes")["tingsu"]["spec"]["rules"]
        versions = {name: self.version(name) for name in self.server.of("deployments")}
        return {versions[ref["name"]]: ref["weight"] for ref in rule["backendRefs"]}

    def version(self, deployment: str) -> str:
        (container,) = self.server.of("deployments")[deployment]["spec"]["template"]["spec"]["containers"]
        return next(one.removeprefix("--version=") for one in container["args"] if one.startswith("--version="))

    def sizes(self) -> dict[str, int]:
        """Deployment → pods asked for."""
        return {name: made["spec"]["replicas"] for name, made in self.server.of("deployments").items()}

    def ask(self, side: str) -> httpx.Client:
        """A client of the first pod of a side, with the key of this home's own commands."""
        name = next(n for n in sorted(self.nodes.ports) if n.startswith(f"tingsu-{side}-"))
        key = (self.home / "keys/machine.key").read_text()
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.nodes.ports[name]}", headers={"Authorization": f"Bearer {key}"}
        )


def values() -> dict[str, Any]:
    found = charts.values("canary-gateway", replicas=1, autoscaling={"enabled": False})
    for unwanted in ("blue", "green", "rollout", "serviceMonitor", "prometheusRule"):
        del found[unwanted]
    return found


@pytest.fixture(scope="session")
def kube_bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    at = tmp_path_factory.mktemp("bucket")
    (at / "home").mkdir()
    with s3_server.serving() as endpoint_url:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in s3_server.CREDENTIALS.items():
                patch.setenv(name, value)
            store = S3Store(f"s3://{BUCKET}/store", endpoint_url, at / "cache")
            store.client.create_bucket(Bucket=BUCKET)
        made = Bucket(at / "home", endpoint_url, FolderStore(at / "local"), store)
        for number in (1, 2):
            ref = made.add(number)
            folder = str(made.local.root / ref.key)
            placed = Placed(version=number, bundle_digest=ref.digest, folder=folder, verdict_signature="s")
            made.versions += (placed,)
        yield made


@pytest.fixture
def real(kube_bucket: Bucket, tmp_path: Path) -> Iterator[Cluster]:
    """Pods are processes: they fetch their bundle and serve it."""
    at = {"url": f"s3://{BUCKET}/store", "endpointUrl": kube_bucket.endpoint_url, "credentialsSecret": "tingsu-s3"}
    with kube_server.serving() as server:
        kubelet = Kubelet(server, tmp_path)
        nodes = Nodes(server, kubelet.start, kubelet.stop, names=kube_kubelet.names(tmp_path))
        with running(server, nodes):
            yield Cluster(server, nodes, kube_bucket, values() | {"bundles": at})


@pytest.fixture(scope="session")
def kube_services(
    kube_bucket: Bucket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, int], Path]]:
    """Digest → port of a service of each version; and the folder of the names that they find each other by."""
    folder = tmp_path_factory.mktemp("names")
    before = ["env", *(f"{name}={value}" for name, value in kube_kubelet.in_cluster(folder).items())]
    one, two = kube_bucket.versions
    with (
        served.serving(Path(one.folder), kube_bucket.home, "--version=1", before=before) as a,
        served.serving(Path(two.folder), kube_bucket.home, "--version=2", before=before) as b,
    ):
        yield {of.bundle_digest: httpx.URL(s.ready().url).port or 0 for of, s in ((one, a), (two, b))}, folder


@pytest.fixture
def quick(kube_bucket: Bucket, kube_services: tuple[dict[str, int], Path]) -> Iterator[Cluster]:
    """Pods are there at once: behind those of a version stands one service that runs all the while."""
    ports, folder = kube_services

    def start(pod: Any) -> int:
        fetching, _ = charts.containers(pod)
        return ports[fetching["args"][0]]

    with kube_server.serving() as server:
        nodes = Nodes(server, start, names=kube_kubelet.names(folder))
        with running(server, nodes):
            yield Cluster(server, nodes, kube_bucket, values())
