"""The platform for Docker without Docker: its file is valid, nothing in it is a known password, what it configures is right."""

import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.sources import load
from deploy.compose import bucket
from deploy.s3 import S3Store
from tests import s3_server
from tests.deploy import charts
from tests.deploy.test_chart import counted

COMPOSE = Path(__file__).parents[2] / "deploy/compose"
NEEDED = {"postgres", "s3", "mlflow", "prefect", "tingsu", "nginx", "prometheus", "grafana"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy with secrets of its own."""
    copy = tmp_path / "compose"
    shutil.copytree(COMPOSE, copy, ignore=shutil.ignore_patterns(".env*", "__pycache__"))
    subprocess.run([copy / "up.sh", "--only-secrets"], check=True)
    return copy


def resolved(folder: Path) -> dict[str, Any]:
    """As Docker's own program reads it, which holds it to the schema."""
    command = ["docker-compose", "--env-file", ".env", "--file", "compose.yaml", "config"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(yaml.safe_load(done.stdout))


def test_the_file_is_valid_and_has_every_part_pinned_and_on_this_machine_alone(folder: Path) -> None:
    services = resolved(folder)["services"]

    assert services.keys() >= NEEDED
    for name, made in services.items():
        assert "build" in made or re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", made["image"]), name
        assert all("127.0.0.1" in str(port) for port in made.get("ports", [])), name
        assert made["security_opt"] == ["no-new-privileges:true"] and made["init"] is True
        for volume in made.get("volumes", []):
            source = str(volume).partition(":")[0]
            assert not source.startswith("/") or Path(source).exists(), f"{name} mounts {source}, which is not there"


def test_secrets_are_made_once_for_the_owner_alone_and_are_nowhere_in_what_is_committed(folder: Path) -> None:
    before = (folder / ".env").read_text()
    subprocess.run([folder / "up.sh", "--only-secrets"], check=True)
    made = dict(line.split("=", 1) for line in before.split())

    assert (folder / ".env").read_text() == before and stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    secrets = {name: value for name, value in made.items() if name != "COMPOSE_PROJECT_NAME"}
    assert len(set(secrets.values())) == len(secrets) == 4 and min(map(len, secrets.values())) == 48
    text = (COMPOSE / "compose.yaml").read_text()
    for name, value in re.findall(r"(\w*(?:PASSWORD|_KEY|KEY_ID)\w*): (.+)", text):
        assert value.startswith("${") and ":?" in value, name
    assert set(re.findall(r"\$\{(\w+):\?", text)) == secrets.keys()
    assert "deploy/compose/.env*" in (COMPOSE.parents[1] / ".gitignore").read_text()
    assert "deploy/compose/.env*" in (COMPOSE.parents[1] / ".dockerignore").read_text()


def test_the_worker_reads_the_settings_it_is_given(folder: Path) -> None:
    given = resolved(folder)["services"]["tingsu"]["environment"]

    found = load(env={**given, "TINGSU_HOME": "/nonexistent"})

    assert (found.store.url, found.store.endpoint_url) == ("s3://tingsu/store", "http://s3:8333")
    assert (found.mlflow.uri, found.serve.host, found.profile) == ("http://mlflow:5000", "0.0.0.0", "tiny")
    assert (found.rollout.target, found.ports.service) == ("local", 8000)


def test_a_service_that_ended_comes_back_with_what_is_live() -> None:
    """A `deploy` would undo a version that waits for approval."""
    words = re.findall(r"python -P -m flows (.*) \|\| true$", (COMPOSE / "run.sh").read_text(), re.M)

    assert words == ["up --service"]
    argv = [sys.executable, "-P", "-m", "flows", *words[0].split(), "--help"]
    assert subprocess.run(argv, capture_output=True).returncode == 0


def test_the_bucket_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in s3_server.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server.serving() as url:
        bucket.main("s3://tingsu", url)
        bucket.main("s3://tingsu", url)

        names = [one["Name"] for one in S3Store("s3://tingsu", url, tmp_path).client.list_buckets()["Buckets"]]
    assert names == ["tingsu"]


def test_prometheus_takes_its_configuration_and_the_alerts_are_those_of_the_chart(folder: Path) -> None:
    config = (folder / "prometheus.yml").read_text().replace("/scrape/key", str(folder / "prometheus.yml"))
    (folder / "prometheus.yml").write_text(config)
    done = subprocess.run(["promtool", "check", "config", folder / "prometheus.yml"], capture_output=True, text=True)
    (rendered,) = charts.of_kind(charts.documented("gpu"), "PrometheusRule").values()
    of_chart = next(g["rules"] for g in rendered["spec"]["groups"] if g["name"] == "tingsu.service")
    (group,) = yaml.safe_load((COMPOSE / "rules.yml").read_text())["groups"]

    assert done.returncode == 0, done.stderr
    here = [(r["alert"], r.get("for"), r["labels"], r["expr"]) for r in group["rules"]]
    assert here == [(r["alert"], r.get("for"), r["labels"], _of_one_service(r["expr"])) for r in of_chart]
    assert all(list(r["annotations"]) == ["summary"] for r in (*group["rules"], *of_chart))


def _of_one_service(expression: str) -> str:
    found = expression.replace('namespace="prod",service=~"tingsu-(blue|green)"', 'job="tingsu"')
    return re.sub(r"by \((?:service|pod)\)", "by (instance)", found)


def test_every_panel_asks_for_series_that_there_are_in_words_that_prometheus_understands(tmp_path: Path) -> None:
    panels = json.loads((COMPOSE / "grafana/tingsu.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(asked)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert len(asked) >= 12 and {s for e in asked for s in re.findall(r"([a-z]\w+)\{", e)} <= counted()
    placed = [panel["gridPos"] for panel in panels]
    assert all(at["x"] + at["w"] <= 24 for at in placed) and len({(at["x"], at["y"]) for at in placed}) == len(placed)
    source = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    assert {panel["datasource"]["uid"] for panel in panels} == {one["uid"] for one in source["datasources"]}


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    site = (COMPOSE / "nginx.conf").read_text()
    temporary = " ".join(
        f"{kind}_temp_path {tmp_path};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ {temporary} {site} }}"
    (tmp_path / "nginx.conf").write_text(whole)

    done = subprocess.run(["/usr/sbin/nginx", "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
