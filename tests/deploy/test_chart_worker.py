"""The chart's worker for a Kubernetes work pool, and the Jobs it starts: valid, hardened, and able to do what their runs do."""

import json

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from configs.sources import load
from tests.deploy import charts
from tests.deploy.charts import documented, of_kind, pods, render, values


def test_the_job_of_a_run_is_a_valid_and_hardened_one_once_prefect_has_filled_it_in() -> None:
    job = charts.job()
    pod = job["spec"]["template"]["spec"]
    assert (pod.pop("parallelism"), pod.pop("completions")) == (
        1,
        1,
    )  # Prefect asks for them at a place that Kubernetes ignores

    kubernetes_validate.validate(job, "1.33", strict=True)
    (container,) = pod["containers"]
    rights = container["securityContext"]
    assert (rights["readOnlyRootFilesystem"], rights["capabilities"]) == (True, {"drop": ["ALL"]})
    assert (pod["automountServiceAccountToken"], container["image"], job["metadata"]["generateName"]) == (
        False,
        "i:1",
        "run-",
    )


def test_the_jobs_get_their_settings_as_the_pipeline_reads_them() -> None:
    data = of_kind(documented("prefect-worker"), "ConfigMap")["tingsu-worker"]["data"]

    found = load(env={**data, "TINGSU_HOME": "/nonexistent"})

    assert (found.store.url, found.mlflow.uri) == ("s3://tingsu/store", "http://mlflow.mlflow.svc:5000")
    assert found.train.base_model == "/var/lib/tingsu/models/Qwen3-0.6B"


def test_the_worker_takes_from_the_pool_that_the_deployments_are_registered_in() -> None:
    registered = yaml.safe_load((charts.HELM.parents[1] / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    (container,) = pods(documented("prefect-worker"))["tingsu-worker"]["spec"]["containers"]

    assert {f"--pool={made['work_pool']['name']}" for made in registered} == {container["args"][0]}


@pytest.mark.parametrize("empty", ["image__repository", "apiUrl", "job__homeClaim", "to"])
def test_a_worker_without_what_it_needs_is_refused(empty: str) -> None:
    with pytest.raises(helm.HelmError, match=f"prefectWorker.{empty.replace('__', '.')} is empty"):
        render(values("prefect-worker", **{f"prefectWorker__{empty}": [] if empty == "to" else ""}))


def test_a_job_gets_what_its_nodes_and_registry_ask_for_and_the_key_of_prefect_by_the_name_of_its_secret() -> None:
    asked = {"prefectWorker__job__gpus": 1, "image__pullSecrets": ["registry"], "prefectWorker__apiKeySecret": "cloud"}
    where = {
        "prefectWorker__job__nodeSelector": {"gpu": "yes"},
        "prefectWorker__job__tolerations": [{"key": "nvidia.com/gpu"}],
    }
    objects = render(values("prefect-worker", prefectWorker__apiAuthSecret="own", **asked, **where))
    job = json.loads(of_kind(objects, "ConfigMap")["tingsu-worker-job"]["data"]["job.json"])
    pod = job["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    (worker,) = pods(objects)["tingsu-worker"]["spec"]["containers"]
    given = {one["name"]: one.get("value", one.get("valueFrom")) for one in worker["env"]}
    ours = "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_"  # of prefect-kubernetes: what a Job then has instead of the key

    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert (pod["nodeSelector"], pod["tolerations"]) == ({"gpu": "yes"}, [{"key": "nvidia.com/gpu"}])
    assert {kind: of["nvidia.com/gpu"] for kind, of in pod["containers"][0]["resources"].items()} == {
        "requests": 1,
        "limits": 1,
    }
    for name, secret in (("API_KEY", "cloud"), ("API_AUTH_STRING", "own")):
        assert given[f"PREFECT_{name}"] == {"secretKeyRef": {"name": secret, "key": f"PREFECT_{name}"}}
        assert (given[f"{ours}{name}_SECRET_NAME"], given[f"{ours}{name}_SECRET_KEY"]) == (secret, f"PREFECT_{name}")


def test_a_job_may_roll_out_and_show_the_service_a_key_only_where_that_is_asked_for() -> None:
    asked = {"prefectWorker__job__rollsOut": True, "prefectWorker__job__serviceKeySecret": "tingsu-pipeline"}
    objects = render(values("prefect-worker", **asked))
    job = json.loads(of_kind(objects, "ConfigMap")["tingsu-worker-job"]["data"]["job.json"])
    pod = job["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (binding,) = (one for one in of_kind(objects, "RoleBinding").values() if one["roleRef"]["name"] == "tingsu-rollout")
    by_hand = yaml.safe_load((charts.HELM / "controller-role.yaml").read_text(encoding="utf-8"))

    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("tingsu-rollout", True)
    assert {"secretRef": {"name": "tingsu-pipeline"}} in container["envFrom"]
    assert binding["subjects"][0]["name"] in of_kind(objects, "ServiceAccount")
    assert of_kind(objects, "Role")["tingsu-rollout"]["rules"] == by_hand["rules"]
    assert "tingsu-rollout" not in of_kind(documented("prefect-worker"), "Role")
