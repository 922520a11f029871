"""`import`: a model for slot `generate`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import Json, Profile, Sets, show


def add_to(app: typer.Typer) -> None:
    """Add this command; its name is a word of Python's own."""
    app.command("import")(import_)


def import_(
    path: Annotated[Path, typer.Argument(help="the folder of a Hugging Face causal language model, or a .gguf file")],
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Make a bundle for slot 'generate' of a model: bundled, tried out on this machine, judged and signed. Exits 3 on REJECT."""
    from flows.adoption import bring
    from flows.session import open_session

    brought = bring(path, open_session(profile, sets=sets or ()))
    if brought.warning:
        print(f"WARNING: {brought.warning}", file=sys.stderr)
    verdict = brought.verdict
    answer = {
        "folder": brought.folder and str(brought.folder),
        "bundle": verdict.bundle_digest,
        "verdict": verdict.model_dump(mode="json"),
    }
    show(answer, _text(answer), as_json)
    raise typer.Exit(0 if verdict.decision == "PROMOTE" else 3)


def _text(answer: dict[str, Any]) -> str:
    from flows.commands.tables import columns, number

    verdict, folder = answer["verdict"], answer["folder"]
    rows = [
        [b["metric"], number(b["value"]), b["kind"], number(b["bound"]), "yes" if b["holds"] else "NO"]
        for b in verdict["bounds"]
    ]
    speed = verdict["speed"]
    head = (
        f"{verdict['name']}: engine {verdict['engine']}, {verdict['quantization']}, thinks: {verdict['thinks']}; loads in "
        f"{speed['load_s']:.1f} s, {speed['memory_mb']:.0f} MB"
    )
    serve = f"./tingsu serve --generate {folder}" if folder else "not served, and not kept"
    table = columns(["metric", "value", "", "bound", "holds"], rows)
    return f"{head}\n\n{table}\n\n{verdict['sentence_en']}\n{verdict['sentence_zh']}\n{serve}"
