"""The Helm chart, rendered in process; this file and the tests know Helm."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from configs.settings import Settings
from data_contracts.errors import ConfigurationError
from deploy.targets.kubernetes_api import Object
from deploy.targets.kubernetes_sides import Sides

CHART = Path(__file__).parents[1] / "helm/tingsu"
ORDER = ("Secret", "ConfigMap", "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy", "Service", "Deployment")
"""What is needed before other things are; a route comes last, when what it leads to is there."""


def values(settings: Settings, home: Path) -> Object:
    """Every value of the chart but those of the sides: its defaults, the store of the settings, the files of the settings.

    Raises:
        ConfigurationError: a file is missing or no YAML mapping.
    """
    found = _read(CHART / "values.yaml")
    if settings.store.url.startswith("s3://"):
        store = {"from": "s3", "url": settings.store.url, "endpointUrl": settings.store.endpoint_url or ""}
        found = _over(found, {"bundles": store})
    for name in settings.rollout.kubernetes.values:
        found = _over(found, _read(home / Path(name).expanduser()))
    ours = {
        "rollout": {"by": settings.rollout.kubernetes.split},
        "prefectWorker": {"enabled": False},
    }  # Helm keeps the worker
    return _over(found, ours)


def render(given: Object, sides: Sides, release: str, namespace: str) -> list[Object]:
    """Every object of the release with these sides, in the order in which they are to be applied.

    Raises:
        ConfigurationError: a value is wrong or contradicts another one.
    """
    try:
        import helm_python as helm
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "rollout.target is kubernetes, and Helm is not installed: .venv/bin/pip install -c constraints.txt --group kubernetes"
        ) from error
    of = {name: side for name, side in sides.model_dump().items() if isinstance(side, dict)}
    asked = _over(given, {"champion": sides.champion, "rollout": {"weight": sides.weight}, **of})
    try:
        with helm.Chart.load(str(CHART)) as chart:
            chart.validate_schema(asked)
            files = chart.render(asked, name=release, namespace=namespace)
    except helm.HelmError as error:
        raise ConfigurationError(
            f"the values of the chart do not hold: {' '.join(str(error).split())}. They are the files of rollout.kubernetes.values over "
            f"{CHART.name}/values.yaml"
        ) from error
    made = [one for name, text in files.items() if name.endswith(".yaml") for one in yaml.safe_load_all(text) if one]
    return sorted(made, key=lambda one: ORDER.index(one["kind"]) if one["kind"] in ORDER else len(ORDER))


def _read(file: Path) -> Object:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read ({error.strerror}); rollout.kubernetes.values names files, from the root or from TINGSU_HOME on"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} of rollout.kubernetes.values is no YAML: {error}") from error
    if not isinstance(found, dict):
        raise ConfigurationError(
            f"{file} of rollout.kubernetes.values holds no values; see deploy/helm/values-cpu.yaml"
        )
    return found


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> Object:
    """As Helm lays one file over another: mappings are joined, anything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _over(merged[key], value) if both else value
    return merged
