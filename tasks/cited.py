"""The evidence a verdict cites by digest, kept beside the bundle: every report, the champion's too, speed and thresholds."""

import hashlib

from data_contracts.artifacts import BundleRef, Verdict
from data_contracts.errors import GateRefused
from data_contracts.messages import told
from deploy import bundle
from deploy.store import Store


def digest(evidence: bytes) -> str:
    """What a verdict says of its evidence."""
    return hashlib.sha256(evidence).hexdigest()


def keep(store: Store, ref: BundleRef, evidence: bytes) -> None:
    """Lay evidence beside the bundle, under its digest: a later judgement does not overwrite it."""
    bundle.attest(store, ref, _name(digest(evidence)), evidence)


def read(store: Store, ref: BundleRef, verdict: Verdict) -> bytes:
    """The evidence of a verdict, as it was when the verdict was signed.

    Raises:
        GateRefused: it is missing, or was edited since.
    """
    evidence = store.read(f"{ref.key}.attest/{_name(verdict.report_digest)}")
    if evidence is None or digest(evidence) != verdict.report_digest:
        code = "evidence_missing" if evidence is None else "evidence_edited"
        raise GateRefused(told(code, bundle=ref.digest[:12], name=_name(verdict.report_digest)[:25]))
    return evidence


def _name(digest: str) -> str:
    return f"evidence-{digest}.json"
