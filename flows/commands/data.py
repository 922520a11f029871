"""`sample`, `check`, `submit`."""

import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from data_contracts.errors import WrongRequest
from data_contracts.messages import told
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
        raise WrongRequest(told("sample_unwritable", out=out, why=error.strerror)) from error


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
    from tasks import ingest, refused, submitted

    columns = pairs(mapping)
    file = submitted.place(file)
    words = taxonomies.load(taxonomy or taxonomies.DEFAULT)
    done: dict[str, Any] = {}
    with _answered(file, columns, name):  # a moment; starting Prefect takes ten seconds
        submitted.kind_of(file)
        if fix is not None:
            done = mended(file, words, columns, submitted.place(fix))
            file, name = Path(done["out"]), name or file.stem
    with _answered(file, columns, name):
        ingest.require_columns(file, columns)
    flow = flow_of("submit", profile, sets)
    secret = {key: SecretStr(column) for key, column in columns.items()}
    known_as = SecretStr(name) if name else None
    try:
        answer = flow(SecretStr(str(file)), str(taxonomy) if taxonomy else None, secret, known_as, profile, sets or [])
    except refused.Refused as error:
        error.summary |= {"mended": done} if done else {}
        raise
    show({**answer, **({"mended": done} if done else {})}, accepted(answer), as_json)


@contextmanager
def _answered(file: Path, columns: Mapping[str, str], name: str | None) -> Iterator[None]:
    """A file that is refused before anything is started has its answer where any other's lies."""
    from configs.sources import home
    from data_contracts.errors import ContractViolation
    from deploy.store import sha256_file
    from tasks import refused

    try:
        yield
    except ContractViolation:
        out = home() / "submissions" / sha256_file(file)[:12]
        with refused.answered(file, columns, out, name or file.stem):
            raise


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

    place, columns = submitted.place(file), pairs(mapping)
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
        *(line for f in found["findings"] for line in _both(f)),
        *warned(found["warnings"]),
        f"report: {out / answer.REPORT}",
    ]
    show(found, "\n".join(lines), as_json)
    if not found["passed"]:
        raise typer.Exit(3)


def _both(finding: Mapping[str, Any]) -> tuple[str, str]:
    """A finding as the terminal tells it, a line in each language."""
    from tasks.answer import SEVERITIES

    en, zh = SEVERITIES[finding["severity"]]
    rows = f"{finding['rows']:>8,}"
    return (
        f"{en:<12}{rows}  {finding['reason_en']}: {finding['remedy_en']}",
        f"{'':20}  {zh}：{finding['reason_zh']}：{finding['remedy_zh']}",
    )


def pairs(text: str) -> dict[str, str]:
    """`a=b,c=d` as a mapping; a column's name may hold commas, a name before `=` may not."""
    items = [item for item in re.split(r",(?=\s*\w+\s*=)", text) if item.strip()]
    if any("=" not in item for item in items):
        raise WrongRequest(told("map_shape", given=text))
    found = [(key.strip(), value.strip()) for key, value in (item.split("=", 1) for item in items)]
    twice = [key for key, n in Counter(key for key, _ in found).items() if n > 1]
    if twice:
        raise WrongRequest(told("map_twice", given=repr(text), twice=twice[0]))
    return dict(found)
