"""Check calls against the contract with Great Expectations; the only file that knows it.

The expectations are data (`data_contracts/expectations`) and run on a narrow table of findings, without text. Results
keep row numbers only: by default Great Expectations writes failing values into its results and Data Docs.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from configs.settings import DataSettings
from data_contracts import messages
from data_contracts.schema import Frozen
from data_contracts.taxonomy import Taxonomy
from tasks import data_docs, findings
from tasks.answer import DOCS

if TYPE_CHECKING:
    import polars as pl

CONTRACT = Path(__file__).parent.parent / "data_contracts" / "expectations" / "labelled.yaml"
INDEXES_ONLY = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": ["row"],
    "exclude_unexpected_values": True,
    "include_unexpected_rows": False,
    "partial_unexpected_count": 0,
    "return_unexpected_index_query": False,
}


def contract_digest() -> str:
    """SHA-256 of the expectations, so that what was accepted under another contract is checked again."""
    return hashlib.sha256(CONTRACT.read_bytes()).hexdigest()


class Check(Frozen):
    """One expectation and what its failure means; see labelled.yaml."""

    type: str
    kwargs: dict[str, Any]
    severity: str
    message: str
    source: str


class Contract(Frozen):
    """The suites of one kind of file."""

    name: str
    rows: tuple[Check, ...]
    together: tuple[Check, ...]
    file: tuple[Check, ...]


class Outcome(NamedTuple):
    """How one check went: the rows that failed it, or the observed value of a check on the whole table."""

    check: Check
    passed: bool
    rows: list[int]
    observed: float


@dataclass(frozen=True)
class Checked:
    """What the contract says of a file. A row may be in `rejects` several times; `summary["rejected"]` counts rows."""

    accepted: "pl.DataFrame"
    rejects: "pl.DataFrame"
    summary: dict[str, Any]
    passed: bool
    docs: Path


def load_contract(path: Path = CONTRACT) -> Contract:
    """The expectations as data."""
    return Contract.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def check(frame: "pl.DataFrame", taxonomy: Taxonomy, settings: DataSettings, out: Path) -> Checked:
    """Run the contract on prepared calls (`clean.prepare`); Data Docs go to `out`.

    Every row is either in `accepted` or named in `rejects`.
    """
    import polars as pl

    contract, runner = load_contract(), _Runner(out / DOCS)
    bounds = {**settings.model_dump(), "categories": list(taxonomy.keys)}
    shape = findings.narrow(frame)
    first = _failures(runner.run("rows", contract.rows, shape, bounds), shape)
    left = frame.filter(~pl.col("row").is_in(first["row"].implode()))
    pairs = findings.together(left)
    second = _failures(runner.run("together", contract.together, pairs, bounds), pairs)
    failures = pl.concat([_dependent_dropped(first), second])
    rows = _whole(frame, failures)
    refusals = [o for o in runner.run("file", contract.file, rows, bounds) if not o.passed]
    runner.write_docs()
    limits = {"min_value": settings.min_chars, "max_value": 32}
    rejects = findings.explained(failures.drop("severity"), frame, taxonomy, limits)
    accepted = left.filter(~pl.col("row").is_in(second["row"].implode()))
    summary = _summary(frame, accepted, failures, taxonomy) | {"refusals": [_refusal(o, bounds) for o in refusals]}
    return Checked(accepted, rejects, summary, not refusals, out / DOCS)


class _Runner:
    """An ephemeral context whose only trace is its Data Docs."""

    def __init__(self, docs: Path) -> None:
        import great_expectations as gx
        from great_expectations.data_context.types.base import (
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )

        self._docs = docs
        shutil.rmtree(docs, ignore_errors=True)
        site = {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())},
        }
        config = DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            data_docs_sites={"local_site": site},
            analytics_enabled=False,
            progress_bars=ProgressBarsConfig(globally=False),
        )
        self.context = gx.get_context(mode="ephemeral", project_config=config)
        self.calls = self.context.data_sources.add_pandas("calls")

    def run(
        self, name: str, checks: Sequence[Check], frame: "pl.DataFrame", bounds: Mapping[str, Any]
    ) -> list[Outcome]:
        """Every check on the frame, in order; the run appears in Data Docs under `name`."""
        import great_expectations as gx
        from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

        suite = gx.ExpectationSuite(name=name)
        for c in checks:
            suite.add_expectation_configuration(
                ExpectationConfiguration(type=c.type, kwargs=_filled(c.kwargs, bounds), meta={"code": c.message})
            )
        suite = self.context.suites.add(suite)
        batch = self.calls.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        definition = self.context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batch, suite=suite)
        )
        checkpoint = gx.Checkpoint(name=name, validation_definitions=[definition], result_format=INDEXES_ONLY)
        result = self.context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame.to_pandas()})
        (validation,) = result.run_results.values()
        found = {(r.expectation_config.type, r.expectation_config.kwargs["column"]): r for r in validation.results}
        return [_outcome(c, found[c.type, c.kwargs["column"]]) for c in checks]

    def write_docs(self) -> None:
        """Data Docs of every run so far; once, for each build renders all of them."""
        self.context.build_data_docs()
        data_docs.make_local(self._docs)


def _filled(kwargs: Mapping[str, Any], bounds: Mapping[str, Any]) -> dict[str, Any]:
    return {k: bounds[v[1:]] if isinstance(v, str) and v.startswith("$") else v for k, v in kwargs.items()}


def _outcome(check: Check, result: Any) -> Outcome:
    if "raised_exception': True" in str(result.exception_info):  # one entry, or one a metric: a mistake in the YAML
        raise RuntimeError(f"expectation {check.type} on {check.kwargs['column']} could not run")
    rows = [row for entry in result.result.get("unexpected_index_list") or () for row in _listed(entry["row"])]
    return Outcome(check, bool(result.success), rows, float(result.result.get("observed_value") or 0))


def _listed(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]


def _failures(outcomes: Sequence[Outcome], frame: "pl.DataFrame") -> "pl.DataFrame":
    """Failed rows with the cell that failed: row, column, code, value, severity; in the order of the checks."""
    import polars as pl

    schema = {"row": pl.Int64, "column": pl.String, "code": pl.String, "value": pl.String, "severity": pl.String}
    parts = [pl.DataFrame(schema=schema)]
    for o in outcomes:
        cells = frame.filter(pl.col("row").is_in(o.rows)).select(
            "row", pl.col(o.check.kwargs["column"]).cast(pl.String).alias("value")
        )
        own = pl.col("value").str.split_exact("|", 1)
        code = own.struct.field("field_0") if o.check.message == "$value" else pl.lit(o.check.message)
        value = own.struct.field("field_1") if o.check.message == "$value" else pl.col("value")
        parts.append(
            cells.select(
                "row",
                pl.lit(o.check.source).alias("column"),
                code.alias("code"),
                value.alias("value"),
                pl.lit(o.check.severity).alias("severity"),
            )
        )
    return pl.concat(parts)


def _dependent_dropped(failures: "pl.DataFrame") -> "pl.DataFrame":
    """A row without a readable shape is told that, not everything that follows from it."""
    import polars as pl

    return failures.filter(
        (pl.col("column") == "row") | ~pl.col("row").is_in(failures.filter(pl.col("column") == "row")["row"].implode())
    )


def _whole(frame: "pl.DataFrame", failures: "pl.DataFrame") -> "pl.DataFrame":
    """The columns of the suite `file`."""
    import polars as pl

    def among(severity: str) -> "pl.Expr":
        return pl.col("row").is_in(failures.filter(pl.col("severity") == severity)["row"].implode())

    accepted = pl.when(among("reject")).then(0.0).when(~among("duplicate")).then(1.0)
    return frame.select("row", "complaint_category", accepted.alias("accepted")).with_columns(
        pl.when(pl.col("accepted") == 1).then("complaint_category").alias("accepted_category")
    )


def _refusal(outcome: Outcome, bounds: Mapping[str, Any]) -> dict[str, str]:
    values = {"value": outcome.observed, **_filled(outcome.check.kwargs, bounds)}
    (en, zh), (remedy_en, remedy_zh) = (
        messages.say(outcome.check.message, **values),
        messages.say(f"{outcome.check.message}.remedy", **values),
    )
    return {
        "code": outcome.check.message,
        "reason_en": en,
        "reason_zh": zh,
        "remedy_en": remedy_en,
        "remedy_zh": remedy_zh,
    }


def _summary(
    frame: "pl.DataFrame", accepted: "pl.DataFrame", failures: "pl.DataFrame", taxonomy: Taxonomy
) -> dict[str, Any]:
    import polars as pl

    counts = dict(accepted["complaint_category"].value_counts().iter_rows())
    codes = failures.group_by("code").agg(pl.col("row").n_unique()).sort("row", descending=True)
    return {
        "rows": frame.height,
        "accepted": accepted.height,
        "rejected": frame.height - accepted.height,
        "by_code": dict(codes.iter_rows()),
        "categories": {key: int(counts.get(key, 0)) for key in taxonomy.keys},
    }
