"""Opens the registry for a command."""

from collections.abc import Sequence
from pathlib import Path

from configs.settings import Settings
from data_contracts.artifacts import Verdict
from data_contracts.errors import ConfigurationError, GateRefused
from data_contracts.messages import told
from deploy import bundle, signing
from flows.run import registry_of
from flows.session import open_session
from tasks import cited, gate, judge, permit, registry, stages, versions
from tasks.versions import Registry


def open_registry(profile: str | None = None, sets: Sequence[str] | None = None) -> Registry:
    """The registered model of the settings, with this home's key."""
    session = open_session(profile, sets=sets or ())
    return registry_of(session.settings, session.home, session.store)


def model_folder(at: Registry, version: int | None) -> Path:
    """Where a version's weights lie on this machine, checked; None is the champion.

    Raises:
        ConfigurationError: there is no such version, or no champion.
        BundleCorrupt: the content changed.
    """
    found = versions.champion(at) if version is None else versions.get(at, version)
    if found is None:
        raise ConfigurationError(f"no version of {at.name} was promoted yet; name one: ./tingsu models")
    return bundle.open(bundle.place(at.store, found.bundle)).model


def judge_again(at: Registry, version: int, settings: Settings) -> Verdict:
    """Judge a version's evidence under today's thresholds; nothing is trained or scored.

    Raises:
        GateRefused: the evidence is missing or edited, or is about another champion or older gold calls than today's.
    """
    found = versions.get(at, version)
    before = stored_verdict(at, version)
    outdated = permit.refreshed_since(at.store, before, version)
    if outdated:
        raise GateRefused(outdated)
    evidence = gate.reread(cited.read(at.store, found.bundle, before))
    champion = versions.rival(at)
    rival = champion[0].bundle.digest if champion else None
    if rival not in (evidence.champion_bundle, found.bundle.digest):
        bundles = {"then": str(evidence.champion_bundle)[:12], "today": str(rival)[:12]}
        dataset_id = evidence.splits.dataset_id[:12]
        raise GateRefused(told("evidence_other_champion", version=version, dataset=dataset_id, **bundles))
    # the looks of then are no part of what is judged: the same question again is found
    asked = evidence.model_copy(update={"settings": settings.gate, "profile": settings.profile, "gold_looks": 1})
    key = stages.stage_key("judge", {"0": asked, "1": at.trusted_key}, judge)
    verdict = stages.run(
        at.store, key, Verdict, lambda work: judge.judge(asked, at.trusted_key, at.home, work=work)
    ).result
    registry.rejudge(at, found, verdict)
    return verdict


def stored_verdict(at: Registry, version: int) -> Verdict:
    """A version's verdict, whatever it says; its signature holds.

    Raises:
        GateRefused: there is none, or it was changed.
    """
    found = versions.get(at, version)
    verdict = versions.stored_verdict(at, found)
    signing.authenticate(verdict, found.bundle.digest, at.trusted_key)
    return verdict
