"""The record: `emergency`, `history`, `why`, `what-was-live`, `audit export`. What is read from the history is verified first."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from data_contracts.limits import MOST_VERSION
from flows.commands.options import Json, Profile, Sets, Version, show

if TYPE_CHECKING:
    from tasks.history import Entry


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (emergency, history, why, what_was_live):
        app.command()(command)
    group = typer.Typer(no_args_is_help=True, help="What an auditor takes away: export.")
    group.command("export")(audit_export)
    group.callback()(lambda: None)
    app.add_typer(group, name="audit")


def emergency(
    version: Version,
    operator: Annotated[str, typer.Option("--operator", help="who answers for it; ./tingsu keys operator NAME")],
    reason: Annotated[str, typer.Option("--reason", help="why it cannot wait for the gate; kept for ever")],
    key: Annotated[
        Path | None, typer.Option("--key", help="the private key; default: ~/.config/tingsu/operators/NAME.pem")
    ] = None,
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Let a version serve for 24 hours against the gate's answer, signed with an operator's own key."""
    from flows.commands.keys import operator_file
    from flows.registry import open_registry
    from tasks.emergency import declare

    file = (key or operator_file(operator)).expanduser().absolute()
    said = declare(open_registry(profile, sets), version, operator, file, reason)
    text = f"version {version} may serve until {said.expires_at} on the word of {operator}; now: ./tingsu promote {version}"
    show(said.model_dump(mode="json"), text, as_json)


def history(
    version: Annotated[
        int | None, typer.Option("--version", min=1, max=MOST_VERSION, help="only lines about this version")
    ] = None,
    target: Annotated[str | None, typer.Option("--target", help="only rollouts to this target")] = None,
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Who promoted, released, undid or was refused what, and when. Lines are shown also if one was tampered with, and that is said."""
    from data_contracts.errors import BundleCorrupt
    from deploy.targets import left_behind
    from flows.commands.tables import columns
    from flows.run import registry_of
    from flows.session import open_session
    from tasks import history as recorder
    from tasks import proven

    session = open_session(profile, sets=sets or ())
    home = session.home
    entries = [
        e
        for e in recorder.read(home)
        if version in (None, e.event.version) and target in (None, e.event.detail.get("target"))
    ]
    table = columns(["at", "what", "version", "target", "by", "bundle", "why"], [_cells(entry) for entry in entries])
    show([e.model_dump(mode="json") for e in entries], table if entries else "nothing yet", as_json)
    for left in left_behind.every(home):
        typer.echo(f"tingsu: {left.said}", err=True)
    head = proven.note(registry_of(session.settings, home, session.store)) if entries else ""
    if head is None:
        typer.echo("tingsu: MLflow did not answer, so whether the end was cut off could not be checked", err=True)
    broken = recorder.verify(home, head or "")
    if broken:
        raise BundleCorrupt(broken)


def why(
    version: Version,
    language: Annotated[str, typer.Option("--language", help="en or zh")] = "en",
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Why a version is live or not: evidence, who, when, and how to undo it."""
    from flows.registry import open_registry
    from tasks import proven
    from tasks import why as answers

    at = open_registry(profile, sets)
    known = proven.read(at)
    text = f"{answers.answer(at.home, version, _language(language))}\n\n{known.said}"
    show({"version": version, "answer": text, "verified": known.said}, text, as_json)


def what_was_live(
    at: Annotated[
        str, typer.Option("--at", metavar="TIME", help="2026-11-22T17:30, or with Z or +08:00 at its end; default: now")
    ] = "",
    target: Annotated[str | None, typer.Option("--target", help="default: setting rollout.target")] = None,
    language: Annotated[str, typer.Option("--language", help="en or zh")] = "en",
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """What a target served at a moment, since when, on which verdict and by whose hand."""
    from datetime import UTC, datetime

    from deploy import targets
    from flows.run import registry_of
    from flows.session import open_session
    from tasks import proven
    from tasks import what_was_live as answers

    then = answers.moment(at) if at else datetime.now(UTC)
    session = open_session(profile, sets=sets or ())
    known = proven.read(registry_of(session.settings, session.home, session.store))
    place = target or session.settings.rollout.target
    live = answers.find(known.entries, place, then, targets.read(session.home, place))
    text = f"{answers.text(live, _language(language))}\n{known.said}"
    show({**live.model_dump(mode="json"), "verified": known.said}, text, as_json)


def audit_export(
    out: Annotated[Path, typer.Option("--out", help="a folder that is not there yet, or empty")],
    version: Annotated[int | None, typer.Option("--version", min=1, max=MOST_VERSION, help="default: all")] = None,
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Write all that an auditor needs into a folder, which anybody can check without Tingsu."""
    from flows.registry import open_registry
    from tasks.audit_export import export

    made = export(open_registry(profile, sets), out, version)
    absent = "".join(f"\nMISSING in the store: {name}" for name in made.missing)
    text = f"{made.folder}: {made.files} files, {made.lines} history lines; check it there: python3 check.py{absent}"
    show(made.model_dump(mode="json"), text, as_json)


def _cells(entry: "Entry") -> list[str]:
    event = entry.event
    version, target = str(event.version or "-"), str(event.detail.get("target", "-"))
    return [entry.at, event.kind, version, target, event.by, event.bundle_digest[:12] or "-", event.why]


def _language(said: str) -> Literal["en", "zh"]:
    return "zh" if said == "zh" else "en"
