"""`demo`, `retrain`, `models`, `compare`, `gate`."""

import sys
from typing import Annotated, Any

import typer

from flows.commands.options import Json, Overlay, Profile, Sets, Version, show


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (demo, retrain, models, compare, gate):
        app.command()(command)


def demo(
    calls: Annotated[int, typer.Option("--calls", min=600, help="how many synthetic calls to learn from")] = 3000,
    seed: Annotated[int, typer.Option("--seed", help="of the synthetic calls")] = 1,
    sets: Sets = None,
) -> None:
    """The whole main job on synthetic calls: submit, train, measure, judge, release, classify."""
    from flows.commands.demonstration import demonstrate

    raise typer.Exit(demonstrate(calls, seed, sets or []))


def retrain(
    dataset: Annotated[str | None, typer.Option("--dataset", help="id or its beginning; default: the newest")] = None,
    profile: Profile = None,
    overlay: Overlay = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Train, measure, judge and, on PROMOTE, release. HOLD or REJECT exits 3."""
    from flows.commands.running import flow_of
    from flows.run import require_trainable
    from flows.session import open_session
    from tasks import catalog

    session = open_session(profile, overlay or (), sets or ())
    require_trainable(session.settings)  # these two take a moment; starting Prefect takes ten seconds
    catalog.find(session.store, dataset, session.settings.data.family)
    ending = flow_of("retrain", profile, sets)(dataset, profile, overlay or [], sets or [])
    show(ending, ending_text(ending), as_json)
    raise typer.Exit(0 if ending["verdict"]["decision"] == "PROMOTE" else 3)


def ending_text(ending: dict[str, Any]) -> str:
    """Hop table, verdict and where it went."""
    from flows.commands.tables import bounds, hops, seen

    verdict, release = ending["verdict"], ending["release"]
    where = f"live at {release['endpoint']}" if release else f"not released: {ending['withheld']}"
    synthetic = "\nMeasured on synthetic calls; says nothing about real ones." if verdict["synthetic"] else ""
    head = f"{verdict['decision']}: version {ending['version']['version']}, {where}\n{verdict['sentence_en']}\n{verdict['sentence_zh']}"
    head += f"\n{seen(verdict)}"
    return f"{hops(ending['reports'])}\n\n{bounds(verdict)}\n\n{head}{synthetic}"


def models(profile: Profile = None, sets: Sets = None, as_json: Json = False) -> None:
    """List the registered versions, newest first."""
    from data_contracts.messages import say
    from flows.commands.tables import models as listed
    from flows.registry import open_registry
    from tasks import audit, versions

    at = open_registry(profile, sets)
    rows = versions.models(at)
    for sentence in audit.audit(at):
        print(f"WARNING: {sentence}", file=sys.stderr)
    show(
        [r.model_dump(mode="json") for r in rows],
        listed(rows) if rows else "\n".join(say("models_none")),
        as_json,
    )


def compare(a: Version, b: Version, profile: Profile = None, sets: Sets = None, as_json: Json = False) -> None:
    """Two versions, metric by metric, on the gold calls that both answered."""
    from flows.commands.tables import columns, number
    from flows.registry import open_registry
    from tasks.compare import compare as compared

    found = compared(open_registry(profile, sets), a, b)
    cells = [[r.metric, *(number(x) for x in (r.a, r.b, r.change, r.low, r.high))] for r in found.rows]
    text = columns(["metric", f"version {a}", f"version {b}", "change", "from", "to"], cells)
    said = [line for line in (found.reason_en, found.reason_zh) if line]
    show(found.model_dump(mode="json"), "\n".join([*said, "", text] if said else [text]), as_json)


def gate(
    version: Version,
    again: Annotated[bool, typer.Option("--again", help="judge its evidence under today's thresholds")] = False,
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """The verdict of a version, bound by bound; exits 3 unless it is a valid PROMOTE."""
    from data_contracts.messages import say
    from flows.commands.tables import bounds, seen
    from flows.registry import judge_again, open_registry, stored_verdict
    from flows.session import open_session
    from tasks import looks, permit

    at = open_registry(profile, sets)
    settings = open_session(profile, sets=sets or ()).settings
    given = judge_again(at, version, settings) if again else stored_verdict(at, version)
    verdict, now = given.model_dump(mode="json"), looks.of(at.store, given.gold_digest)
    outdated = permit.refreshed_since(at.store, given, version)
    lines = [
        f"{bounds(verdict)}\n\n{verdict['decision']}: {verdict['sentence_en']}\n{verdict['sentence_zh']}\n{seen(verdict)}",
        *say("gold_now", looks=now.total, judged=now.judged),
        *([str(outdated)] if outdated else ()),
    ]
    today = {"looks_now": now.model_dump(), "refreshed_since": outdated and str(outdated)}
    show({**verdict, **today}, "\n".join(lines), as_json)
    raise typer.Exit(0 if verdict["decision"] == "PROMOTE" else 3)
