"""Judges a candidate, counts the look at the gold set, signs the verdict; lays the evidence beside the bundle."""

from pathlib import Path

from data_contracts.artifacts import Verdict
from deploy import bundle
from tasks import cited, gate, looks
from tasks.gate import Evidence
from tasks.stages import Work


def judge(evidence: Evidence, trusted: str, home: Path, *, work: Work) -> Verdict:
    """The verdict, signed with this home's key, whose public half is `trusted`.

    Raises:
        GateRefused, ConfigurationError, BundleCorrupt: as `gate.judge`.
    """
    by, what = gate.thresholds_digest(evidence.settings), cited.digest(evidence.model_dump_json().encode())
    count = looks.judged(work.store, evidence.splits.gold_digest, evidence.adapter, by, what)
    seen = evidence.model_copy(update={"gold_looks": count})
    verdict = gate.judge(seen, work.store)
    cited.keep(work.store, seen.bundle, seen.model_dump_json().encode())
    return bundle.sign(verdict, bundle.keypair(home))
