"""Every deployment of prefect.yaml is of a flow that is there, and a wrong parameter is refused before anything runs."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.exceptions import ParameterTypeError

ROOT = Path(__file__).parent.parent.parent
DECLARED = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]


def flow(entrypoint: str) -> Any:
    module, _, name = entrypoint.rpartition(".")
    return getattr(import_module(module), name)


def test_what_a_person_does_by_command_a_deployment_does_too() -> None:
    names = [f"{flow(one['entrypoint']).name}/{one['name']}" for one in DECLARED]

    assert sorted(names) == [
        "merge/on-demand",
        "refresh-gold/on-demand",
        "retrain/nightly",
        "retrain/on-demand",
        "submit/on-demand",
    ]


@pytest.mark.parametrize("one", DECLARED, ids=lambda one: f"{one['entrypoint']}/{one['name']}")
def test_a_deployments_own_parameters_are_its_flows(one: dict[str, Any]) -> None:
    declared = flow(one["entrypoint"]).parameters

    assert one.get("parameters", {}).keys() <= declared.properties.keys()


@pytest.mark.parametrize(
    ("entrypoint", "good", "bad"),
    [
        ("flows.merge.merge", {"datasets": ["a", "b"], "name": "both"}, {"datasets": ["a"]}),
        ("flows.merge.merge", {"datasets": ["a", "b"], "name": "both"}, {"datasets": ["a", ""]}),
        ("flows.merge.merge", {"datasets": ["a", "b"], "name": "both", "prefer": "newest"}, {"name": ""}),
        ("flows.merge.merge", {"datasets": ["a", "b"], "name": "both", "prefer": None}, {"prefer": "oldest"}),
        ("flows.refresh_gold.refresh_gold", {"reason": "newer calls"}, {"reason": ""}),
        ("flows.refresh_gold.refresh_gold", {"reason": "x", "since": "2026-06-01"}, {"since": "June"}),
    ],
)
def test_a_wrong_parameter_is_refused(entrypoint: str, good: dict[str, Any], bad: dict[str, Any]) -> None:
    found = flow(entrypoint)
    found.validate_parameters(good)

    with pytest.raises(ParameterTypeError):
        found.validate_parameters({**good, **bad})
