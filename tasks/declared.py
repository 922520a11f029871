"""Whether an operator's word against the gate is on record: signed alone, past the history, it counts for nothing here."""

from pathlib import Path

from data_contracts.artifacts import Emergency
from data_contracts.errors import GateRefused
from data_contracts.messages import told as tell
from tasks import history


def require(said: Emergency, home: Path) -> None:
    """Return if the history tells of this very emergency verdict.

    Raises:
        GateRefused: it does not.
        BundleCorrupt: the history was changed.
    """
    told = (e.event.detail["emergency"] for e in history.read(home) if e.event.kind == "emergency")
    if said.model_dump(mode="json") not in told:
        what = {"operator": said.operator, "bundle": said.bundle_digest[:12], "version": said.version}
        raise GateRefused(tell("emergency_undeclared", **what))
