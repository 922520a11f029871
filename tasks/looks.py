"""Who has seen a gold set: every candidate that answered it, judged or not, since the best of many is partly luck.

A candidate is an adapter. Its merged and quantized forms answer together, and are one look; each judgement of the gate on it is
one, of another form or calibration as well as of the same answers under other thresholds. A judgement that was cut off and done
again is the same. Of a refreshed gold set the looks at the calls that stayed count on.
"""

from collections import Counter

from pydantic import Field

from data_contracts.schema import Frozen
from deploy.store import Store

CARRIED = "before-"


class Looks(Frozen):
    """Looks at a gold set: `total` is what verdicts say; `judged` by the gate, `gates` under which thresholds (their digests);
    `carried` over from the version before."""

    total: int
    candidates: int
    judged: int
    carried: int
    gates: dict[str, int] = Field(default_factory=dict)


def answered(store: Store, gold_digest: str, adapter: str) -> None:
    """Note that an adapter, named by its digest, is about to answer this gold set."""
    store.write(f"looks/{gold_digest}/{adapter}", b"")


def judged(store: Store, gold_digest: str, adapter: str, gate: str, evidence: str) -> int:
    """Note that a gate is about to judge this evidence on an adapter; how many looks there are, this one included.

    Args:
        gate, evidence: digests, of the thresholds and of what is judged.
    """
    answered(store, gold_digest, adapter)
    store.write(f"looks/{gold_digest}/{adapter}.{gate[:16]}.{evidence[:16]}", b"")
    return count(store, gold_digest)


def carry(store: Store, gold_digest: str, looks: int) -> None:
    """Note looks at calls of this gold set that were made when they stood in the version before."""
    for at in range(looks):
        store.write(f"looks/{gold_digest}/{CARRIED}{at}", b"")


def count(store: Store, gold_digest: str) -> int:
    """How many looks there are."""
    return of(store, gold_digest).total


def of(store: Store, gold_digest: str) -> Looks:
    """The looks at a gold set."""
    names = [key.rpartition("/")[2] for key in store.keys(f"looks/{gold_digest}")]
    notes = Counter(name.partition(".")[0] for name in names)
    carried = sum(name.startswith(CARRIED) for name in names)
    return Looks(
        total=sum(max(1, found - 1) for found in notes.values()),
        candidates=len(notes) - carried,
        judged=sum("." in name for name in names),
        carried=carried,
        gates=dict(sorted(Counter(name.split(".")[1] for name in names if "." in name).items())),
    )
