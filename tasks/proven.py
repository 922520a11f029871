"""The history as an answer may be built on: its chain checked to the last byte, and its end against the note that MLflow keeps."""

from typing import NamedTuple

from data_contracts.errors import BundleCorrupt, ResourceInsufficient, StoreUnavailable
from tasks import history
from tasks.history import Entry
from tasks.versions import HEAD, Registry, registered


class Proven(NamedTuple):
    """Every line, oldest first; `head`: MLflow's note of the newest it knows, "" if there is none, None if it did not answer."""

    entries: tuple[Entry, ...]
    head: str | None

    @property
    def said(self) -> str:
        """What was checked, for people."""
        if self.head is None:
            return (
                f"History: all {len(self.entries)} lines hold together; MLflow did not answer, so whether its end was cut off "
                "could not be checked."
            )
        if not self.head:
            return (
                f"History: all {len(self.entries)} lines hold together; MLflow has no note of the newest, so whether its end was cut "
                "off could not be checked. From the first version on it has one, unless somebody deleted it there."
            )
        return f"History: all {len(self.entries)} lines hold together, and MLflow's note of the newest agrees."


def read(at: Registry) -> Proven:
    """The history, verified.

    Raises:
        BundleCorrupt: a line was changed, removed, inserted or moved, or the end was cut off.
    """
    head = note(at)
    broken = history.verify(at.home, head or "")
    if broken:
        raise BundleCorrupt(f"nothing can be answered from this history: {broken}")
    return Proven(history.read(at.home), head)


def note(at: Registry) -> str | None:
    """MLflow's note of the newest line, as `Proven.head`."""
    try:
        with at.tracker.client() as client:
            model = registered(client, at.name)
    except (StoreUnavailable, ResourceInsufficient):
        return None
    return model.tags.get(HEAD, "") if model else ""
