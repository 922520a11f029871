"""Small real objects the registry tests share: a signed bundle in a folder store, its reports, a registry on SQLite."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from configs.places import MlflowSettings
from data_contracts.artifacts import (
    BundleRef,
    Calibration,
    Dataset,
    Interval,
    Model,
    Predictions,
    Report,
    Speed,
    Verdict,
    Version,
)
from data_contracts.prompt import Prompt
from data_contracts.taxonomy import Category, Taxonomy
from deploy import bundle as bundles
from deploy.bundle import Golden, Parts
from deploy.store import FolderStore
from tasks import cited, registry, versions
from tasks.registry import Candidate
from tasks.tracking import RunRef, Tracker
from tasks.versions import Registry, Standard
from tests.tasks.verdicts import verdict
from tests.tiny import write_tokenizer

TAXONOMY = Taxonomy(
    name="two",
    none_key="no",
    categories=(Category(key="no", code="A", name_zh="非投诉"), Category(key="yes", code="B", name_zh="投诉")),
)
DATASET = Dataset(
    id="d" * 64,
    key="datasets/" + "d" * 64,
    name="三月",
    family="complaints",
    rows=110,
    accepted=100,
    rejected=10,
    categories={"no": 60, "yes": 40},
    groups=50,
    synthetic=True,
    taxonomy_digest=TAXONOMY.digest,
    created_at="2026-11-22T00:00:00+00:00",
)
SPEED = Speed(
    requests=100,
    failures=0,
    rate_requested_qps=5,
    qps=4.9,
    p50_ms=20,
    p95_ms=40,
    p99_ms=60,
    mean_ms=25,
    error_share=0,
    load_time_s=2,
    memory_mb=300,
    histogram=((20.0, 50), (40.0, 50)),
    engine="transformers",
    machine={"cpu": "2"},
)

TODAY = Standard("tiny", "h" * 64)  # what `verdicts.verdict` was judged by
EVIDENCE = b'{"reports": {}}'


@dataclass(frozen=True)
class Place:
    """A home with store, keys and registry."""

    home: Path
    store: FolderStore
    registry: Registry


@cache
def empty_database() -> bytes:
    """MLflow's tables, made once: a second of migrations for every test otherwise."""
    with TemporaryDirectory() as folder:
        with Tracker(MlflowSettings(), Path(folder)).client() as client:
            client.search_experiments()
        return (Path(folder) / "mlflow/mlflow.db").read_bytes()


def place(home: Path, uri: str | None = None) -> Place:
    bundles.keypair(home)
    (home / "mlflow").mkdir(parents=True)
    (home / "mlflow/mlflow.db").write_bytes(empty_database())
    return reopen(home, uri)


def reopen(home: Path, uri: str | None = None) -> Place:
    """A home that is there already."""
    store = FolderStore(home / "store")
    tracker = Tracker(MlflowSettings(), home, uri)
    return Place(home, store, Registry(tracker, store, bundles.public_key(home), TODAY, by="tester"))


def report(hop: str, macro_f1: float) -> Report:
    calibration = Calibration(bias=(0.0, 0.0))
    metrics = {"macro_f1": macro_f1, "accuracy_share": 0.9, "cost_per_1000": 1200.0, "nll": float("nan")}
    return Report.model_validate(
        {
            "hop": hop,
            "side": "gold",
            "rows": 20,
            "groups": 10,
            "rows_digest": "g" * 64,
            "taxonomy_digest": TAXONOMY.digest,
            "metrics": metrics,
            "intervals": {"macro_f1": Interval(value=macro_f1, low=macro_f1 - 0.05, high=macro_f1 + 0.05)},
            "per_category": {"no": {"recall": 0.9, "f1": 0.9}, "退款/是": {"recall": 0.8, "f1": 0.8}},
            "confusion": ((9, 1), (2, 8)),
            "slices": {},
            "calibration": calibration,
            "predictions": Predictions(
                key="k",
                hop="served",
                side="gold",
                rows=20,
                rows_digest="g" * 64,
                taxonomy_digest=TAXONOMY.digest,
                seconds=1,
                tokens=100,
            ),
            "synthetic": True,
        }
    )


def bundle(at: Place, name: str, taxonomy: Taxonomy = TAXONOMY) -> BundleRef:
    """A real bundle whose weights are a few bytes: `name` makes them differ."""
    folder = at.store.scratch(f"made-{name}") / "model"
    write_tokenizer(folder)
    (folder / "model.safetensors").write_bytes(name.encode())
    at.store.commit(folder, f"models/{name}")
    return bundles.assemble(
        parts(Model(key=f"models/{name}", form="int8", digest=name, size_mb=0.1), taxonomy), at.store
    )


def parts(model: Model, taxonomy: Taxonomy = TAXONOMY) -> Parts:
    return Parts(
        model=model,
        prompt=Prompt(template="qwen3", instruction="判断这通电话的投诉类别", max_call_tokens=64),
        taxonomy=taxonomy,
        calibration=Calibration(bias=(0.0, 0.0), threshold=0.6),
        golden=(Golden(text="客户：我要投诉。", probabilities={"no": 0.5, "yes": 0.5}, tolerance=1.0),),
        engine="transformers",
        synthetic=True,
    )


def candidate(at: Place, ref: BundleRef, f1: float = 0.83, **changes: object) -> Candidate:
    """The bundle, judged and signed, with a run of its own."""
    run = open_run(at, ref.digest[:8])
    return Candidate(
        run=run,
        bundle=ref,
        verdict=signed(at, ref, **changes),
        dataset=DATASET,
        base_model="tiny",
        reports=(report("served", f1), report("baseline", 0.8)),
        speed=SPEED,
        seconds={"fit": 12.5},
    )


def signed(at: Place, ref: BundleRef, **changes: object) -> Verdict:
    cited.keep(at.store, ref, EVIDENCE)
    judged = verdict(
        ref.digest, taxonomy_digest=TAXONOMY.digest, **{"report_digest": cited.digest(EVIDENCE), **changes}
    )
    return bundles.sign(judged, bundles.keypair(at.home))


def open_run(at: Place, name: str, key: str = "") -> RunRef:
    settings = {"profile": "tiny", "train": {"epochs": 3, "rank": 16}}
    return at.registry.tracker.open_run(name, {"dataset": "三月", "profile": "tiny"}, settings, key)


def add(at: Place, name: str, **changes: object) -> Version:
    return registry.record(at.registry, candidate(at, bundle(at, name), **changes))  # type: ignore[arg-type]


def after(at: Place, champion: Version, name: str, **changes: object) -> Version:
    return add(at, name, champion_bundle=champion.bundle.digest, **changes)


def aliases(at: Place) -> dict[str, int]:
    return {alias: row.version.version for row in versions.models(at.registry) for alias in row.aliases}
