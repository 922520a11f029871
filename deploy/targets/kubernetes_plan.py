"""What a rollout to a cluster would change, as it is shown before."""

import json

import yaml

from deploy.targets import Change
from deploy.targets.kubernetes_api import Cluster, Object

NOT_ASKED_FOR = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")


def change(cluster: Cluster, after: Object) -> Change:
    """An object as it is, and as the API server says it would be."""
    before = cluster.get(after["apiVersion"], after["kind"], after["metadata"]["name"])
    what = f"{after['kind']}/{after['metadata']['name']}"
    return Change(what=what, before=_text(before) if before else "", after=_text(after))


def _text(made: Object) -> str:
    """As it is asked for: without what the API server adds, and of a Secret no more than how long it is."""
    found = json.loads(json.dumps(made))
    found.pop("status", None)
    for name in NOT_ASKED_FOR:
        found["metadata"].pop(name, None)
    if found["kind"] == "Secret":
        found["data"] = {key: f"{len(text)} characters" for key, text in found.get("data", {}).items()}
    return yaml.safe_dump(found, sort_keys=True, allow_unicode=True)
