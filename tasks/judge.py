"""Judges a candidate, counts the look at the gold set, signs the verdict; lays the reports beside the bundle."""

from pathlib import Path

from data_contracts.artifacts import Verdict
from deploy import bundle
from tasks import gate
from tasks.gate import Evidence
from tasks.stages import Work


def judge(evidence: Evidence, trusted: str, home: Path, *, work: Work) -> Verdict:
    """The verdict, signed with this home's key, whose public half is `trusted`.

    Raises:
        GateRefused, ConfigurationError, BundleCorrupt: as `gate.judge`.
    """
    looks = _look(evidence, work)
    verdict = gate.judge(evidence.model_copy(update={"gold_looks": looks}), work.store)
    signed = bundle.sign(verdict, bundle.keypair(home))
    for hop, report in evidence.reports.items():
        bundle.attest(work.store, evidence.bundle, f"report-{hop}.json", report.model_dump_json(indent=1).encode())
    bundle.attest(work.store, evidence.bundle, "speed.json", evidence.speed.model_dump_json(indent=1).encode())
    return signed


def _look(evidence: Evidence, work: Work) -> int:
    """How many bundles this gold set has judged, this one included; looking twice at the same bundle counts once."""
    place = f"looks/{evidence.splits.gold_digest}"
    work.store.write(f"{place}/{evidence.bundle.digest}", evidence.bundle.digest.encode())
    return len(list(work.store.keys(place)))
