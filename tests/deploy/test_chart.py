"""The Helm chart without a cluster: what it renders is valid, hardened, and does what the values say; wrong values are refused by name."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from configs.sources import load
from deploy import fetch
from deploy.helm import schema
from deploy.service import __main__ as service
from deploy.service.metrics import Metrics
from tests.deploy import charts
from tests.deploy.charts import FILES, Object, containers, documented, of_kind, pods, render, values

KUBERNETES = ("1.33", "1.35", "1.37")
CUSTOM = {"HTTPRoute", "ServiceMonitor", "PrometheusRule"}
EVERY_FILE = pytest.mark.parametrize("name", FILES)
DIGEST = "5" * 64


@EVERY_FILE
def test_every_documented_values_file_lints_without_a_warning(name: str) -> None:
    found = helm.lint(str(charts.CHART), values(name), strict=True, kube_version="v1.33.0")

    assert [m for m in found["messages"] if m["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES)
@EVERY_FILE
def test_every_object_is_valid_in_three_versions_of_kubernetes(name: str, version: str) -> None:
    objects = documented(name)

    assert {"Deployment", "Service", "ConfigMap", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"} <= {
        made["kind"] for made in objects
    }
    for made in objects:
        if made["kind"] not in CUSTOM:
            kubernetes_validate.validate(made, version, strict=True)


def test_a_misspelt_field_of_an_object_would_be_noticed() -> None:
    made = of_kind(documented("cpu"), "Deployment")["tingsu-blue"]
    made["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(made, "1.33", strict=True)


CHECKOV = next(filter(Path.exists, (charts.HELM.parents[1] / ".venv.checkov/bin/checkov",)), shutil.which("checkov"))


@pytest.mark.skipif(CHECKOV is None, reason="checkov is not installed; .ci/run makes it an environment of its own")
def test_checkov_finds_nothing_that_is_not_excepted_with_its_reason(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / f"{name}.yaml").write_text("---\n".join(yaml.safe_dump(made) for made in documented(name)))
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(charts.job()))
    wrong = of_kind(documented("cpu"), "Deployment")["tingsu-blue"]
    wrong["spec"]["template"]["spec"]["hostNetwork"] = True
    config = ["--config-file", charts.HELM / "checkov.yaml", "--output", "json"]

    def failed(*where: str | Path) -> set[str]:
        done = subprocess.run([str(CHECKOV), *where, *config], capture_output=True, text=True)
        found = json.loads(done.stdout)
        assert found["summary"]["passed"] > 30, done.stderr
        return {f"{one['check_id']} {one['resource']}" for one in found["results"]["failed_checks"]}

    assert failed("-d", tmp_path) == set()
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    assert "CKV_K8S_19 Deployment.prod.tingsu-blue" in failed("-f", tmp_path / "wrong.yaml")


@EVERY_FILE
def test_what_points_to_another_object_finds_it(name: str) -> None:
    objects = documented(name)
    deployments, services = of_kind(objects, "Deployment"), of_kind(objects, "Service")

    for made in of_kind(objects, "HorizontalPodAutoscaler").values():
        assert made["spec"]["scaleTargetRef"]["name"] in deployments
    for route in of_kind(objects, "HTTPRoute").values():
        for rule in route["spec"]["rules"]:
            assert {b["name"] for b in rule["backendRefs"]} <= set(services)
            assert sum(b["weight"] for b in rule["backendRefs"]) == 100
    for made in services.values():
        assert any(
            made["spec"]["selector"].items() <= pod["metadata"]["labels"].items() for pod in pods(objects).values()
        )
    for made in deployments.values():
        assert made["spec"]["selector"]["matchLabels"].items() <= made["spec"]["template"]["metadata"]["labels"].items()
    for monitor in of_kind(objects, "ServiceMonitor").values():
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        chosen = [n for n, made in services.items() if wanted <= made["metadata"]["labels"].items()]
        assert sorted(chosen) == sorted(n for n in deployments if n.endswith(("-blue", "-green")))


@EVERY_FILE
def test_every_container_runs_without_rights_it_does_not_need(name: str) -> None:
    for pod in pods(documented(name)).values():
        spec = pod["spec"]
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert not [v for v in spec["volumes"] if "hostPath" in v]
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 10000
        for container in containers(pod):
            rights = container["securityContext"]
            assert (rights["runAsNonRoot"], rights["readOnlyRootFilesystem"]) == (True, True)
            assert (rights["allowPrivilegeEscalation"], rights["privileged"]) == (False, False)
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
            assert (
                container["resources"]["requests"].keys()
                == container["resources"]["limits"].keys()
                >= {"cpu", "memory"}
            )
            assert re.fullmatch(r"\S+(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})", container["image"])


@EVERY_FILE
def test_a_secret_is_only_ever_named(name: str) -> None:
    objects = documented(name)

    assert not of_kind(objects, "Secret")
    for pod in pods(objects).values():
        for container in containers(pod):
            plain = {e["name"] for e in container.get("env", []) if "value" in e}
            assert not [n for n in plain if re.search("KEY|SECRET|TOKEN|PASSWORD", n)]


@EVERY_FILE
def test_only_the_init_container_sees_the_credentials_of_the_store_and_no_service_a_token_of_the_cluster(
    name: str,
) -> None:
    for of, pod in pods(documented(name)).items():
        if of.endswith(("-blue", "-green")):
            seen = {c["name"] for c in containers(pod) if "AWS_SECRET_ACCESS_KEY" in json.dumps(c)}
            assert seen <= {"fetch"}
            assert pod["spec"]["automountServiceAccountToken"] is False


@EVERY_FILE
def test_the_programs_take_the_arguments_they_are_given(name: str) -> None:
    for pod in pods(documented(name)).values():
        fetched: list[str] = []
        for container in containers(pod):
            if container["name"] == "fetch":
                fetched = fetch._options(container["args"]).digest
            if container["name"] == "service":
                options = service._options(container["args"])
                mounts = {m["mountPath"] for m in container["volumeMounts"]}
                assert options.bundle.name in fetched or not fetched
                assert {str(options.home), "/srv/tingsu", "/tmp"} <= mounts
                assert options.bundle.is_relative_to("/srv/tingsu")


@EVERY_FILE
def test_the_settings_are_some_that_the_service_takes(name: str, tmp_path: Path) -> None:
    config = of_kind(documented(name), "ConfigMap")["tingsu-blue"]
    (tmp_path / "settings.yaml").write_text(config["data"]["settings.yaml"])

    found = load(env={"TINGSU_HOME": str(tmp_path)})

    assert found.serve.mode == "production" and not found.serve.keep_alive
    for key, value in values(name).get("settings", {}).get("serve", {}).items():
        assert getattr(found.serve, key) == value


def test_the_defaults_are_those_that_were_promised() -> None:
    objects = render(values("cpu", autoscaling={"enabled": False}))
    (service_container,) = pods(objects)["tingsu-blue"]["spec"]["containers"]

    assert of_kind(objects, "Deployment")["tingsu-blue"]["spec"]["replicas"] == 3
    assert service_container["ports"][0]["containerPort"] == 8000
    amounts = service_container["resources"]
    assert [(a["cpu"], a["memory"]) for a in (amounts["requests"], amounts["limits"])] == [("2", "4Gi"), ("4", "8Gi")]


def test_a_pod_has_time_for_its_weights_and_to_finish_what_is_open() -> None:
    pod = pods(render(values("cpu", settings={"serve": {"deadline_s": 90}}, startSeconds=601, drainSeconds=20)))[
        "tingsu-blue"
    ]
    (container,) = pod["spec"]["containers"]
    probe = container["startupProbe"]

    assert 601 <= probe["failureThreshold"] * probe["periodSeconds"] <= 606
    assert pod["spec"]["terminationGracePeriodSeconds"] >= 20 + 90
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "20"]
    assert (container["readinessProbe"]["httpGet"]["path"], container["livenessProbe"]["httpGet"]["path"]) == (
        "/ready",
        "/health",
    )


def test_a_gateway_gets_the_weight_and_each_side_its_own_service() -> None:
    objects = documented("canary-gateway")
    (rule,) = of_kind(objects, "HTTPRoute")["tingsu"]["spec"]["rules"]

    assert {b["name"]: b["weight"] for b in rule["backendRefs"]} == {"tingsu-blue": 95, "tingsu-green": 5}
    assert of_kind(objects, "Service")["tingsu"]["spec"]["selector"]["tingsu.io/side"] == "blue"


@pytest.mark.parametrize(
    ("weight", "shares", "side"),
    [(0, (10, 10), "blue"), (10, (9, 1), None), (70, (3, 7), None), (100, (10, 10), "green")],
)
def test_without_a_gateway_pods_are_counted_out(weight: int, shares: tuple[int, int], side: str | None) -> None:
    objects = render(values("canary-replicas", rollout__weight=weight))
    made = of_kind(objects, "Deployment")

    assert tuple(made[f"tingsu-{s}"]["spec"]["replicas"] for s in ("blue", "green")) == shares
    assert of_kind(objects, "Service")["tingsu"]["spec"]["selector"].get("tingsu.io/side") == side


def test_neither_a_canary_nor_the_switch_nor_the_undo_restarts_a_pod() -> None:
    base = values("canary-gateway", rollout__weight=0)
    steps = [values("canary-gateway", rollout__weight=weight) for weight in (5, 50, 100, 0)]
    steps += [values("canary-gateway", rollout__weight=0, champion="green")]

    for step in steps:
        assert pods(render(step)) == pods(render(base))


def test_the_old_side_is_kept_whole_after_the_switch() -> None:
    objects = documented("bluegreen")

    assert of_kind(objects, "Service")["tingsu"]["spec"]["selector"]["tingsu.io/side"] == "green"
    assert {n: made["spec"]["minReplicas"] for n, made in of_kind(objects, "HorizontalPodAutoscaler").items()} == {
        "tingsu-blue": 3,
        "tingsu-green": 3,
    }


def test_both_slots_can_be_served() -> None:
    pod = pods(render(values("cpu", blue__generate=DIGEST)))["tingsu-blue"]
    fetch_container, service_container = containers(pod)

    assert len(fetch._options(fetch_container["args"]).digest) == 2
    assert service._options(service_container["args"]).generate == Path(f"/srv/tingsu/cache/bundles/{DIGEST}")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"replica": 3}, "replica"),
        ({"blue__bundle": "abc"}, "/blue/bundle"),
        ({"image__tag": "latest"}, "/image/tag"),
        ({"rollout__weight": 101}, "/rollout/weight"),
        ({"rollout__by": "mesh"}, "/rollout/by"),
        ({"resources__limits__cpu": "four"}, "/resources/limits/cpu"),
        ({"settings__serve__batch_token": 1}, "batch_token"),
        ({"settings__serve__deadline_s": 0}, "/settings/serve/deadline_s"),
        ({"settings__log__level": "LOUD"}, "/settings/log/level"),
        ({"autoscaling__metric": "qps"}, "/autoscaling/metric"),
        ({"bundles__url": "https://bucket"}, "/bundles/url"),
        ({"port": 80}, "/port"),
    ],
)
def test_a_wrong_value_is_refused_and_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(helm.HelmError) as refused:
        render(values("cpu", **changes))

    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("cpu", {"image__repository": ""}, "image.repository is empty"),
        ("cpu", {"champion": "green"}, "champion is green, and green.bundle"),
        ("cpu", {"rollout__weight": 100}, "there is no candidate: green.bundle is empty"),
        ("bluegreen", {"rollout__weight": 50}, "rollout.weight 50 cannot be had by switch"),
        ("canary-gateway", {"gateway__parentRefs": []}, "gateway.parentRefs is empty"),
        ("canary-replicas", {"autoscaling__enabled": True}, "autoscaling.enabled true would change the shares"),
        ("canary-replicas", {"rollout__weight": 5}, "rollout.weight 5 cannot be split over 10 replicas"),
        ("canary-replicas", {"rollout__weight": 98}, "rollout.weight 98 cannot be split over 10 replicas"),
        ("cpu", {"networkPolicy__to": []}, "networkPolicy.to is empty"),
        ("cpu", {"settings__serve__compile": True}, "needs a C++ compiler"),
        ("claim", {"bundles__claim": ""}, "bundles.claim is empty"),
        ("canary-gateway", {"serviceMonitor__keySecret": ""}, "/metrics asks for a key"),
        ("cpu", {"autoscaling__minReplicas": 11}, "minReplicas 11 is more than"),
        ("cpu", {"blue__replicas": 11}, "blue.replicas 11 is more than autoscaling.maxReplicas 10"),
        ("cpu", {"settings__serve__start_timeout_s": 300}, "set startSeconds 900 or more"),
        ("gpu", {"networkPolicy__metricsFrom": []}, "metricsFrom is empty, which shuts Prometheus out"),
        ("canary-gateway", {"networkPolicy__from": []}, "in namespace gateways, and networkPolicy.from is empty"),
    ],
)
def test_values_that_contradict_each_other_are_refused(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmError) as refused:
        render(values(name, **changes))

    assert said in str(refused.value)


def test_a_release_with_a_name_too_long_for_its_objects_is_refused() -> None:
    with helm.Chart.load(str(charts.CHART)) as chart, pytest.raises(helm.HelmError, match="41 letters; 40 at most"):
        chart.render(values("cpu"), name="a" * 41, namespace="prod")


def test_a_store_with_a_certificate_of_ones_own_authority_is_believed_where_it_is_asked() -> None:
    objects = render(values("prefect-worker", bundles__caConfigMap="our-ca"))
    fetching, serving = containers(pods(objects)["tingsu-blue"])
    mounted = {m["name"]: m["mountPath"] for m in fetching["volumeMounts"]}
    of_jobs = of_kind(objects, "ConfigMap")["tingsu-worker"]["data"]["AWS_CA_BUNDLE"]

    assert {"name": "AWS_CA_BUNDLE", "value": of_jobs} in fetching["env"] and of_jobs == f"{mounted['ca']}/ca.crt"
    assert "our-ca" in of_kind(objects, "ConfigMap")["tingsu-worker-job"]["data"]["job.json"]
    assert "AWS_CA_BUNDLE" not in str(serving["env"])


def test_a_gateway_of_an_older_api_gets_no_field_that_it_does_not_know() -> None:
    (rule,) = of_kind(render(values("canary-gateway", gateway__timeoutSeconds=0)), "HTTPRoute")["tingsu"]["spec"][
        "rules"
    ]

    assert list(rule) == ["backendRefs"]


def test_the_chart_knows_every_setting_of_the_service_as_it_is_now() -> None:
    kept = json.loads(schema.SCHEMA.read_text(encoding="utf-8"))["$defs"]

    assert {name: kept.get(name) for name in schema.definitions()} == schema.definitions(), (
        "run python -P -m deploy.helm.schema"
    )


def counted() -> set[str]:
    """The names of the series that the service shows."""
    return {sample.name for family in Metrics().registry.collect() for sample in family.samples} | {
        name
        for family in Metrics().registry.collect()
        for name in (
            {
                "counter": [f"{family.name}_total"],
                "histogram": [f"{family.name}_{end}" for end in ("bucket", "sum", "count")],
            }
        ).get(family.type, [family.name])
    }


OTHERS = {
    "container_cpu_usage_seconds_total",
    "container_memory_working_set_bytes",
    "kube_pod_container_resource_limits",
    "kube_pod_container_status_restarts_total",
    "DCGM_FI_DEV_GPU_TEMP",
}
"""Of cAdvisor, kube-state-metrics and NVIDIA's DCGM exporter."""


def test_alerts_ask_only_for_series_that_there_are(tmp_path: Path) -> None:
    (made,) = of_kind(documented("gpu"), "PrometheusRule").values()
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(made["spec"]))
    read = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yaml"], capture_output=True, text=True)
    assert read.returncode == 0 and "11 rules found" in read.stdout, read.stderr
    rules = [rule for group in made["spec"]["groups"] for rule in group["rules"]]
    asked = {series for rule in rules for series in re.findall(r"([A-Za-z_]\w+)\{", rule["expr"])}

    assert len(rules) == len({rule["alert"] for rule in rules}) == 11
    assert asked - OTHERS <= counted() and asked >= OTHERS | {"tingsu_ready", "qwen3_inference_requests_total"}
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical") and rule["annotations"]["summary"]
        assert rule["expr"].count("(") == rule["expr"].count(")") and rule["expr"].count("{") == rule["expr"].count("}")


def test_what_pods_are_scaled_by_is_counted_by_the_service_and_known_to_the_adapter() -> None:
    adapter = yaml.safe_load((charts.HELM / "prometheus-adapter.yaml").read_text(encoding="utf-8"))
    known = {rule["name"]["as"] for rule in adapter["rules"]["custom"]}
    allowed = json.loads(schema.SCHEMA.read_text(encoding="utf-8"))["properties"]["autoscaling"]["properties"][
        "metric"
    ]["enum"]

    assert known == {name for name in allowed if name} <= counted()
    (pods_metric, cpu) = metrics_of(documented("gpu"))
    assert pods_metric["pods"]["metric"]["name"] in known
    assert pods_metric["pods"]["target"] == {"type": "AverageValue", "averageValue": "32"}
    assert cpu["resource"]["name"] == "cpu"


def metrics_of(objects: list[Object]) -> list[Object]:
    return list(of_kind(objects, "HorizontalPodAutoscaler")["tingsu-blue"]["spec"]["metrics"])


def test_the_chart_and_its_image_have_the_version_of_the_project() -> None:
    project = tomllib.loads((charts.HELM.parents[1] / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((charts.CHART / "Chart.yaml").read_text())
    defaults = yaml.safe_load((charts.CHART / "values.yaml").read_text())

    assert {
        chart["version"],
        chart["appVersion"],
        defaults["image"]["tag"],
        defaults["prefectWorker"]["image"]["tag"],
    } == {project}
