"""The chart rendered in process, as Helm would hand it to a cluster."""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

HELM = Path(__file__).parents[2] / "deploy/helm"
CHART = HELM / "tingsu"
FILES = {file.stem.removeprefix("values-"): file for file in sorted(HELM.glob("values-*.yaml"))}
"""The documented values files, by name."""

Object = dict[str, Any]


def values(name: str, **changes: Any) -> Object:
    """A documented values file, with values such as rollout__weight=5 changed."""
    tree: Object = yaml.safe_load(FILES[name].read_text(encoding="utf-8"))
    for path, value in changes.items():
        *sections, last = path.split("__")
        at = tree
        for section in sections:
            at = at.setdefault(section, {})
        at[last] = value
    return tree


def render(given: Object) -> list[Object]:
    """Every object, after the schema of the values was held to."""
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(given)
        files = chart.render(given, name="tingsu", namespace="prod")
    return [made for name, text in files.items() if name.endswith(".yaml") for made in yaml.safe_load_all(text) if made]


@cache
def _documented(name: str) -> list[Object]:
    return render(values(name))


def documented(name: str) -> list[Object]:
    return deepcopy(_documented(name))


def job() -> Object:
    """That of a run, as Prefect fills the template in; whatever the run may say is filled in."""
    from prefect.utilities.templating import apply_values

    found = json.loads(of_kind(documented("prefect-worker"), "ConfigMap")["tingsu-worker-job"]["data"]["job.json"])
    given = {"name": "run", "command": ["prefect", "flow-run", "execute"], "labels": {"a": "b"}, "image": "i:1"}
    assert set(found["variables"]["properties"]) == {*given, "env"}
    return dict(
        apply_values(found["job_configuration"]["job_manifest"], {**given, "env": [{"name": "A", "value": "1"}]})
    )


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """Name → object."""
    return {made["metadata"]["name"]: made for made in objects if made["kind"] == kind}


def pods(objects: list[Object]) -> dict[str, Object]:
    """Name of its Deployment → pod template."""
    return {name: made["spec"]["template"] for name, made in of_kind(objects, "Deployment").items()}


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
