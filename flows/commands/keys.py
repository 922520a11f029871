"""`keys add`, `keys list`, `keys revoke`, `keys operator`."""

from contextlib import suppress
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_contracts.errors import TingsuError
from flows.commands.options import Json, show

if TYPE_CHECKING:
    from flows.session import Session

Name = Annotated[str, typer.Argument(help="who holds the key, such as crm")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(no_args_is_help=True, help="API keys of the service, and operators' keys.")
    group.command("add")(add)
    group.command("list")(listing)
    group.command("revoke")(revoke)
    group.command("operator")(operator)
    app.add_typer(group, name="keys")


def add(
    name: Name,
    scope: Annotated[
        str, typer.Option("--scope", help="classify, generate, metrics, admin; several with commas")
    ] = "classify",
    rate: Annotated[
        str | None, typer.Option("--rate", help="requests a second, such as 5/s; default: no limit")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once: only its hash is kept. From now on the service asks for one."""
    from deploy import keys
    from flows.session import open_session

    scopes = [word.strip() for word in scope.split(",")]
    home = open_session().home
    shown = keys.add(home, name, scopes, _per_second(rate))
    limit = f", at most {rate.removesuffix('/s')} requests a second" if rate else ""
    typer.echo(f"key of {name} for {', '.join(scopes)}{limit}{_elsewhere(home)}; it is not shown again:", err=True)
    show({"name": name, "scopes": scopes, "key": shown}, shown, as_json)


def listing(as_json: Json = False) -> None:
    """Names, scopes and rates; never the keys."""
    from deploy import keys
    from flows.commands.tables import columns
    from flows.session import open_session

    kept = keys.read(open_session().home)
    found = kept.keys if kept else ()
    cells = [[k.name, ",".join(k.scopes), f"{k.rate_per_s:g}/s" if k.rate_per_s else "", k.created_at] for k in found]
    nothing = "no keys: the service asks for none, and listens on loopback only; ./tingsu keys add NAME"
    text = columns(["name", "scopes", "rate", "made"], cells) if found else nothing if kept is None else _ALL_REVOKED
    show([key.model_dump(mode="json", exclude={"digest"}) for key in found], text, as_json)


def revoke(name: Name, as_json: Json = False) -> None:
    """Forget a key; running services refuse it from the next request on."""
    from deploy import keys
    from flows.session import open_session

    home = open_session().home
    left = keys.revoke(home, name)
    text = f"{name} revoked; {left} left" if left else f"{name} revoked. {_ALL_REVOKED}"
    show({"revoked": name, "left": left}, text + _elsewhere(home), as_json)


def operator(
    name: Annotated[str, typer.Argument(help="the person, such as li.wei")],
    file: Annotated[
        Path | None, typer.Option("--file", help="the private key; default: ~/.config/tingsu/operators/NAME.pem")
    ] = None,
    revoked: Annotated[bool, typer.Option("--revoke", help="trust the operator no more")] = False,
    as_json: Json = False,
) -> None:
    """Trust an operator's own key, made in the operator's file if there is none, to sign emergency verdicts."""
    from flows.session import open_session
    from tasks import emergency

    session = open_session()
    home = session.home
    if revoked:
        emergency.revoke(home, name, getuser())
        _witnessed(session)
        show(
            {"operator": name, "trusted": False}, f"operator {name} is not trusted any more{_elsewhere(home)}", as_json
        )
        return
    own = (file or operator_file(name)).expanduser().absolute()
    public = emergency.trust(home, name, own, getuser())
    _witnessed(session)
    text = f"operator {name} is trusted here: public key {public}. The private key is {own}; keep it to yourself{_elsewhere(home)}"
    show({"operator": name, "trusted": True, "public_key": public, "file": str(own)}, text, as_json)


def operator_file(name: str) -> Path:
    """Where an operator's private key lies unless another file is named: not in the home, which others may read."""
    return Path.home() / ".config/tingsu/operators" / f"{name}.pem"


def _witnessed(session: "Session") -> None:
    """MLflow knows the history's newest line; where it does not answer, the next move catches up."""
    from flows.run import registry_of
    from tasks import history, registry

    if any(
        entry.event.kind == "recorded" for entry in history.read(session.home)
    ):  # else there is no model to note it on
        with suppress(TingsuError):
            registry.witness(registry_of(session.settings, session.home, session.store))


_ALL_REVOKED = (
    "No key is left, so only this machine's own commands are let in. To have the service open on loopback again, "
    "remove keys/service.json from TINGSU_HOME"
)


def _elsewhere(home: Path) -> str:
    """Where this does not count yet, and what to do."""
    from deploy import targets

    if targets.read(home, "server").live is None:
        return ""
    return ". The server does not know of it yet: ./tingsu deploy --target server, as it was deployed, takes it there"


def _per_second(rate: str | None) -> float | None:
    """`5/s`, or `5`.

    Raises:
        ConfigurationError: it is neither.
    """
    from data_contracts.errors import ConfigurationError

    try:
        return None if rate is None else float(rate.removesuffix("/s"))
    except ValueError as error:
        raise ConfigurationError(f"--rate {rate!r} is not a number of requests a second; write it as 5/s") from error
