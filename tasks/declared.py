"""Whether an operator's word against the gate is on record: signed alone, past the history, it counts for nothing here."""

from pathlib import Path

from data_contracts.artifacts import Emergency
from data_contracts.errors import GateRefused
from tasks import history


def require(said: Emergency, home: Path) -> None:
    """Return if the history tells of this very emergency verdict.

    Raises:
        GateRefused: it does not.
        BundleCorrupt: the history was changed.
    """
    told = (e.event.detail["emergency"] for e in history.read(home) if e.event.kind == "emergency")
    if said.model_dump(mode="json") not in told:
        raise GateRefused(
            f"the emergency verdict of {said.operator} on bundle {said.bundle_digest[:12]} is not in the history of this home: it "
            f"was signed past it; declare it: ./tingsu emergency {said.version} --operator NAME --reason WHY"
        )
