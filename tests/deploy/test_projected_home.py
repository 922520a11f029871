"""A home as the chart mounts it: one projected volume of a ConfigMap and a Secret, which the kubelet exchanges as a whole."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from deploy import bundle, keys
from deploy.store import FolderStore
from tests.deploy import served

KUBELET = {"Host": "10.1.2.3:8000"}


class Projected:
    """What the kubelet does: a new folder, then its link renamed over the old one; names in the home itself never change."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.turn = 0

    def write(self, settings: str, gate_pub: str, service_json: bytes) -> None:
        self.turn += 1
        content = self.home / f"..2026_{self.turn}"
        (content / "keys").mkdir(parents=True)
        (content / "settings.yaml").write_text(settings)
        (content / "keys/gate.pub").write_text(gate_pub)
        (content / "keys/service.json").write_bytes(service_json)
        (self.home / "..data_tmp").symlink_to(content.name)
        (self.home / "..data_tmp").rename(self.home / "..data")
        for name in ("settings.yaml", "keys"):
            if not (self.home / name).is_symlink():
                (self.home / name).symlink_to(f"..data/{name}")


def until(holds: Callable[[], bool], limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_probes_need_no_key_and_settings_and_keys_change_with_the_volume(tmp_path: Path) -> None:
    operator = tmp_path / "operator"
    folder = served.promote(store := FolderStore(tmp_path / "store"), served.fake_bundle(store), operator)
    shown = keys.add(operator, "prometheus", ["metrics"])
    gate_pub, before = bundle.public_key(operator), keys.file(operator).read_bytes()
    keys.revoke(operator, "prometheus")
    volume = Projected(tmp_path / "home")
    volume.write("serve: {max_turns: 50}\n", gate_pub, before)
    mounted = sorted(p.name for p in volume.home.iterdir())

    with served.serving(folder, volume.home, "--host=0.0.0.0", "--version=7") as running:
        running.ready()
        with_key = {"Authorization": f"Bearer {shown}"}

        def status(path: str, headers: dict[str, str]) -> int:
            return httpx.get(running.url + path, headers=headers).status_code

        assert [status(path, KUBELET) for path in ("/ready", "/health")] == [200, 200]
        assert [status("/metrics", headers) for headers in ({}, with_key)] == [401, 200]
        volume.write("serve: {max_turns: 60}\n", gate_pub, before)
        until(
            lambda: (
                "serve.max_turns"
                in httpx.get(f"{running.url}/model_info", headers=with_key).json()["settings"]["changed"]
            )
        )
        volume.write("serve: {max_turns: 60}\n", gate_pub, keys.file(operator).read_bytes())

        assert status("/metrics", with_key) == 401
        assert status("/ready", KUBELET) == 200
        found = {p.name for p in volume.home.iterdir()} - {"..2026_2", "..2026_3", "logs"}
        assert sorted(found) == mounted, "the service wrote into its home, which is read-only in a pod"
