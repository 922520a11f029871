"""Runs suites of the contract with Great Expectations; the only file that knows it.

They run on a narrow table of findings, without text. Results keep row numbers only: by default Great Expectations writes
failing values into its results and Data Docs.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks import data_docs
from tasks.contract import Check

if TYPE_CHECKING:
    import polars as pl

INDEXES_ONLY = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": ["row"],
    "exclude_unexpected_values": True,
    "include_unexpected_rows": False,
    "partial_unexpected_count": 0,
    "return_unexpected_index_query": False,
}


class Outcome(NamedTuple):
    """How one check went: the rows that failed it, or the observed value of a check on the whole table."""

    check: Check
    passed: bool
    rows: list[int]
    observed: float


class Runner:
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
                ExpectationConfiguration(type=c.type, kwargs=c.filled(bounds), meta={"code": c.message})
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


def _outcome(check: Check, result: Any) -> Outcome:
    if "raised_exception': True" in str(result.exception_info):  # one entry, or one a metric: a mistake in the YAML
        raise RuntimeError(f"expectation {check.type} on {check.kwargs['column']} could not run")
    rows = [row for entry in result.result.get("unexpected_index_list") or () for row in _listed(entry["row"])]
    return Outcome(check, bool(result.success), rows, float(result.result.get("observed_value") or 0))


def _listed(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]
