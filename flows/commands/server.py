"""`uninstall`: take a server's installation away."""

from typing import Annotated

import typer

from flows.commands.options import Json, Profile, Sets, show


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(uninstall)


def uninstall(
    yes: Annotated[bool, typer.Option("--yes", help="do it; without, only say what would go")] = False,
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Take everything off the server of rollout.server: instances, units, nginx's file, releases, logs, the user.

    nginx itself stays, and so do the versions of the registry: ./tingsu deploy --target server installs it again.
    """
    from getpass import getuser

    from deploy.targets.server import Server
    from flows.session import open_session
    from tasks import on_off

    session = open_session(profile, sets=[*(sets or ()), "rollout.target=server"])
    target = Server(session.home, session.settings)
    own, where = session.settings.rollout.server, target.host.name
    what = f"{own.root}, /var/lib/tingsu, units tingsu@*, {own.nginx}, their logs and user {own.user!r}"
    if not yes:
        text = f"would remove from {where}: {what}. It has now: {target.status().detail}. Do it with --yes"
        show({"removed": False, "host": where}, text, as_json)
        return
    on_off.stop(target, session.home, getuser(), "./tingsu uninstall", target.remove, forgets=True)
    show({"removed": True, "host": where}, f"removed from {where}: {what}", as_json)
