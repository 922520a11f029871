"""The Secret with what the pods check verdicts and callers by."""

from base64 import b64decode, b64encode
from pathlib import Path

from deploy import keys, operators, signing
from deploy.targets.kubernetes_api import Cluster, Object

OURS = {"app.kubernetes.io/managed-by": "tingsu"}


def secret(cluster: Cluster, home: Path, name: str, replace: bool = False) -> list[Object]:
    """It, of the keys of this home; nothing where somebody else made one of that name. `replace`: also another home's callers' keys.

    Raises:
        ConfigurationError: the home has no gate.pub, or a file of its keys is damaged; or see `keys.require_own`,
            `operators.require_own`.
    """
    there = cluster.get("v1", "Secret", name)
    if there is not None and not OURS.items() <= there["metadata"].get("labels", {}).items():
        return []
    if there is not None and not replace:
        where, held = f"Secret {name} in {cluster.namespace}", there.get("data", {})
        keys.require_own(home, _text(held, "service.json"), where)
        operators.require_own(home, operators.read_shared(_text(held, "operators.json")), f"operators in {where}")
    own = {
        "gate.pub": signing.public_key(home),
        "service.json": keys.shared(home),
        "operators.json": operators.shared(home),
        "machine.key": keys.of_pods(home),
    }
    data = {key: b64encode(text.encode()).decode() for key, text in own.items()}
    metadata = {"name": name, "namespace": cluster.namespace, "labels": OURS}
    return [{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}]


def _text(data: Object, key: str) -> str:
    return b64decode(data.get(key, "")).decode()
