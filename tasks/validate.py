"""Check calls against the contract: every row is accepted, or kept apart or rejected with its reasons; and so is the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.dataset import DataSettings
from data_contracts.taxonomy import Taxonomy
from tasks import contract, findings, near, repeats, suites
from tasks.answer import DOCS
from tasks.suites import Outcome

if TYPE_CHECKING:
    import polars as pl

FAILURE = ("row", "column", "code", "value", "severity")


@dataclass(frozen=True)
class Against:
    """What a file is held against beside its own rows. `barred`: the calls of the family's gold sets; `now`, in UTC: without it no time
    is in the future."""

    kind: contract.Kind = "labelled"
    barred: "pl.DataFrame | None" = None
    now: datetime | None = None
    max_call_tokens: int = 1024


@dataclass(frozen=True)
class Checked:
    """What the contract says of a file. A row is in one of `accepted`, `quarantined` and, several times perhaps, `rejects`.

    `doubts` and `warned` have the columns of `rejects` and say why rows are quarantined, and what else was found, in rows that may well
    be accepted; `conflicts`: some pairs that contradict each other. The summary counts rows and holds no text."""

    accepted: "pl.DataFrame"
    quarantined: "pl.DataFrame"
    rejects: "pl.DataFrame"
    doubts: "pl.DataFrame"
    warned: "pl.DataFrame"
    conflicts: list[dict[str, Any]]
    summary: dict[str, Any]
    passed: bool
    docs: Path
    sketched: near.Sketched = field(default_factory=near.Sketched)


def check(
    frame: "pl.DataFrame", taxonomy: Taxonomy, settings: DataSettings, out: Path, against: Against | None = None
) -> Checked:
    """Run the contract on prepared calls (`clean.prepare`); Data Docs go to `out`.

    Raises:
        ConfigurationError: a severity in the settings is of no check.
    """
    import polars as pl

    against = against or Against()
    asked, runner = contract.load(against.kind, settings.severities), suites.Runner(out / DOCS)
    own = {"categories": list(taxonomy.keys), "max_call_tokens": against.max_call_tokens}
    bounds = {**settings.model_dump(), **own}
    shape = findings.narrow(frame, taxonomy, against.now)
    first = _dependent_dropped(_failures(runner.run("rows", asked.rows, shape, bounds), shape))
    left = frame.filter(~_among(first, "reject", "quarantine"))
    sketched = near.Sketched()
    pairs = repeats.together(left, settings.near_duplicate_jaccard, against.barred, sketched)
    failures = pl.concat([first, _failures(runner.run("together", asked.together, pairs, bounds), pairs)])
    missed = [o for o in runner.run("file", asked.file, _whole(frame, failures), bounds) if not o.passed]
    runner.write_docs()
    said = findings.Sayings(taxonomy, {c.message: c.filled(bounds) for c in asked.all})
    of_file = {severity: _about(missed, severity, bounds) for severity in contract.OF_FILE}
    return replace(_answered(frame, failures, of_file, said, out), sketched=sketched)


def _answered(
    frame: "pl.DataFrame",
    failures: "pl.DataFrame",
    of_file: Mapping[str, list[dict[str, str]]],
    said: findings.Sayings,
    out: Path,
) -> Checked:
    """The rows, each where it belongs, and why."""
    import polars as pl

    out_of, doubtful = _among(failures, "reject", "duplicate"), _among(failures, "quarantine")
    rejected, quarantined = frame.filter(out_of), frame.filter(~out_of & doubtful)
    accepted = frame.filter(~out_of & ~doubtful)
    is_told_only = pl.col("severity") == "warn"
    why, warnings = failures.filter(~is_told_only), failures.filter(is_told_only)
    summary = {
        "rows": frame.height,
        "accepted": accepted.height,
        "quarantined": quarantined.height,
        "rejected": rejected.height,
        "warned": warnings["row"].n_unique(),
        "by_code": _by_code(why),
        "categories": _categories(accepted, said.taxonomy),
        "findings": findings.grouped(failures, frame.height, said),
        "spellings": findings.respelled(failures, said.taxonomy),
        "refusals": of_file["refuse"],
        "cautions": of_file["warn"],
    }
    return Checked(
        accepted=accepted,
        quarantined=quarantined,
        rejects=findings.explained(why, rejected, said),
        doubts=findings.explained(why, quarantined, said),
        warned=findings.explained(warnings, frame, said),
        conflicts=findings.examples(failures, frame),
        summary=summary,
        passed=not of_file["refuse"],
        docs=out / DOCS,
    )


def _failures(outcomes: Sequence[Outcome], frame: "pl.DataFrame") -> "pl.DataFrame":
    """Failed rows with the cell that failed: row, column, code, value, severity; in the order of the checks.

    A `warn` whose `mostly` holds says nothing."""
    import polars as pl

    parts = [pl.DataFrame(schema=dict.fromkeys(FAILURE, pl.String) | {"row": pl.Int64})]
    for o in outcomes:
        if o.passed and o.check.severity == "warn":
            continue
        cells = frame.filter(pl.col("row").is_in(o.rows)).select(
            "row", pl.col(o.check.kwargs["column"]).cast(pl.String).alias("value")
        )
        own = pl.col("value").str.split_exact("|", 1)
        is_own = o.check.message == contract.SHAPE
        code = own.struct.field("field_0") if is_own else pl.lit(o.check.message)
        value = own.struct.field("field_1") if is_own else pl.col("value")
        parts.append(
            cells.select(
                "row",
                pl.lit(o.check.source).alias("column"),
                code.alias("code"),
                value.alias("value"),
                pl.lit(str(o.check.severity)).alias("severity"),
            )
        )
    return pl.concat(parts)


def _dependent_dropped(failures: "pl.DataFrame") -> "pl.DataFrame":
    """A row without a readable shape is told that, not everything that follows from it."""
    import polars as pl

    return failures.filter(
        (pl.col("column") == "row") | ~pl.col("row").is_in(failures.filter(pl.col("column") == "row")["row"].implode())
    )


def _among(failures: "pl.DataFrame", *severities: str) -> "pl.Expr":
    """Whether a row failed a check of one of these severities."""
    import polars as pl

    return pl.col("row").is_in(failures.filter(pl.col("severity").is_in(severities))["row"].unique().implode())


def _whole(frame: "pl.DataFrame", failures: "pl.DataFrame") -> "pl.DataFrame":
    """The columns of the suite `file`."""
    import polars as pl

    out_of = _among(failures, "reject", "quarantine")
    accepted = pl.when(out_of).then(0.0).when(~_among(failures, "duplicate")).then(1.0)
    return frame.select("row", "complaint_category", accepted.alias("accepted")).with_columns(
        pl.when(pl.col("accepted") == 1).then("complaint_category").alias("accepted_category")
    )


def _about(missed: Sequence[Outcome], severity: str, bounds: Mapping[str, Any]) -> list[dict[str, str]]:
    """What is wrong with the whole file."""
    own = [(o.check, {"value": o.observed, **o.check.filled(bounds)}) for o in missed if o.check.severity == severity]
    return [{"code": check.message, **findings.reason(check.message, values)} for check, values in own]


def _by_code(why: "pl.DataFrame") -> dict[str, int]:
    import polars as pl

    codes = why.group_by("code").agg(pl.col("row").n_unique()).sort("row", "code", descending=[True, False])
    return dict(codes.iter_rows())


def _categories(accepted: "pl.DataFrame", taxonomy: Taxonomy) -> dict[str, int]:
    counts = dict(accepted["complaint_category"].drop_nulls().value_counts().iter_rows())
    if accepted.height and not counts:  # raw calls
        return {}
    return {key: int(counts.get(key, 0)) for key in taxonomy.keys}
