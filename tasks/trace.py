"""What a finished stage shows in MLflow: metrics, parameters, history and files, by the type of its result."""

from functools import singledispatch
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from data_contracts.artifacts import Adapter, BundleRef, Model, Report, Splits, Verdict
from deploy.store import Store
from tasks import summary
from tasks.benchmark import Benchmarked
from tasks.score import ScoredSides
from tasks.stages import RECORD, Outcome
from tasks.tracking import STAGE_KEY, Stage


def stage_of(title: str, outcome: Outcome[Any], store: Store) -> Stage:
    """The stage as its child run. Weights are cited by key, not copied; figures, reports and adapters are."""
    shown = _shown(outcome.result)
    folder = store.local(outcome.key)
    files = [
        folder / RECORD,
        *(folder / name for name in shown.pop("files", ()) if (folder / name).exists()),
        *_figures(folder),
    ]
    tags = {STAGE_KEY: outcome.key, "tingsu.reused": str(outcome.reused).lower()}
    return Stage(name=title, seconds=outcome.seconds, artifacts=tuple(files), tags=tags, **shown)


def _figures(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.png"))


@singledispatch
def _shown(result: BaseModel) -> dict[str, Any]:
    return {}


@_shown.register
def _(result: Splits) -> dict[str, Any]:
    counts = {f"rows/{side}": float(n) for side, n in result.counts.items()}
    return {"metrics": counts, "params": {"gold_digest": result.gold_digest}}


@_shown.register
def _(result: ScoredSides) -> dict[str, Any]:
    each = result.predictions.values()
    seconds = sum(p.seconds for p in each)
    return {"metrics": {"tokens_per_s": sum(p.tokens for p in each) / seconds if seconds else 0.0}}


@_shown.register
def _(result: Report) -> dict[str, Any]:
    return {"metrics": summary.of_report(result), "files": ("report.json",)}


@_shown.register
def _(result: Adapter) -> dict[str, Any]:
    return {"params": result.settings, "metrics": result.metrics, "history": result.history, "files": ("adapter",)}


@_shown.register
def _(result: Model) -> dict[str, Any]:
    return {
        "metrics": {"size_mb": result.size_mb},
        "params": {"form": result.form, "digest": result.digest, "key": result.key},
    }


@_shown.register
def _(result: BundleRef) -> dict[str, Any]:
    return {"params": {"bundle": result.key}}


@_shown.register
def _(result: Benchmarked) -> dict[str, Any]:
    return {"metrics": summary.of_speed(result.speed)}


@_shown.register
def _(result: Verdict) -> dict[str, Any]:
    numbers = {f"bound/{b.metric}{'.' + b.against if b.against else ''}": b.value for b in result.bounds}
    return {"metrics": summary.finite(numbers), "params": {"decision": result.decision}}
