"""What crosses a step boundary: small frozen values. `key` fields are keys in the store (folder or S3), never local paths."""

from typing import Annotated, Literal

from pydantic import Field

from data_contracts.schema import PLACE, Frozen

Hop = Literal["baseline", "untuned", "adapter", "merged", "int8", "gguf-q8_0", "awq", "served"]
Form = Literal["merged", "int8", "gguf-q8_0", "awq"]
EngineName = Literal["transformers", "llamacpp", "lmdeploy", "ollama"]
Side = Literal["train", "validation", "calibration", "gold"]
Decision = Literal["PROMOTE", "HOLD", "REJECT"]
Thinks = Literal["always", "if asked", "no"]
SIDES: tuple[Side, ...] = ("train", "validation", "calibration", "gold")


class Parent(Frozen):
    """What a dataset was made from: a submitted file (its SHA-256) or another dataset (its id), with the name it had."""

    kind: Literal["file", "dataset"]
    digest: str
    name: str


class Dataset(Frozen):
    """An accepted, content-addressed dataset. `id` is the SHA-256 of its accepted, masked records and taxonomy.

    `rows`, what was submitted, are the accepted, the rejected and the quarantined together.

    `parents`: what it was first made from; the same content made again in another way keeps them."""

    id: str
    key: str
    name: str
    family: str
    rows: int
    accepted: int
    rejected: int
    categories: dict[str, int]
    groups: int
    synthetic: bool
    taxonomy_digest: str
    created_at: str
    parents: tuple[Parent, ...] = ()
    quarantined: int = 0

    @property
    def counted(self) -> str:
        """Where every submitted row went."""
        parts = f"{self.accepted:,} accepted + {self.quarantined:,} quarantined + {self.rejected:,} rejected"
        return f"{self.rows:,} rows = {parts}"


class Splits(Frozen):
    """One Parquet file a side under `key` (`train.parquet` …); `gold_digest` names the frozen gold rows."""

    key: str
    dataset_id: str
    family: str
    counts: dict[Side, int]
    gold_digest: str
    dropped_near_gold: int = 0

    def file(self, side: Side) -> str:
        return f"{self.key}/{side}.parquet"


class Base(Frozen):
    """A base model folder: safetensors weights and tokenizer. `digest` covers every file in it; `name` is as asked for."""

    path: Annotated[str, PLACE]
    name: Annotated[str, PLACE]
    digest: str
    revision: str | None = None


class Adapter(Frozen):
    """A trained LoRA adapter (FineTuningResult, requirement D7). `metrics` hold training loss, validation macro-F1, tokens/s.

    `trained_on`: side → SHA-256 of the file that was read."""

    key: str
    base: Base
    digest: str
    prompt_digest: str
    settings: dict[str, object]
    metrics: dict[str, float]
    history: tuple[dict[str, float], ...]
    created_at: str
    trained_on: dict[Side, str] = Field(default_factory=dict)


class Model(Frozen):
    """Loadable weights in one form, with tokenizer, under `key`."""

    key: str
    form: Form
    digest: str
    size_mb: float


class Predictions(Frozen):
    """One Parquet row a call under `key`; columns as `PREDICTION_COLUMNS`, `logprobs` a list in taxonomy order."""

    key: str
    hop: Hop
    side: Side
    rows: int
    rows_digest: str
    taxonomy_digest: str
    seconds: float
    tokens: int


PREDICTION_COLUMNS = ("conversation_id", "group", "category", "logprobs", "label_mass", "tokens", "truncated")


class Calibration(Frozen):
    """`softmax(logprobs / temperature + bias)`; below `threshold` confidence a call goes to a person."""

    temperature: float = Field(default=1.0, gt=0)
    bias: tuple[float, ...]
    threshold: float = Field(default=0.0, ge=0, le=1)
    rows: int = 0
    loss_before: float = 0.0
    loss_after: float = 0.0


class Interval(Frozen):
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Report(Frozen):
    """How one hop did on one side. Metric names end in `_share`, `_f1`, `_ms` … as style.md says; costs per 1,000 calls."""

    hop: Hop
    side: Side
    rows: int
    groups: int
    rows_digest: str
    taxonomy_digest: str
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    per_category: dict[str, dict[str, float]]
    confusion: tuple[tuple[int, ...], ...]
    slices: dict[str, dict[str, dict[str, float]]]
    calibration: Calibration
    predictions: Predictions
    synthetic: bool


class Speed(Frozen):
    """What the benchmark measured on the real service; latencies in ms from the scheduled send time, memory in MB."""

    requests: int
    failures: int
    rate_requested_qps: float
    qps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    error_share: float
    load_time_s: float
    memory_mb: float
    histogram: tuple[tuple[float, int], ...]
    engine: str
    machine: dict[str, str]


class BundleRef(Frozen):
    """A bundle in the store, named by the digest of its content."""

    digest: str
    key: str
    synthetic: bool


class BoundResult(Frozen):
    """One gate bound, judged. A relative one is about the candidate minus `against` ("champion" or "baseline", whose own value is
    `champion`). `low` and `high` are the ends at `level`, Holm-corrected where relative. `calls_to_decide`: about how many
    gold calls, in all, would decide a HOLD; None where no number would."""

    metric: str
    kind: Literal["at_least", "at_most"]
    bound: float
    relative: bool
    binding: bool
    value: float
    low: float
    high: float
    champion: float | None
    decision: Decision
    calls_to_decide: int | None
    sentence_en: str
    sentence_zh: str
    against: str = ""
    level: float = 0.95


class Verdict(Frozen):
    """The gate's answer and everything it is bound to. Signed in `deploy/bundle.py`; `signature` is base64 Ed25519.

    `report_digest` is of the whole evidence: tasks/cited.py."""

    decision: Decision
    bundle_digest: str
    dataset_id: str
    gold_digest: str
    taxonomy_digest: str
    prompt_digest: str
    report_digest: str
    thresholds_digest: str
    champion_bundle: str | None
    engine: str
    quantization: str
    profile: str
    synthetic: bool
    gold_looks: int
    bounds: tuple[BoundResult, ...]
    created_at: str
    calls_to_decide: int | None = None
    sentence_en: str = ""
    sentence_zh: str = ""
    public_key: str = ""
    signature: str = ""


class GenerationSpeed(Frozen):
    """What the smoke check of a model of slot `generate` measured, alone on this machine; `memory_mb` of the engine."""

    load_s: float
    first_token_s: float
    tokens_s: float
    memory_mb: float
    prompt_tokens: int
    new_tokens: int
    machine: dict[str, str]


class SpeedBound(Frozen):
    """One bound of the smoke and speed check, judged."""

    metric: str
    kind: Literal["at_least", "at_most"]
    bound: float
    value: float
    holds: bool
    sentence_en: str
    sentence_zh: str


class GenerationVerdict(Frozen):
    """The answer of the smoke and speed check, signed like the gate's and bound to the same things. It says that a model works and
    how fast it is here; nothing of how good its texts are. `name`: the folder or file it was imported from."""

    kind: Literal["generation"] = "generation"
    decision: Literal["PROMOTE", "REJECT"]
    bundle_digest: str
    name: str
    engine: str
    quantization: str
    thinks: Thinks
    speed: GenerationSpeed
    bounds: tuple[SpeedBound, ...]
    thresholds_digest: str
    profile: str
    created_at: str
    sentence_en: str = ""
    sentence_zh: str = ""
    public_key: str = ""
    signature: str = ""


class Emergency(Frozen):
    """An operator's own signed word that a bundle may serve until `expires_at` though the gate does not say PROMOTE of it.

    `refusal`: what stood against it, in the words of the permit. Signed and read in `deploy/bundle.py`."""

    kind: Literal["emergency"] = "emergency"
    decision: Literal["EMERGENCY"] = "EMERGENCY"
    bundle_digest: str
    version: int
    operator: str
    reason: str
    refusal: str
    created_at: str
    expires_at: str
    public_key: str = ""
    signature: str = ""


class Version(Frozen):
    """A version of the registered model in MLflow."""

    name: str
    version: int
    run_id: str
    bundle: BundleRef
    decision: Decision


class Release(Frozen):
    """A version that serves somewhere."""

    target: str
    endpoint: str
    version: int
    bundle_digest: str
    verdict_signature: str
    previous_version: int | None
    created_at: str
