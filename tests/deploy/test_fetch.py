"""What a pod's init container does: bundles from S3 to this machine, of the right digest and with a verdict that holds, or a refusal."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy import bundle, keys
from deploy.s3 import S3Store
from deploy.store import FolderStore
from tests import s3_server
from tests.deploy import charts, served

BUCKET = "fetch"


@dataclass
class Place:
    """A bucket with one promoted bundle, and the home whose gate promoted it."""

    url: str
    endpoint_url: str
    home: Path
    digest: str
    store: S3Store

    def fetch(self, into: Path, digest: str = "", home: Path | None = None) -> "subprocess.CompletedProcess[str]":
        place = [
            f"--store={self.url}",
            f"--endpoint-url={self.endpoint_url}",
            f"--home={home or self.home}",
            f"--into={into}",
        ]
        command = [sys.executable, "-P", "-m", "deploy.fetch", digest or self.digest, *place]
        environment = {**served.environment(), **s3_server.CREDENTIALS}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    at = tmp_path_factory.mktemp("place")
    with s3_server.serving() as endpoint_url, pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.CREDENTIALS.items():
            patch.setenv(name, value)
        local = FolderStore(at / "local")
        ref = served.fake_bundle(local)
        store = S3Store(f"s3://{BUCKET}/store", endpoint_url, at / "cache")
        store.client.create_bucket(Bucket=BUCKET)
        served.promote(local, ref, at / "home")
        verdict = local.read(f"{ref.key}.attest/{bundle.VERDICT}")
        assert verdict is not None
        store.commit(local.root / ref.key, ref.key)
        store.write(f"{ref.key}.attest/{bundle.VERDICT}", verdict)
        yield Place(f"s3://{BUCKET}/store", endpoint_url, at / "home", ref.digest, store)


def test_a_promoted_bundle_is_fetched_to_where_the_chart_looks_for_it_and_serves(place: Place, tmp_path: Path) -> None:
    done = place.fetch(tmp_path)

    folder = tmp_path / "cache/bundles" / place.digest
    assert (done.returncode, done.stdout) == (0, f"{folder}\n"), done.stderr
    assert bundle.permit(bundle.open(folder), bundle.public_key(place.home)).decision == "PROMOTE"


def test_what_an_earlier_start_left_damaged_is_fetched_again(place: Place, tmp_path: Path) -> None:
    assert place.fetch(tmp_path).returncode == 0
    weights = tmp_path / "cache/bundles" / place.digest / "model/model.safetensors"
    weights.write_bytes(b"x" * weights.stat().st_size)

    assert place.fetch(tmp_path).returncode == 0
    assert weights.read_bytes() == b"w" * 1000


def test_a_bundle_that_no_trusted_gate_promoted_is_refused(place: Place, tmp_path: Path) -> None:
    bundle.keypair(tmp_path / "stranger")

    done = place.fetch(tmp_path / "into", home=tmp_path / "stranger")

    assert done.returncode == 3
    assert "is not signed by the key this home trusts" in done.stderr


def test_a_bundle_under_the_name_of_another_is_refused(place: Place, tmp_path: Path) -> None:
    other = "9" * 64
    store = S3Store(place.url, place.endpoint_url, tmp_path / "cache")
    copy = tmp_path / "copy"
    shutil.copytree(place.store.local(f"bundles/{place.digest}"), copy)
    (copy / ".files.json").unlink()
    store.commit(copy, f"bundles/{other}")

    done = place.fetch(tmp_path / "into", other)

    assert done.returncode == 1
    assert f"the folder's name says {other[:12]}" in done.stderr


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"digest": "8" * 64}, 1, "is not in the store"),
        ({"home": Path("/nonexistent")}, 2, "gate.pub is missing"),
    ],
)
def test_what_is_missing_is_named(place: Place, tmp_path: Path, change: dict[str, Any], code: int, said: str) -> None:
    done = place.fetch(tmp_path, **change)

    assert said in done.stderr
    assert "Traceback" not in done.stderr and done.returncode == code


def test_the_store_need_not_be_writable(place: Place, tmp_path: Path) -> None:
    before = sorted(place.store.client.list_objects_v2(Bucket=BUCKET)["Contents"], key=lambda o: o["Key"])

    assert place.fetch(tmp_path).returncode == 0
    assert sorted(place.store.client.list_objects_v2(Bucket=BUCKET)["Contents"], key=lambda o: o["Key"]) == before
    assert os.listdir(tmp_path) == ["cache"]


def test_a_pod_as_the_chart_renders_it_fetches_its_bundle_and_serves_it(place: Place, tmp_path: Path) -> None:
    bucket = {"bundles__url": place.url, "bundles__endpointUrl": place.endpoint_url}
    given = charts.values("s3", blue__bundle=place.digest, blue__version=12, **bucket)
    fetching, serving = charts.containers(charts.pods(charts.render(given))["tingsu-blue"])
    mounted = {"/etc/tingsu": str(place.home), "/srv/tingsu": str(tmp_path)}

    def here(arguments: list[str]) -> list[str]:
        """What is mounted there in a pod, where it is here."""
        return [re.sub("|".join(mounted), lambda found: mounted[found.group()], one) for one in arguments]

    command = [sys.executable, *fetching["command"][1:], *here(fetching["args"])]
    subprocess.run(command, env={**served.environment(), **s3_server.CREDENTIALS}, check=True, timeout=60)
    key = {"Authorization": f"Bearer {keys.add(place.home, 'caller', ['classify'])}"}
    more = [one for one in here(serving["args"]) if not one.startswith("--port")]
    with served.serving(None, place.home, *more) as running:
        running.ready()
        info = httpx.get(f"{running.url}/model_info", headers=key).json()
        answer = httpx.post(f"{running.url}/api/v1/classify", json={"text": "客户：多扣了钱。"}, headers=key)

    assert (info["bundle_digest"], info["evaluation"], answer.status_code) == (place.digest, False, 200)
    assert "12" in answer.json()["model_version"]
