"""`datasets`: `list`, `show`, `diff`, `merge`, `export`, `refresh-gold`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import Json, Profile, Sets, show

if TYPE_CHECKING:
    from data_contracts.artifacts import Dataset
    from tasks.show import Custody

Wanted = Annotated[str, typer.Argument(metavar="ID", help="an id, its beginning, or a name (its newest)")]
SHOWN = 10


def add_to(app: typer.Typer) -> None:
    """Add these commands; alone, `datasets` lists."""
    group = typer.Typer(
        invoke_without_command=True, help="Accepted datasets: list, show, diff, merge, export, refresh-gold."
    )
    group.callback()(alone)
    group.command("list")(listing)
    group.command("show")(shown)
    group.command("diff")(diff)
    group.command("merge")(merge)
    group.command("export")(export)
    group.command("refresh-gold")(refresh_gold)
    app.add_typer(group, name="datasets")


def alone(context: typer.Context, profile: Profile = None, sets: Sets = None, as_json: Json = False) -> None:
    """List the accepted datasets, newest last; the commands below do more with them."""
    if context.invoked_subcommand is None:
        listing(profile, sets, as_json)
    elif profile or sets or as_json:
        word = context.invoked_subcommand
        raise typer.BadParameter(f"options come after the command's name: ./tingsu datasets {word} … --json")


def listing(profile: Profile = None, sets: Sets = None, as_json: Json = False) -> None:
    """List the accepted datasets, newest last."""
    from flows.session import open_session
    from tasks import catalog

    found = catalog.listed(open_session(profile, sets=sets or ()).store)
    text = "\n".join(_line(d) for d in found) or "\n".join(_both("datasets_none"))
    show([d.model_dump(mode="json") for d in found], text, as_json)


def shown(wanted: Wanted, profile: Profile = None, sets: Sets = None, as_json: Json = False) -> None:
    """One dataset: counts, what it was made from, what was rejected, its report, and how its gold set is kept."""
    from flows import custody
    from flows.commands.tables import columns
    from flows.session import open_session
    from tasks import show as shows
    from tasks.answer import agreed

    session = open_session(profile, sets=sets or ())
    (dataset,) = custody.found(session, [wanted])
    found = shows.show(session.store, dataset)
    total = max(1, sum(dataset.categories.values()))
    cells = [[key, f"{n:,}", f"{n / total:.1%}"] for key, n in dataset.categories.items()]
    parts = [
        _line(dataset),
        f"id {dataset.id}",
        f"{dataset.counted}, {dataset.groups:,} groups",
        *(f"made from {p.kind} {p.digest[:12]}  {p.name}" for p in dataset.parents),
        *(_both("merged", **found.merging.model_dump(), datasets=len(dataset.parents)) if found.merging else ()),
        *(f"rejected or quarantined for {code}: {rows} rows" for code, rows in found.by_code.items()),
        *(agreed(found.agreement.model_dump()) if found.agreement else ()),
        *([f"report: {found.report}"] if found.report else ()),
        *(_kept(found.custody) if found.custody else ()),
        f"\n{columns(['category', 'calls', 'share'], cells)}",
    ]
    show(found.model_dump(mode="json"), "\n".join(parts), as_json)


def diff(a: Wanted, b: Wanted, profile: Profile = None, sets: Sets = None, as_json: Json = False) -> None:
    """What B has that A has not: calls added, removed, relabelled, reworded, and how the categories shifted."""
    from flows import custody
    from flows.commands.tables import columns
    from flows.session import open_session
    from tasks import diff as differ

    session = open_session(profile, sets=sets or ())
    found = differ.diff(session.store, *custody.found(session, [a, b]))
    cells = [
        [row.category, f"{row.before:,}", f"{row.after:,}", f"{row.before_share:.1%}", f"{row.after_share:.1%}",
         f"{(row.after_share - row.before_share) * 100:+.1f}"]
        for row in found.categories
    ]  # fmt: skip
    changed = [f"{r.conversation_id} ({r.before} → {r.after})" for r in found.relabelled]
    parts = [
        f"from {_line(found.a)}",
        f"to   {_line(found.b)}",
        f"{found.same:,} calls are the same in both",
        _some("added", found.added),
        _some("removed", found.removed),
        _some("relabelled", changed),
        _some("reworded", found.reworded),
        f"\n{columns(['category', 'calls', 'then', 'share', 'then', 'points'], cells)}\n",
        found.sentence_en,
        found.sentence_zh,
    ]
    show(found.model_dump(mode="json"), "\n".join(parts), as_json)


def merge(
    wanted: Annotated[list[str], typer.Argument(metavar="ID...", help="two or more datasets")],
    name: Annotated[str, typer.Option("--name", help="what to call it")],
    prefer: Annotated[
        str, typer.Option("--prefer", help="newest: where categories differ, the newest dataset's; default: refuse")
    ] = "",
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Several datasets as one; a conversation in several is taken once."""
    from data_contracts.errors import WrongRequest
    from data_contracts.messages import told
    from flows import custody
    from flows.session import open_session

    if prefer not in ("", "newest"):
        raise WrongRequest(told("merge_prefer", given=prefer))
    made = custody.merge(open_session(profile, sets=sets or ()), wanted, name, prefer == "newest")
    next_ = f"next: ./tingsu retrain --dataset {made.dataset.id[:12]}"
    show(made.model_dump(mode="json"), "\n".join([_line(made.dataset), *custody.told_merge(made), next_]), as_json)


def export(
    wanted: Wanted,
    out: Annotated[Path, typer.Option("--out", help="the file to write: .csv, .jsonl or .parquet")],
    force: Annotated[bool, typer.Option("--force", help="replace the file if it is there")] = False,
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Write a dataset's masked calls to a file, under the contract's column names."""
    from flows import custody
    from flows.session import open_session
    from tasks import export as exports
    from tasks import submitted

    session = open_session(profile, sets=sets or ())
    (dataset,) = custody.found(session, [wanted])
    calls = exports.export(session.store, dataset, submitted.place(out), force)
    answer = {"dataset_id": dataset.id, "file": str(out), "calls": calls}
    show(answer, f"{calls:,} calls of {dataset.id[:12]} ({dataset.name}): {out}", as_json)


def refresh_gold(
    reason: Annotated[str, typer.Option("--reason", help="why; kept with the gold set")],
    wanted: Annotated[
        str | None, typer.Option("--dataset", help="where new calls come from; default: the newest")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="a day: gold calls before it leave, and none before it come")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would change, change nothing")] = False,
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Freeze the gold set's next version, with newer calls of customers whom no model was trained on.

    Champions and candidates are measured on it from the next retrain on; the first promotion after it needs --new-standard.
    """
    from getpass import getuser

    from flows import custody
    from flows.session import open_session
    from tasks.refresh import Why

    why = Why(reason=reason, by=getuser(), since=since)
    done = custody.refresh_gold(open_session(profile, sets=sets or ()), wanted, why, dry_run)
    head = f"gold set of {done.gold.family}, version {done.gold.version}: {done.gold.rows} calls"
    parts = [f"{head}{' (nothing was changed)' * dry_run}", *custody.told_refresh(done)]
    show(done.gold.model_dump(mode="json"), "\n".join(parts), as_json)


def _kept(custody: "Custody") -> list[str]:
    """How the gold set is kept, and who looked at each version of it."""
    lines = [custody.sentence_en, custody.sentence_zh]
    for one in custody.versions:
        seen = custody.looks_by_version[one.version]
        gates = ", ".join(f"{gate[:12]} ×{times}" for gate, times in seen.gates.items()) or "–"
        values = {
            "version": one.version,
            "at": one.created_at,
            "rows": one.rows,
            "looks": seen.total,
            "judged": seen.judged,
        }
        lines += _both("gold_version", **values, carried=seen.carried, gates=gates)
    return lines


def _line(d: "Dataset") -> str:
    return f"{d.id[:12]}  {d.created_at}  {d.accepted:>8,} calls  {d.family}  {d.name}{'  synthetic' if d.synthetic else ''}"


def _both(code: str, **values: Any) -> tuple[str, str]:
    from data_contracts.messages import say

    return say(code, **values)


def _some(what: str, ids: Sequence[str]) -> str:
    """How many, and the first of them; --json lists all."""
    more = ", …" if len(ids) > SHOWN else ""
    return f"{len(ids):,} {what}{': ' if ids else ''}{', '.join(ids[:SHOWN])}{more}"
