"""`promote`, `rollback`, `deploy`."""

from typing import Annotated

import typer

from flows.commands.options import Json, Profile, Sets, show


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (promote, rollback, deploy):
        app.command()(command)


def promote(
    version: int,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check the permit, change nothing")] = False,
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
    """Release a version whose verdict is PROMOTE, and make it the champion."""
    from dataclasses import replace

    from flows import release
    from flows.registry import open_registry
    from flows.session import open_session
    from tasks.permit import permit

    at = replace(open_registry(profile, sets), new_standard=new_standard)
    if dry_run:
        verdict = permit(at, version)
        of = f"bundle {verdict.bundle_digest[:12]}, verdict of {verdict.created_at}"
        text = f"version {version} may be promoted: {of}. Nothing was changed"
        show(verdict.model_dump(mode="json"), text, as_json)
        return
    live = release.promote(at, version, open_session(profile, sets=sets or ()).settings)
    show(live.model_dump(mode="json"), f"version {version} is live at {live.endpoint}", as_json)


def rollback(
    to: Annotated[
        int | None, typer.Option("--to", help="the version to go back to: the one before the champion")
    ] = None,
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Make the champion before the newest promotion serve again.

    The same command again ends one that was cut off, and changes nothing after one that was not. To go back further,
    name the version with --to.
    """
    from flows import release
    from flows.registry import open_registry
    from flows.session import open_session

    settings = open_session(profile, sets=sets or ()).settings
    version, live = release.rollback(open_registry(profile, sets), settings, to)
    show(
        live.model_dump(mode="json"),
        f"version {version.version} is the champion again, live at {live.endpoint}",
        as_json,
    )


def deploy(
    target: Annotated[str, typer.Option("--target", help="local")] = "local",
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Roll the champion out to a target: start, verify, switch, or undo."""
    from data_contracts.errors import GateRefused
    from flows.registry import open_registry
    from flows.session import open_session
    from tasks import rollout, versions

    session = open_session(profile, sets=[*(sets or ()), f"rollout.target={target}"])
    at = open_registry(profile, sets)
    champion = versions.champion(at)
    if champion is None:
        raise GateRefused("there is no champion to deploy; ./tingsu retrain, then ./tingsu promote V")
    live = rollout.rollout(at.store, champion, session.settings, session.home, by=at.by)
    show(live.model_dump(mode="json"), f"version {live.version} is live at {live.endpoint}", as_json)
