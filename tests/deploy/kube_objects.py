"""What an API server does with one object: server-side apply with owners of fields, merge patches, defaults, and what it refuses."""

import copy
import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import kubernetes_validate

Object = dict[str, Any]
Path = tuple[Any, ...]
Owners = dict[tuple[str, str], set[Path]]
"""(manager, operation) → the fields that are its own."""

KEYS = {"containers": "name", "initContainers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath"}
CUSTOM = {"HTTPRoute": "httproutes", "ServiceMonitor": "servicemonitors", "PrometheusRule": "prometheusrules"}
VERSION = "1.35"


class Refused(Exception):
    """With the status code and what a real one says."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def leaves(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every field with its value; elements of a list that has keys are fields by their key, other lists are one value."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, (*path, key))
        return
    key = KEYS.get(str(path[-1])) if path else None
    if key and isinstance(node, list) and node:
        for element in node:
            yield from leaves(element, (*path, (key, element[key])))
        return
    yield path, node


def at(node: Any, step: Any) -> Any:
    if isinstance(step, tuple):
        return next((one for one in node if one.get(step[0]) == step[1]), None)
    return node.get(step) if isinstance(node, dict) else None


def put(node: Any, path: Path, value: Any) -> None:
    for step, following in pairwise(path):
        below = at(node, step)
        if below is None:
            below = [] if isinstance(following, tuple) else {}
            if isinstance(step, tuple):
                below = {step[0]: step[1]}
                node.append(below)
            else:
                node[step] = below
        node = below
    if isinstance(path[-1], tuple):
        raise AssertionError("a field ends in a list")
    node[path[-1]] = value


def take(node: Any, path: Path) -> None:
    """Remove a field, and what is empty without it."""
    step, *rest = path
    below = at(node, step)
    if below is None:
        return
    if rest:
        take(below, tuple(rest))
        only_key = isinstance(step, tuple) and set(below) == {step[0]}
        if below and not only_key:
            return
    if isinstance(step, tuple):
        node.remove(below)
    else:
        del node[step]


def own(made: Object) -> dict[Path, Any]:
    kept = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
    return {path: value for path, value in leaves(made) if path not in kept}


def apply(live: Object, owners: Owners, applied: Object, manager: str, force: bool) -> tuple[Object, Owners]:
    """Server-side apply, as kubernetes.io says it merges: others' fields stay, what is applied no longer goes."""
    merged, kept = copy.deepcopy(live), {who: set(fields) for who, fields in owners.items()}
    me, new, now = (manager, "Apply"), own(applied), dict(leaves(live))
    for path, value in new.items():
        if path in now and now[path] != value:
            others = [who for who in kept if who != me and path in kept[who]]
            if others and not force:
                raise Refused(
                    409, f'Apply failed with 1 conflict: conflict with "{others[0][0]}": .{".".join(map(str, path))}'
                )
            for who in others:
                kept[who].discard(path)
    for path in kept.get(me, set()) - set(new):
        if not any(path in fields for who, fields in kept.items() if who != me):
            take(merged, path)
    for path, value in new.items():
        put(merged, path, copy.deepcopy(value))
    kept[me] = set(new)
    return merged, kept


def merge(live: Object, owners: Owners, change: Object, manager: str) -> tuple[Object, Owners]:
    """A merge patch; what it changes is the manager's from then on."""
    merged, kept = copy.deepcopy(live), {who: set(fields) for who, fields in owners.items()}
    _merge(merged, change)
    before, after = dict(leaves(live)), dict(leaves(merged))
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    for fields in kept.values():
        fields -= changed
    kept.setdefault((manager, "Update"), set()).update(changed & after.keys())
    return merged, kept


def _merge(target: Object, change: Object) -> None:
    for key, value in change.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = copy.deepcopy(value)


def finish(made: Object, before: Object | None, turn: int) -> Object:
    """Defaults, versions and what may not change."""
    metadata = made["metadata"]
    spec = made.get("spec")
    if made["kind"] == "Deployment":
        made["spec"].setdefault("replicas", 1)
    check(made)
    if before is None:
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-11-22T00:00:00Z", "generation": 1}
    else:
        if made["kind"] == "Deployment" and before["spec"]["selector"] != made["spec"]["selector"]:
            raise Refused(422, f'Deployment.apps "{metadata["name"]}" is invalid: spec.selector: field is immutable')
        metadata["generation"] = before["metadata"]["generation"] + (spec != before.get("spec"))
    if before is None or made != before:
        metadata["resourceVersion"] = str(turn)
    return made


def check(made: Object) -> None:
    """By the schema of Kubernetes, unknown fields refused; a route by the rules of the Gateway API that matter here."""
    if made["kind"] == "HTTPRoute":
        for rule in made["spec"]["rules"]:
            for ref in rule["backendRefs"]:
                if set(ref) - {"group", "kind", "name", "namespace", "port", "weight", "filters"} or ref["weight"] < 0:
                    raise Refused(422, f"HTTPRoute is invalid: spec.rules.backendRefs: {ref}")
        return
    if made["kind"] in CUSTOM:
        return
    shown = copy.deepcopy(made)
    shown["metadata"].pop("managedFields", None)
    try:
        kubernetes_validate.validate(shown, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        raise Refused(422, f'{made["kind"]} "{made["metadata"]["name"]}" is invalid: {error.message}') from error
