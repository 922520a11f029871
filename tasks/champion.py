"""The version that serves now, as the one to beat."""

from configs.serving import ServeSettings
from data_contracts.artifacts import BundleRef, Calibration, Model, Verdict, Version
from data_contracts.errors import GateRefused
from data_contracts.messages import told
from data_contracts.prompt import Prompt
from data_contracts.schema import Frozen
from data_contracts.taxonomy import Taxonomy
from deploy import bundle
from deploy.engines import choose
from tasks import gate, versions
from tasks.gate import Evidence
from tasks.versions import Registry


class Champion(Frozen):
    """What scoring and judging need of it; `model` lies inside its bundle."""

    version: Version
    bundle: BundleRef
    verdict: Verdict
    model: Model
    prompt: Prompt
    calibration: Calibration
    engine: str


def covers(champion: Champion, evidence: Evidence) -> bool:
    """Whether the champion's verdict answers this evidence already: same bundle, gold, thresholds and profile."""
    verdict = champion.verdict
    return (champion.bundle, verdict.gold_digest, verdict.thresholds_digest, verdict.profile) == (
        evidence.bundle,
        evidence.splits.gold_digest,
        gate.thresholds_digest(evidence.settings),
        evidence.profile,
    )


def find(at: Registry, taxonomy: Taxonomy, serve: ServeSettings) -> Champion | None:
    """The champion, or None where there is none; asked before anything is trained.

    Raises:
        GateRefused: it answers another taxonomy, so nothing can be compared; says how to start a classifier of its own.
        ConfigurationError: what its engine needs, to answer the gold calls anew, is not installed here.
    """
    rival = versions.rival(at)
    if rival is None:
        return None
    version, verdict = rival
    content = bundle.open(bundle.place(at.store, version.bundle))
    if content.taxonomy.digest != taxonomy.digest:
        theirs = {"theirs": content.taxonomy.name, "theirs_digest": content.taxonomy.digest[:12]}
        ours = {"ours": taxonomy.name, "ours_digest": taxonomy.digest[:12]}
        raise GateRefused(told("champion_taxonomy", name=at.name, version=version.version, **theirs, **ours))
    choose.require_installed(content.facts.engine, serve)
    return Champion(
        version=version,
        bundle=version.bundle,
        verdict=verdict,
        model=Model(
            key=f"{version.bundle.key}/model",
            form=content.facts.quantization,
            digest=content.facts.model_digest,
            size_mb=0.0,
        ),
        prompt=content.prompt,
        calibration=content.calibration,
        engine=content.facts.engine,
    )
