"""`sample`, `check`, `submit`."""

import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_contracts.errors import ConfigurationError
from flows.commands.options import Json, Map, Profile, Sets, TaxonomyFile, show

if TYPE_CHECKING:
    from data_contracts.taxonomy import Taxonomy


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (sample, check, submit):
        app.command()(command)


def sample(
    calls: Annotated[int, typer.Option("--calls", min=1, help="how many")] = 3000,
    seed: Annotated[int, typer.Option("--seed", help="the same seed makes the same calls")] = 1,
    out: Annotated[Path, typer.Option("--out", help="the JSONL file to write")] = Path("calls.jsonl"),
    raw: Annotated[bool, typer.Option("--raw", help="without categories, as they come from the platform")] = False,
) -> None:
    """Write synthetic calls to try Tingsu with."""
    write_sample(calls, seed, out, labelled=not raw)
    print(f"{calls:,} synthetic {'raw' if raw else 'labelled'} calls, seed {seed}: {out}")


def write_sample(calls: int, seed: int, out: Path, labelled: bool = True) -> None:
    """Stream generated calls into a JSONL file; the file appears when it is whole."""
    from data_contracts.samples import generate

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=out.parent, prefix=".tmp-", delete=False, encoding="utf-8") as file:
            for record in generate(calls, seed, labelled):
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        os.chmod(file.name, 0o644)
        os.replace(file.name, out)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {out}: {error.strerror}; give --out a place you may write to"
        ) from error


def submit(
    file: Annotated[Path, typer.Argument(readable=False, help="CSV, JSONL or Parquet of labelled calls")],
    taxonomy: TaxonomyFile = None,
    mapping: Map = "",
    name: Annotated[str | None, typer.Option("--name", help="what to call it; default: the file's name")] = None,
    fix: Annotated[
        Path | None, typer.Option("--fix", help="mend what is safe to mend into this new file, then submit that")
    ] = None,
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Check a file against the contract; keep it, or say row by row what is wrong."""
    from pydantic import SecretStr

    from data_contracts import taxonomy as taxonomies
    from flows.commands.running import flow_of
    from tasks import accept, ingest, submitted

    columns = pairs(mapping)  # these three take a moment; starting Prefect takes ten seconds
    file = file.expanduser()
    submitted.kind_of(file)
    words = taxonomies.load(taxonomy or taxonomies.DEFAULT)
    done: dict[str, Any] = {}
    if fix is not None:
        done = mended(file, words, columns, fix.expanduser())
        file, name = Path(done["out"]), name or file.stem
    ingest.require_columns(file, columns)
    flow = flow_of("submit", profile, sets)
    secret = {key: SecretStr(column) for key, column in columns.items()}
    known_as = SecretStr(name) if name else None
    try:
        answer = flow(SecretStr(str(file)), str(taxonomy) if taxonomy else None, secret, known_as, profile, sets or [])
    except accept.Refused as error:
        if as_json:
            show({**error.summary, **({"mended": done} if done else {})}, "", as_json)
        raise
    show({**answer, **({"mended": done} if done else {})}, accepted(answer), as_json)


def accepted(answer: Mapping[str, Any]) -> str:
    """A dataset as the terminal tells of it, with what should be known before it is used."""
    from data_contracts.artifacts import Dataset

    dataset = Dataset.model_validate({name: answer[name] for name in Dataset.model_fields})
    lines = [
        f"dataset {dataset.id[:12]} {dataset.name}: {dataset.counted}, {dataset.groups:,} groups",
        *(["Synthetic calls: models trained on them are for trying Tingsu."] if dataset.synthetic else []),
        *warned(answer["warnings"]),
        f"report: {answer['report']}",
        f"next: ./tingsu retrain --dataset {dataset.id[:12]}",
    ]
    return "\n".join(lines)


def warned(warnings: Sequence[Mapping[str, str]]) -> list[str]:
    """What a file cannot teach, or what was done to it, as the terminal tells it."""
    return [f"note: {w['en']}. {w['zh']}。" for w in warnings]


def mended(file: Path, taxonomy: "Taxonomy", columns: Mapping[str, str], out: Path) -> dict[str, Any]:
    """What was mended, and where (`tasks.mend.Mended`); it is told beside the answer."""
    from tasks import mend

    done = mend.mend(file, taxonomy, columns, out)
    print(*mend.told(done), sep="\n", file=sys.stderr)
    return done._asdict()


def check(
    file: Annotated[Path, typer.Argument(readable=False, help="CSV, JSONL or Parquet of calls, labelled or not")],
    taxonomy: TaxonomyFile = None,
    mapping: Map = "",
    profile: Profile = None,
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Say what a file is like, as submit would, and keep nothing; calls without categories are checked as raw ones."""
    from data_contracts import taxonomy as taxonomies
    from flows.session import open_session
    from tasks import accept, answer, submitted, teach

    place, columns = file.expanduser(), pairs(mapping)
    seen = submitted.see(place)
    words = taxonomies.load(taxonomy or taxonomies.DEFAULT)
    session = open_session(profile, sets=sets or ())
    out = session.home / "checks" / seen.digest[:12]
    use = teach.use_of(session.settings)
    found = accept.check(place, words, columns, session.settings.data, session.store, out, use, seen)
    parts = [f"{found[part]:,} {part}" for part in ("accepted", "quarantined", "rejected")]
    lines = [
        f"{found['rows']:,} {'raw' if found['is_raw'] else 'labelled'} rows would be {' + '.join(parts)}",
        *(f"{r['reason_en']}. {r['reason_zh']}。" for r in found["refusals"]),
        *(f"{f['severity']:<10} {f['rows']:>8,}  {f['reason_en']}: {f['remedy_en']}" for f in found["findings"]),
        *warned(found["warnings"]),
        f"report: {out / answer.REPORT}",
    ]
    show(found, "\n".join(lines), as_json)
    if not found["passed"]:
        raise typer.Exit(3)


def pairs(text: str) -> dict[str, str]:
    """`a=b,c=d` as a mapping; a column's name may hold commas, a name before `=` may not."""
    items = [item for item in re.split(r",(?=\s*\w+\s*=)", text) if item.strip()]
    if any("=" not in item for item in items):
        raise ConfigurationError(
            f"--map {text!r}: write name=column, comma-separated, e.g. input_text=text,complaint_category=label"
        )
    found = [(key.strip(), value.strip()) for key, value in (item.split("=", 1) for item in items)]
    twice = [key for key, n in Counter(key for key, _ in found).items() if n > 1]
    if twice:
        raise ConfigurationError(f"--map {text!r}: {twice[0]!r} is mapped twice; map each column once")
    return dict(found)
