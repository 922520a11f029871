"""`up`, `down`, `status`, `logs`, `test`, `bench`."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import Json, Profile, Sets, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.operate.stack import Part
    from deploy.targets.standing import Standing

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
    show([part.model_dump(mode="json") for part in parts], _part_table(parts), as_json)


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
    """What runs, where, and its memory; what is live on every target, and how far a rollout is. Exits 4 if something died, does not
    answer, or a release was cut off; not for one that waits for a person."""
    from deploy.operate import stack
    from deploy.targets import left_behind, standing
    from flows.session import open_session

    session = open_session()
    parts, places = stack.status(session.home), standing.every(session.home)
    told = [_part_table(parts), *([_place_table(places)] if places else [])]
    show([one.model_dump(mode="json") for one in (*parts, *places)], "\n\n".join(told), as_json)
    left, disagreements = left_behind.every(session.home), _disagreements(session)
    for sentence in (*_emergency(session), *(one.said for one in left), *disagreements):
        typer.echo(f"tingsu: {sentence}", err=True)
    is_ill = disagreements or any(one.is_fault for one in left) or any(p.state in ("died", "not ready") for p in parts)
    raise typer.Exit(4 if is_ill else 0)


def _disagreements(session: Any) -> tuple[str, ...]:
    """Where registry, history and what is live disagree, asked only once something was released."""
    from data_contracts.errors import BundleCorrupt, StoreUnavailable
    from deploy import targets
    from flows import release
    from flows.run import registry_of
    from tasks import audit

    target = session.settings.rollout.target
    is_moving, record = release.is_moving(session.home), targets.read(session.home, target)
    if record.live is None or (is_moving and record.is_finished):
        return ()
    try:
        found = audit.glance(registry_of(session.settings, session.home, session.store), record.live.version)
    except (BundleCorrupt, StoreUnavailable) as error:
        return (str(error),)
    return found if targets.read(session.home, target).live == record.live else ()


def _emergency(session: Any) -> tuple[str, ...]:
    """That what is live is not there by the gate's word."""
    from deploy import targets

    live = targets.read(session.home, session.settings.rollout.target).live
    return (f"version {live.version} serves on an {live.emergency}",) if live and live.emergency else ()


def _part_table(parts: "Sequence[Part]") -> str:
    from flows.commands.tables import columns

    cells = [[p.name, p.state, p.url, f"{p.memory_mb:.0f} MB" if p.pid else "", p.log] for p in parts]
    return columns(["part", "state", "url", "memory", "log"], cells)


def _place_table(places: "Sequence[Standing]") -> str:
    from flows.commands.tables import columns

    cells = [[p.name, f"version {p.live}" if p.live else "none", p.url, p.told] for p in places]
    return columns(["target", "live", "url", "rollout"], cells)


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
