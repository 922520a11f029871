"""Writes a bundle into MLflow as a logged model: a citation, the code that reads it, and no weights."""

import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data_contracts.artifacts import BundleRef
from deploy import service
from deploy.store import FolderStore, Store
from tasks import pyfunc
from tasks.tracking import RunRef, Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient

ROOT = Path(__file__).parent.parent
NEEDS = (
    "mlflow",
    "numpy",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "torchao",
    "pydantic",
    "pyyaml",
    "cryptography",
)


class Logged(NamedTuple):
    """A logged model. `place` is its folder: a `models:/` URI would be resolved by MLflow's global tracking URI."""

    model_id: str
    place: str


def uri(store: Store, key: str) -> str:
    """Where a folder of the store lies, for a process that knows nothing of our settings."""
    from deploy.s3 import S3Store

    if isinstance(store, S3Store):
        return f"{store.url.rstrip('/')}/{key}"
    if isinstance(store, FolderStore):
        return (store.root.absolute() / key).as_uri()
    return store.local(key).as_uri()


def log(tracker: Tracker, run: RunRef, name: str, store: Store, bundle: BundleRef) -> Logged:
    """A new logged model, an output of `run`, that cites the bundle."""
    with tracker.client() as client, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        _save(folder, Path(scratch) / "code", uri(store, bundle.key), bundle)
        return _upload(client, run, name, folder, bundle)


def _save(folder: Path, code: Path, where: str, bundle: BundleRef) -> None:
    import warnings

    import mlflow

    for layer in service.LAYERS:
        shutil.copytree(ROOT / layer, code / layer, ignore=shutil.ignore_patterns(*service.LEFT_OUT))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(Path(pyfunc.__file__)),
            code_paths=[str(code / layer) for layer in service.LAYERS],
            pip_requirements=_requirements(),
            model_config={"bundle": where, "digest": bundle.digest},
            metadata={"bundle": where, "bundle_digest": bundle.digest, "synthetic": bundle.synthetic},
        )


def _upload(client: "MlflowClient", run: RunRef, name: str, folder: Path, bundle: BundleRef) -> Logged:
    from mlflow.entities import LoggedModelOutput

    params = {"bundle_digest": bundle.digest, "synthetic": str(bundle.synthetic).lower()}
    model = client.create_logged_model(run.experiment_id, name, run.run_id, params=params, model_type="classifier")
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, step=0)])
    return Logged(str(model.model_id), str(model.artifact_location))


def _requirements() -> list[str]:
    pins = []
    for package in NEEDS:
        try:
            pins.append(f"{package}=={version(package)}")
        except PackageNotFoundError:
            continue
    return pins
