"""What a version needs to become the champion now: a valid verdict, under today's standard, against today's champion."""

from datetime import UTC, datetime, timedelta

from data_contracts.artifacts import Emergency, Verdict
from data_contracts.errors import GateRefused
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
    outdated = refreshed_since(at.store, verdict)
    if outdated:
        raise GateRefused(f"version {version} {outdated}")
    differs = other_standard(at, verdict)
    if differs and not at.new_standard:
        raise GateRefused(f"version {version} {differs}: ./tingsu promote {version} --new-standard 'REASON'")
    if sitting and verdict.champion_bundle != sitting.bundle.digest:
        judged = f"champion bundle {verdict.champion_bundle[:12]}" if verdict.champion_bundle else "no champion"
        raise GateRefused(
            f"version {version} was judged against {judged}, but the champion is now version {sitting.version} "
            f"(bundle {sitting.bundle.digest[:12]}); judge it again: `./tingsu retrain` on its dataset"
        )
    return verdict


def other_standard(at: Registry, verdict: Verdict) -> str | None:
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
    return (
        f"was judged by another standard than the champion, version {entry.event.version}, was ({', '.join(other)}); "
        "if that is meant, say why, and the history keeps it"
    )


def refreshed_since(store: Store, verdict: Verdict) -> str | None:
    """What to say of a verdict on gold calls whose set has a newer version, and the command; None on today's.

    Others are judged on the newer calls, and the champion answers them anew: on the old ones a candidate would be promoted that
    was never asked what counts now.
    """
    dataset = catalog.by_id(store, verdict.dataset_id)  # two families may have the same calls
    then = gold.of_digest(store, verdict.gold_digest, dataset.family if dataset else None)
    today = gold.newest(store, then.family) if then else None
    if then is None or today is None or today.digest == then.digest:
        return None
    by = f"{today.refresh.by} for {today.refresh.reason!r}" if today.refresh else "another split"
    return (
        f"was judged on version {then.version} of the gold set of {then.family!r}, and version {today.version} ({today.rows} "
        f"calls, made by {by}) counts now; have it and the champion judged on that: "
        f"./tingsu retrain --dataset {verdict.dataset_id[:12]}"
    )


def _refuse_other_standard(at: Registry, version: int, verdict: Verdict) -> None:
    if (verdict.profile, verdict.thresholds_digest) != (at.today.profile, at.today.thresholds):
        raise GateRefused(
            f"version {version} was judged under profile {verdict.profile!r} and thresholds {verdict.thresholds_digest[:12]}, "
            f"today's are {at.today.profile!r} and {at.today.thresholds[:12]} (--profile and --set count); judge it again "
            f"under today's: ./tingsu gate {version} --again"
        )
    ahead = datetime.fromisoformat(verdict.created_at) - datetime.now(UTC)
    if ahead > CLOCKS_DIFFER:
        raise GateRefused(
            f"the verdict of version {version} is of {verdict.created_at}, which is {ahead} in the future; set this "
            f"machine's clock, or judge it again: ./tingsu gate {version} --again"
        )
