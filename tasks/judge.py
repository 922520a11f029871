"""Judges a candidate, counts the look at the gold set, signs the verdict; lays the evidence beside the bundle."""

from pathlib import Path

from data_contracts.artifacts import Verdict
from deploy import bundle
from tasks import cited, gate
from tasks.gate import Evidence
from tasks.stages import Work


def judge(evidence: Evidence, trusted: str, home: Path, *, work: Work) -> Verdict:
    """The verdict, signed with this home's key, whose public half is `trusted`.

    Raises:
        GateRefused, ConfigurationError, BundleCorrupt: as `gate.judge`.
    """
    seen = evidence.model_copy(update={"gold_looks": _look(evidence, work)})
    verdict = gate.judge(seen, work.store)
    cited.keep(work.store, seen.bundle, seen.model_dump_json().encode())
    return bundle.sign(verdict, bundle.keypair(home))


def _look(evidence: Evidence, work: Work) -> int:
    """How many bundles this gold set has judged, this one included; looking twice at the same bundle counts once."""
    place = f"looks/{evidence.splits.gold_digest}"
    work.store.write(f"{place}/{evidence.bundle.digest}", evidence.bundle.digest.encode())
    return len(list(work.store.keys(place)))
