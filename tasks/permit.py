"""What a version needs to become the champion now: a valid verdict, under today's standard, against today's champion."""

from datetime import UTC, datetime, timedelta

from data_contracts.artifacts import Emergency, Verdict
from data_contracts.errors import GateRefused
from data_contracts.messages import Said, told
from deploy import bundle as bundles
from deploy.store import Store
from tasks import catalog, gold, history, versions
from tasks.versions import Registry

STANDARD = {"profile": "profile", "thresholds_digest": "thresholds", "gold_digest": "gold set"}
CLOCKS_DIFFER = timedelta(minutes=10)  # between the machine of the gate and this one


def permit(at: Registry, version: int) -> Verdict | Emergency:
    """The verdict that lets this version become the champion now, an operator's where the gate's does not: what
    `promote --dry-run` shows.

    Raises:
        GateRefused: no valid signed PROMOTE for exactly this bundle, or one against another champion, under other
            thresholds (than today's, or than the champion's without a reason), of another time than today's, or on
            gold calls that were refreshed since; and no operator's emergency verdict that holds.
        BundleCorrupt: the bundle's files do not match its digest.
        ConfigurationError: no such version.
    """
    try:
        return by_gate(at, version)
    except GateRefused as refused:
        target = versions.get(at, version)
        verdict = versions.lifted(at, target, refused)
        bundles.open(bundles.place(at.store, target.bundle))
        return verdict


def by_gate(at: Registry, version: int) -> Verdict:
    """As `permit`, without emergency verdicts."""
    target = versions.get(at, version)
    verdict = versions.verdict_of(at, target)
    bundles.open(bundles.place(at.store, target.bundle))
    sitting = versions.sitting(at)
    if sitting and sitting.version == version:
        return verdict
    _refuse_other_standard(at, version, verdict)
    outdated = refreshed_since(at.store, verdict, version)
    if outdated:
        raise GateRefused(outdated)
    differs = other_standard(at, verdict, version)
    if differs and not at.new_standard:
        raise GateRefused(differs)
    if sitting and verdict.champion_bundle != sitting.bundle.digest:
        code = "verdict_other_champion" if verdict.champion_bundle else "verdict_no_champion"
        now = {"champion": sitting.version, "bundle": sitting.bundle.digest[:12]}
        raise GateRefused(told(code, version=version, judged=(verdict.champion_bundle or "")[:12], **now))
    return verdict


def other_standard(at: Registry, verdict: Verdict, version: int) -> Said | None:
    """What a candidate was judged by that the champion, when it was promoted, was not: what to say of it, or None.

    A gate that fits its thresholds or its gold set to the candidate promotes anything, so a person has to say why; the
    history keeps it.
    """
    entry = versions.standing(at)
    if entry is None or entry.event.version is None or entry.event.bundle_digest == verdict.bundle_digest:
        return None
    line = history.newest_standard(history.read(at.home))
    if line is None:
        return None
    before = Verdict.model_validate(line.event.detail["verdict"])
    pairs = [(name, getattr(verdict, field), getattr(before, field)) for field, name in STANDARD.items()]
    other = [f"{name} {mine[:12]} instead of {theirs[:12]}" for name, mine, theirs in pairs if mine != theirs]
    if not other:
        return None
    values = {"champion": entry.event.version, "differences": ", ".join(other)}
    return told("verdict_other_standard", version=version, **values)


def refreshed_since(store: Store, verdict: Verdict, version: int) -> Said | None:
    """What to say of a verdict on gold calls whose set has a newer version, and the command; None on today's.

    Others are judged on the newer calls, and the champion answers them anew: on the old ones a candidate would be promoted that
    was never asked what counts now.
    """
    dataset = catalog.by_id(store, verdict.dataset_id)  # two families may have the same calls
    then = gold.of_digest(store, verdict.gold_digest, dataset.family if dataset else None)
    today = gold.newest(store, then.family) if then else None
    if then is None or today is None or today.digest == then.digest:
        return None
    why = today.refresh
    by = (
        (f"{why.by} for {why.reason!r}", f"{why.by} 更新，原因 {why.reason!r}")
        if why
        else ("another split", "另一次划分产生")
    )
    values = {"then": then.version, "family": then.family, "today": today.version, "rows": today.rows}
    dataset_id = verdict.dataset_id[:12]
    return told("verdict_outdated", version=version, by_en=by[0], by_zh=by[1], dataset=dataset_id, **values)


def _refuse_other_standard(at: Registry, version: int, verdict: Verdict) -> None:
    if (verdict.profile, verdict.thresholds_digest) != (at.today.profile, at.today.thresholds):
        then = {"profile": verdict.profile, "thresholds": verdict.thresholds_digest[:12]}
        now = {"profile_now": at.today.profile, "thresholds_now": at.today.thresholds[:12]}
        raise GateRefused(told("verdict_other_settings", version=version, **then, **now))
    ahead = datetime.fromisoformat(verdict.created_at) - datetime.now(UTC)
    if ahead > CLOCKS_DIFFER:
        raise GateRefused(told("verdict_in_future", version=version, at=verdict.created_at, ahead=ahead))
