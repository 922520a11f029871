"""`promote`, `deploy`, `approve`, `reject`, `undo`, `rollback`."""

from typing import TYPE_CHECKING, Annotated

import typer

from data_contracts.limits import MOST_VERSION
from flows.commands.options import Json, Profile, Sets, Version, show

if TYPE_CHECKING:
    from configs.settings import Settings
    from tasks.plan import Plan
    from tasks.versions import Registry

DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be done and changed, change nothing")]
Target = Annotated[str | None, typer.Option("--target", help="local, server …; default: setting rollout.target")]
Why = Annotated[str, typer.Option("--why", metavar="REASON", help="kept in the history")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (promote, deploy, approve, reject, undo, rollback):
        app.command()(command)


def promote(
    version: Version,
    dry_run: DryRun = False,
    new_standard: Annotated[
        str,
        typer.Option(
            "--new-standard",
            metavar="REASON",
            help="why profile, thresholds or gold set are not those of the champion's verdict",
        ),
    ] = "",
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Release a version whose verdict is PROMOTE, and make it the champion. The same command again goes on after a cut."""
    from dataclasses import replace

    from flows import release
    from tasks import rollout, versions
    from tasks.permit import permit

    at, settings = _opened(profile, sets)
    at = replace(at, new_standard=new_standard)
    if dry_run:
        verdict = permit(at, version)
        plan = rollout.planned(at.store, versions.get(at, version), settings, at.home)
        of = f"bundle {verdict.bundle_digest[:12]}, verdict of {verdict.created_at}"
        value = {"verdict": verdict.model_dump(mode="json"), "plan": plan.model_dump(mode="json")}
        show(value, f"version {version} may be promoted: {of}\n{_told(plan)}", as_json)
        return
    live = release.promote(at, version, settings)
    show(live.model_dump(mode="json"), f"version {version} is live at {live.endpoint}", as_json)


def rollback(
    to: Annotated[
        int | None,
        typer.Option("--to", min=1, max=MOST_VERSION, help="the version to go back to: the one before the champion"),
    ] = None,
    why: Why = "",
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Make the champion before the newest promotion serve again.

    The same command again ends one that was cut off, and changes nothing after one that was not. To go back further,
    name the version with --to.
    """
    from flows import release

    version, live = release.rollback(*_opened(profile, sets), to, why)
    show(
        live.model_dump(mode="json"),
        f"version {version.version} is the champion again, live at {live.endpoint}",
        as_json,
    )


def deploy(
    target: Target = None,
    dry_run: DryRun = False,
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Roll the champion out to a target: stage, verify, try on part of the traffic, switch, or undo."""
    from data_contracts.errors import GateRefused
    from data_contracts.messages import told
    from tasks import rollout, versions

    at, settings = _opened(profile, sets, target)
    champion = versions.champion(at)
    if champion is None:
        raise GateRefused(told("champion_none"))
    if dry_run:
        plan = rollout.planned(at.store, champion, settings, at.home)
        show(plan.model_dump(mode="json"), _told(plan), as_json)
        return
    live = rollout.rollout(at.store, champion, settings, at.home, by=at.by)
    show(live.model_dump(mode="json"), f"version {live.version} is live at {live.endpoint}", as_json)


def approve(
    version: Version, why: Why, target: Target = None, profile: Profile = None, sets: Sets = None, as_json: Json = False
) -> None:
    """Let a version that is staged and verified have traffic (setting rollout.approval)."""
    from flows import release
    from tasks import rollout

    _require(why)
    at, settings = _opened(profile, sets, target)
    with release.witnessed(at):
        record = rollout.approve(version, why, settings, at.home, by=at.by)
    said = f" {record.approval.told}" if record.approval else ""
    text = f"version {version} is approved for {record.target}{said}; a run that waits goes on by itself, else the command that staged it"
    show(record.model_dump(mode="json"), text, as_json)


def reject(
    version: Version, why: Why, target: Target = None, profile: Profile = None, sets: Sets = None, as_json: Json = False
) -> None:
    """Undo the rollout of a version that waits for approval, or is under way."""
    from data_contracts.errors import RolloutFailed
    from flows import release
    from tasks import rollout

    _require(why)
    at, settings = _opened(profile, sets, target)
    record = rollout.record(settings, at.home)
    if record.is_finished or record.subject.version != version:
        raise RolloutFailed(f"no rollout of version {version} to {record.target} is under way; nothing was touched")
    with release.witnessed(at):
        record = rollout.withdraw(why, settings, at.home, by=at.by)
    show(record.model_dump(mode="json"), record.steps[-1].note, as_json)


def undo(
    why: Why = "", target: Target = None, profile: Profile = None, sets: Sets = None, as_json: Json = False
) -> None:
    """Take back the rollout that is under way, or go back to the version before: the traffic first, within seconds.

    Repeated, it changes nothing more. The champion goes back too, unless --target names another target than the settings.
    """
    from flows import release
    from flows.session import open_session

    at, settings = _opened(profile, sets, target)
    is_own = target is None or target == open_session(profile, sets=sets or ()).settings.rollout.target
    text, value = release.undo(at, settings, why, moves_champion=is_own)
    show(value, text, as_json)


def _require(why: str) -> None:
    from data_contracts.errors import ConfigurationError

    if not why.strip():
        raise ConfigurationError("--why is empty; say why, the history keeps it")


def _opened(profile: str | None, sets: list[str] | None, target: str | None = None) -> "tuple[Registry, Settings]":
    from flows.run import registry_of
    from flows.session import open_session

    session = open_session(profile, sets=[*(sets or ()), *([f"rollout.target={target}"] if target else ())])
    return registry_of(session.settings, session.home, session.store), session.settings


def _told(plan: "Plan") -> str:
    """The states, then every change as a unified diff."""
    from difflib import unified_diff

    diffs = [
        "\n".join(
            unified_diff(c.before.splitlines(), c.after.splitlines(), f"{c.what} now", f"{c.what} then", lineterm="")
        )
        for c in plan.changes
    ]
    states = [f"  {state}" for state in plan.states]
    return "\n".join(
        [f"version {plan.version} to {plan.target}:", *states, *filter(None, diffs), "Nothing was changed"]
    )
