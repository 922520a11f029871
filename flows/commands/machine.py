"""`up`, `down`, `status`, `logs`, `test`, `bench`."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import Json, Profile, Sets, show

ROOT = Path(__file__).parent.parent.parent


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (up, down, status, logs):
        app.command()(command)
    passes_on = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(context_settings=passes_on)(test)
    app.command(context_settings=passes_on, add_help_option=False)(bench)


def up(
    install: Annotated[bool, typer.Option("--install", help="install the system packages that are missing")] = False,
    service: Annotated[bool, typer.Option("--service", help="only the service, with the version that is live")] = False,
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Start Prefect, a worker, MLflow, the champion's service and the control plane on this machine."""
    from getpass import getuser

    from deploy.operate import needs, stack
    from flows.session import open_session
    from tasks import rollout

    session = open_session(profile, sets=sets or ())
    if install:
        needs.install(needs.missing(session.settings))
    needs.require(session.settings)
    parts = stack.up(session.home, session.settings, only_service=service)
    local = session.settings.model_copy(
        update={"rollout": session.settings.rollout.model_copy(update={"target": "local"})}
    )
    rollout.started(local, session.home, getuser(), "./tingsu up")
    _show(parts, as_json)


def down(as_json: Json = False) -> None:
    """Stop everything that runs under this home; a rollout to this machine that is under way is taken back."""
    from getpass import getuser

    from data_contracts.errors import Busy, RolloutFailed
    from deploy.operate import stack
    from deploy.targets.local import Local
    from flows.session import open_session
    from tasks import on_off, rollout

    session, by, how = open_session(sets=["rollout.target=local"]), getuser(), "./tingsu down"

    def stop() -> tuple[str, ...]:
        target = Local(session.home, session.settings)
        return on_off.stop(target, session.home, by, how, lambda: stack.down(session.home))

    try:
        stopped = stop()
    except Busy:  # whoever carries it out takes it back before its service ends
        with suppress(RolloutFailed):
            rollout.withdraw(how, session.settings, session.home, by)
        stopped = stop()
    show(list(stopped), f"stopped: {', '.join(stopped)}" if stopped else "nothing was running", as_json)


def status(as_json: Json = False) -> None:
    """What runs, where, and its memory; exits 4 if something died, does not answer, or a release was cut off."""
    from deploy.operate import stack
    from flows.session import open_session

    session = open_session()
    parts = stack.status(session.home)
    _show(parts, as_json)
    troubles = _troubles(session)
    for sentence in (*_emergency(session), *troubles):
        typer.echo(f"tingsu: {sentence}", err=True)
    raise typer.Exit(4 if troubles or any(p.state in ("died", "not ready") for p in parts) else 0)


def _troubles(session: Any) -> tuple[str, ...]:
    """A rollout nobody watches; and where registry, history and what is live disagree, asked only once something was released."""
    from data_contracts.errors import BundleCorrupt, StoreUnavailable
    from deploy import targets
    from flows.run import registry_of
    from tasks import audit

    behind = targets.every_left_behind(session.home)
    live = targets.read(session.home, session.settings.rollout.target).live
    if live is None:
        return behind
    try:
        return (*behind, *audit.glance(registry_of(session.settings, session.home, session.store), live.version))
    except (BundleCorrupt, StoreUnavailable) as error:
        return (*behind, str(error))


def _emergency(session: Any) -> tuple[str, ...]:
    """That what is live is not there by the gate's word."""
    from deploy import targets

    live = targets.read(session.home, session.settings.rollout.target).live
    return (f"version {live.version} serves on an {live.emergency}",) if live and live.emergency else ()


def _show(parts: Any, as_json: bool) -> None:
    from flows.commands.tables import columns

    cells = [[p.name, p.state, p.url, f"{p.memory_mb:.0f} MB" if p.pid else "", p.log] for p in parts]
    show([p.model_dump(mode="json") for p in parts], columns(["part", "state", "url", "memory", "log"], cells), as_json)


def logs(
    name: Annotated[str | None, typer.Argument(help="a part, as in `status`; default: all")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow")] = False,
    lines: Annotated[int, typer.Option("--lines", min=1)] = 40,
) -> None:
    """Show the logs of what `up` started."""
    from data_contracts.errors import ConfigurationError
    from flows.session import open_session

    folder = open_session().home / "logs"
    files = sorted(folder.glob(f"{name or '*'}.log"))
    if not files:
        known = ", ".join(sorted(f.stem for f in folder.glob("*.log")))
        raise ConfigurationError(
            f"no log of {name} in {folder}; there are: {known}" if known else f"{folder} has no logs yet; ./tingsu up"
        )
    raise typer.Exit(subprocess.call(["tail", "-n", str(lines), *(["-F"] if follow else []), *map(str, files)]))


def test(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="the slowest proofs too")] = False,
) -> None:
    """Run the project's own tests; further arguments go to pytest."""
    marks = [] if everything else ["-m", "not slow"]
    raise typer.Exit(subprocess.call([sys.executable, "-P", "-m", "pytest", "-q", *marks, *context.args], cwd=ROOT))


def bench(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="a benchmark; default: list them")] = None,
) -> None:
    """Measure a hot path or the gate; further arguments go to the benchmark (`bench NAME --help`)."""
    from data_contracts.errors import ConfigurationError

    known = {path.stem: _first_line(path) for path in sorted((ROOT / "tests" / "bench").glob("[a-z]*.py"))}
    if name in (None, "--help"):
        typer.echo("\n".join(f"{stem:<12} {line}" for stem, line in known.items()))
        return
    if name not in known:
        raise ConfigurationError(f"no benchmark {name!r}; there are: {', '.join(known) or 'none'}")
    raise typer.Exit(subprocess.call([sys.executable, "-P", "-m", f"tests.bench.{name}", *context.args]))


def _first_line(source: Path) -> str:
    return source.read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
