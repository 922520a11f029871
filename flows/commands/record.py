"""`emergency`: what stands in the record that is nobody's verdict but a person's word."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Json, Profile, Sets, show


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (emergency,):
        app.command()(command)


def emergency(
    version: int,
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
