"""`serve`, `classify`, `verify`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import Json, Profile, Sets, show

Url = Annotated[str | None, typer.Option("--url", help="default: the local service")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (serve, classify, verify):
        app.command()(command)


def serve(
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="a bundle's folder; default: serve.model_path, else the champion's")
    ] = None,
    generate: Annotated[
        Path | None,
        typer.Option("--generate", help="a bundle's folder for slot 'generate', as ./tingsu import prints it"),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="default: ports.service")] = None,
    evaluation: Annotated[
        bool, typer.Option("--evaluation", help="serve a bundle without verdict, on loopback, marked")
    ] = False,
    profile: Profile = None,
    sets: Sets = None,
) -> None:
    """Serve in the foreground until SIGTERM: a bundle that classifies, one that generates, or both."""
    from deploy.service import options
    from deploy.service.__main__ import main
    from flows.session import open_session

    session = open_session(profile, sets=sets or ())
    named = bundle or session.settings.serve.model_path
    text = generate or session.settings.serve.generate.path
    version: list[str] = []
    if named is None and generate is None:  # who names a model that generates means that one
        named, version = _champion(profile, sets)
    argv = [
        *(["--bundle", str(named)] if named else []),
        *(["--generate", str(text)] if text else []),
        "--home",
        str(session.home),
        "--port",
        str(port or session.settings.ports.service),
        *version,
    ]
    raise typer.Exit(main([*argv, *options(session.settings.serve), *(["--evaluation"] if evaluation else [])]))


def _champion(profile: str | None, sets: list[str] | None) -> tuple[Path, list[str]]:
    from data_contracts.errors import GateRefused
    from data_contracts.messages import told
    from deploy import bundle
    from flows.registry import open_registry
    from tasks import versions

    at = open_registry(profile, sets)
    champion = versions.champion(at)
    if champion is None:
        raise GateRefused(told("champion_none_to_serve"))
    return bundle.place(at.store, champion.bundle), ["--version", str(champion.version)]


def classify(
    text: Annotated[str, typer.Argument(help="the call, as text")],
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Classify one call on the running service."""
    from data_contracts.schema import Call
    from deploy.client import Client

    address, key = _asked(url)
    with Client(address, key=key) as client:
        answer = client.classify([Call(text=text)])[0]
    show(answer, sentence(answer), as_json)


def sentence(answer: dict[str, Any]) -> str:
    """An answer on one line."""
    c = answer["category"]
    reasons = (
        f" ({', '.join(str(r.get('code', r)) if isinstance(r, dict) else str(r) for r in answer['reasons'])})"
        if answer["reasons"]
        else ""
    )
    note = " [synthetic training data]" if answer.get("synthetic") else ""
    return f"{c['name_zh']} {c['key']} ({c['code']})  {answer['confidence']:.2f}  {answer['decision']}{reasons}{note}"


def verify(
    url: Annotated[str | None, typer.Argument(help="default: the local service")] = None, as_json: Json = False
) -> None:
    """Check every endpoint of a live service; exits 4 if one fails."""
    from deploy.operate import verify as checks

    address, key = _asked(url)
    found = checks.verify(address, key=key)
    lines = [f"{c.outcome:<8} {c.name:<12} {c.detail}" for c in found]
    show([c.model_dump(mode="json") for c in found], "\n".join(lines), as_json)
    raise typer.Exit(0 if checks.passed(found) else 4)


def _asked(url: str | None) -> tuple[str, str | None]:
    """The service to ask, by default the local one, and the API key to show it."""
    from deploy import keys
    from flows.session import open_session

    session = open_session()
    address = url or f"http://127.0.0.1:{session.settings.ports.service}"
    return address, keys.chosen(session.home, address)
