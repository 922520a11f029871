"""`gc`."""

from typing import Annotated

import typer

from flows.commands.options import Json, Profile, Sets, show


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(gc)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, remove nothing")] = False,
    keep_runs: Annotated[int | None, typer.Option("--keep-runs", min=1, help="default: retention.keep_runs")] = None,
    older: Annotated[
        float | None, typer.Option("--older", min=0, metavar="DAYS", help="default: retention.older_days")
    ] = None,
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Remove old stages, bundles, runs, checkpoints and reports; nothing that is live, can come back or is cited."""
    from flows.commands.tables import columns
    from flows.registry import open_registry
    from flows.session import open_session
    from tasks.gc import collect

    own = [f"retention.keep_runs={keep_runs}"] if keep_runs is not None else []
    own += [f"retention.older_days={older}"] if older is not None else []
    asked = [*(sets or ()), *own]
    settings = open_session(profile, sets=asked).settings
    found = collect(open_registry(profile, asked), settings, dry_run)
    cells = [[t.kind, f"{t.count:,}", f"{t.mb:,.1f}"] for t in found]
    done = "would be removed" if dry_run else "removed, and said so in the history"
    total = f"{sum(t.mb for t in found):,.1f} MB {done}"
    text = f"{columns(['kind', 'count', 'MB'], cells)}\n{total}" if found else "nothing is old enough and free to go"
    show([t.model_dump(mode="json") for t in found], text, as_json)
