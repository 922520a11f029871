"""Which version each side of a release holds and who has the traffic: in one ConfigMap of the cluster, written before it is carried out.

The chart renders that ConfigMap as well, so that a release installed by Helm can be gone on with.
"""

import json
from typing import Literal

from pydantic import ValidationError

from data_contracts.errors import ConfigurationError
from data_contracts.schema import Frozen
from deploy.targets import Placed
from deploy.targets.kubernetes_api import Cluster

Name = Literal["blue", "green"]


class Side(Frozen):
    """What a side holds: nothing, where `bundle` is empty."""

    bundle: str = ""
    version: int = 0


class Sides(Frozen):
    """`weight`: percent of the traffic of the side that is not the champion. `is_staged`: a rollout put that one there and is not over.
    `before`: which side served when what was staged last came; None: it was there already, so that no rollout may take it away."""

    champion: Name = "blue"
    weight: int = 0
    is_staged: bool = False
    before: Name | Literal["neither"] | None = None
    blue: Side = Side()
    green: Side = Side()

    @property
    def candidate(self) -> Name:
        return "green" if self.champion == "blue" else "blue"

    @property
    def is_silent(self) -> bool:
        """Whether nothing serves: nothing is there, or only what was staged as the first."""
        return not self.of(self.champion).bundle or (self.is_staged and self.before == "neither")

    def of(self, name: Name) -> Side:
        return self.blue if name == "blue" else self.green

    def share(self, name: Name) -> int:
        """Percent of the traffic of a side."""
        return 100 - self.weight if name == self.champion else self.weight

    def holding(self, placed: Placed) -> Name | None:
        """The side that holds this version, the champion first."""
        side = Side(bundle=placed.bundle_digest, version=placed.version)
        return next((name for name in (self.champion, self.candidate) if self.of(name) == side), None)

    def staging(self, placed: Placed) -> "Sides":
        """With this version beside what serves, or as the first one; none of the traffic. It stays where it is already."""
        if self.holding(placed) == self.champion:
            return self.model_copy(update={"weight": 0} | ({} if self.is_silent else {"before": None}))
        name = self.champion if self.is_silent else self.candidate
        side = Side(bundle=placed.bundle_digest, version=placed.version)
        before = "neither" if self.is_silent else self.champion
        return self.model_copy(update={"weight": 0, "is_staged": True, "before": before, name: side})

    def led_by(self, name: Name, weight: int = 0) -> "Sides":
        """With the traffic on this side, but for `weight` percent."""
        return self.model_copy(update={"champion": name, "weight": weight, "is_staged": False})

    def without(self, name: Name) -> "Sides":
        return self.model_copy(update={name: Side(), "is_staged": False, "before": None})


def read(cluster: Cluster, release: str) -> Sides:
    """What the cluster was last told; empty before the first rollout.

    Raises:
        ConfigurationError: the ConfigMap was damaged.
    """
    found = cluster.get("v1", "ConfigMap", name(release))
    if found is None:
        return Sides()
    try:
        return Sides.model_validate_json(found["data"]["sides.json"])
    except (KeyError, ValidationError) as error:
        raise ConfigurationError(
            f"ConfigMap {name(release)} in {cluster.namespace} does not say which side holds what; "
            f"helm upgrade {release} with the values that served writes it anew"
        ) from error


def helms(cluster: Cluster, release: str) -> dict[str, str]:
    """The annotations that make an object Helm's, if Helm installed the release: without them a `helm upgrade` refuses what we made."""
    found = cluster.get("v1", "ConfigMap", name(release)) or {"metadata": {}}
    said = found["metadata"].get("annotations") or {}
    return {key: text for key, text in said.items() if key.startswith("meta.helm.sh/")}


def write(cluster: Cluster, release: str, sides: Sides) -> None:
    """Tell the cluster."""
    data = {"sides.json": json.dumps(sides.model_dump(), sort_keys=True)}
    if cluster.patch("v1", "ConfigMap", name(release), {"data": data}, missing=True) is None:
        metadata = {"name": name(release), "labels": {"app.kubernetes.io/instance": release}}
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def forget(cluster: Cluster, release: str) -> None:
    """As before the first rollout."""
    cluster.delete("v1", "ConfigMap", name(release))


def name(release: str) -> str:
    """Of the ConfigMap."""
    return f"{release}-sides"
