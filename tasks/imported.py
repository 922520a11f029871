"""Writes an imported model into MLflow: one run, its smoke and speed check, and the verdict; once a verdict."""

import json
import tempfile
from pathlib import Path

from configs.settings import Settings
from data_contracts.artifacts import GenerationVerdict
from data_contracts.errors import StoreUnavailable
from deploy import bundle
from deploy.store import Store
from tasks import logged
from tasks.adopt import Adopted
from tasks.tracking import RunRef, Stage, Tracker

NOTE = "mlflow.json"


def log(tracker: Tracker, adopted: Adopted, verdict: GenerationVerdict, settings: Settings, store: Store) -> str:
    """Log it unless it was; a sentence if MLflow is not there: the verdict counts without it.

    The note beside the bundle, written last, says which run has it.
    """
    note = f"{adopted.bundle.key}.attest/{NOTE}"
    known = store.read(note)
    if known is not None and json.loads(known).get("verdict") == bundle.verdict_id(verdict):
        return ""
    try:
        run = _write(tracker, adopted, verdict, settings, store)
    except StoreUnavailable as error:
        return f"{error}. The verdict holds without it; import again to log it"
    store.write(note, json.dumps({"run_id": run.run_id, "verdict": bundle.verdict_id(verdict)}).encode())
    return ""


def _write(tracker: Tracker, adopted: Adopted, verdict: GenerationVerdict, settings: Settings, store: Store) -> RunRef:
    tags = {
        **{"slot": "generate", "verdict": verdict.decision, "bundle_digest": adopted.bundle.digest},
        **{"bundle": logged.uri(store, adopted.bundle.key), "base_model": adopted.name, "profile": settings.profile},
    }
    serve = settings.serve.model_dump(mode="json")
    run = tracker.open_run(f"import {adopted.name}", tags, {"serve": serve}, key=bundle.verdict_id(verdict))
    speed = verdict.speed.model_dump(exclude={"machine"})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / bundle.VERDICT
        file.write_text(verdict.model_dump_json(indent=1), encoding="utf-8")
        metrics = {f"speed/{name}": float(value) for name, value in speed.items()}
        params: dict[str, object] = {
            "engine": verdict.engine,
            "quantization": verdict.quantization,
            "thinks": verdict.thinks,
        }
        tracker.child(run, Stage(name="smoke", params=params, metrics=metrics, artifacts=(file,)))
    tracker.finish(run)
    return run
