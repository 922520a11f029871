"""Typed settings: frozen sections filled from base.yaml, a profile, overlays, the environment and `--set`, in that order."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data_contracts.artifacts import Form
from data_contracts.errors import ConfigurationError

HERE = Path(__file__).parent
PROFILES = ("tiny", "qwen3-0.6b", "qwen3-1.7b", "qwen3-4b-thinking")
OVERLAYS = ("production",)
PREFIX = "TINGSU_"
ALIASES = {"MODEL_PATH": "serve.model_path", "LOG_LEVEL": "log.level"}
Share = Annotated[float, Field(ge=0, le=1)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A group of settings; frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StoreSettings(Section):
    """Where artefacts live. `url`: empty for `$TINGSU_HOME/store`, a folder, or `s3://bucket/prefix`."""

    url: str = ""
    endpoint_url: str | None = None


class MlflowSettings(Section):
    """Tracking and registry. `uri`: empty for the embedded SQLite file, or the server's address."""

    uri: str = ""
    experiment: str = "tingsu"
    model: str = "complaints"


class PortSettings(Section):
    """All on loopback unless `serve.host` says otherwise."""

    service: Port = 8000
    console: Port = 8080
    mlflow: Port = 5001
    prefect: Port = 4200
    engines_from: Port = 8100


class DataSettings(Section):
    """The contract of a dataset family. Near-duplicate: Jaccard of character 5-grams at or above the threshold."""

    family: str = Field(default="complaints", pattern=r"^[a-z0-9][a-z0-9-]*$")
    near_duplicate_jaccard: float = Field(default=0.9, gt=0.5, le=1)
    min_rows: int = Field(default=200, ge=10)
    min_rows_per_category: int = Field(default=20, ge=2)
    min_accepted_share: Share = 0.9
    min_chars: int = Field(default=4, ge=1)
    max_chars: int = Field(default=20_000, ge=100)


class SplitSettings(Section):
    """Shares of groups; the rest trains. A group's side is a hash of its id, so it never moves."""

    gold_share: float = Field(default=0.2, gt=0, lt=0.6)
    validation_share: float = Field(default=0.1, gt=0, lt=0.3)
    calibration_share: float = Field(default=0.1, gt=0, lt=0.3)
    gold_after: str | None = None


class PromptSettings(Section):
    """What the prompt tells the model: the `codes` alone (a tuned model knows what they mean), with `names`, with
    `definitions` too."""

    tells: Literal["codes", "names", "definitions"] = "definitions"
    max_call_tokens: int = Field(default=1024, ge=16)
    head_share: Share = 0.6


class BaselineSettings(Section):
    """TF-IDF of character n-grams and logistic regression; `c` is the inverse regularisation strength."""

    max_ngram: int = Field(default=3, ge=1, le=6)
    max_features: int = Field(default=100_000, ge=1000)
    c: float = Field(default=10.0, gt=0)


class TrainSettings(Section):
    """LoRA fine-tuning. `batch_tokens` bounds a batch; `patience` counts epochs without a better validation macro-F1."""

    base_model: str = "builtin:tiny"
    epochs: int = Field(default=3, ge=1, le=100)
    learning_rate: float = Field(default=2e-4, gt=0)
    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    batch_tokens: int = Field(default=8192, ge=256)
    warmup_share: Share = 0.1
    weight_decay: float = Field(default=0.0, ge=0)
    class_weight_power: float = Field(default=0.5, ge=0, le=1)
    patience: int = Field(default=2, ge=1)
    method: Literal["lora", "qlora"] = "lora"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    checkpoint_steps: int = Field(default=50, ge=1)
    seed: int = 7


class CalibrateSettings(Section):
    """`threshold_from`: the cost table, or the lowest threshold that reaches `target_accuracy` on the automatic answers."""

    threshold_from: Literal["cost", "accuracy"] = "cost"
    target_accuracy: Share = 0.95


class QuantizeSettings(Section):
    """Forms made from the merged model, and the one that is served and gated."""

    forms: tuple[Form, ...] = ("int8", "gguf-q8_0")
    serve: Form = "int8"

    @model_validator(mode="after")
    def _served_form_is_made(self) -> "QuantizeSettings":
        if self.serve != "merged" and self.serve not in self.forms:
            raise ValueError(
                f"serve {self.serve!r} is not among forms {list(self.forms)}; add it there or serve 'merged'"
            )
        return self


class BenchmarkSettings(Section):
    """Open-loop load on the real service: `rate_qps` calls a second for `duration_s`, after `warmup_s`."""

    rate_qps: float = Field(default=5.0, gt=0)
    duration_s: float = Field(default=20.0, gt=0)
    warmup_s: float = Field(default=3.0, ge=0)


class Bound(Section):
    """One promise. Absolute: `at_least`/`at_most`. `margin`: candidate − champion may lose at most this. `over_baseline`: in
    F1 points over TF-IDF. Exactly one of the four."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    margin: float | None = Field(default=None, ge=0)
    over_baseline: float | None = None
    binding: bool = True

    @model_validator(mode="after")
    def _one_kind(self) -> "Bound":
        kinds = [k for k in ("at_least", "at_most", "margin", "over_baseline") if getattr(self, k) is not None]
        if len(kinds) != 1:
            raise ValueError(
                f"bound on {self.metric!r} has {kinds or 'no kind'}; give exactly one of at_least, at_most, margin, over_baseline"
            )
        return self


class GateSettings(Section):
    """The thresholds of promotion. `improve`: at most one metric that must truly get better than the champion's."""

    bounds: tuple[Bound, ...] = ()
    improve: str | None = None
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=2000, ge=200)
    approval: bool = False
    seed: int = 11


class ServeSettings(Section):
    """The service. Times in seconds; `batch_tokens` bounds one prefill; `model_path` overrides the bundle served."""

    host: str = "127.0.0.1"
    model_path: str | None = None
    batch_tokens: int = Field(default=8192, ge=256)
    max_wait_ms: float = Field(default=4.0, ge=0)
    queue_calls: int = Field(default=2048, ge=1)
    max_calls_per_request: int = Field(default=1000, ge=1)
    max_body_mb: float = Field(default=8.0, gt=0)
    deadline_s: float = Field(default=30.0, gt=0)
    threads: int = Field(default=0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    start_timeout_s: float = Field(default=180.0, gt=0)
    parity_tolerance: float = Field(default=0.05, gt=0)


class RolloutSettings(Section):
    """Where a promoted version goes and how long a start may take."""

    target: Literal["local", "server", "kubernetes"] = "local"
    verify_timeout_s: float = Field(default=120.0, gt=0)
    drain_s: float = Field(default=10.0, ge=0)


class LogSettings(Section):
    """Logging of our own processes."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Settings(Section):
    """Everything that can be set."""

    profile: str = "tiny"
    slot: Literal["classify", "generate"] = "classify"
    store: StoreSettings = StoreSettings()
    mlflow: MlflowSettings = MlflowSettings()
    ports: PortSettings = PortSettings()
    data: DataSettings = DataSettings()
    split: SplitSettings = SplitSettings()
    prompt: PromptSettings = PromptSettings()
    baseline: BaselineSettings = BaselineSettings()
    train: TrainSettings = TrainSettings()
    calibrate: CalibrateSettings = CalibrateSettings()
    quantize: QuantizeSettings = QuantizeSettings()
    benchmark: BenchmarkSettings = BenchmarkSettings()
    gate: GateSettings = GateSettings()
    serve: ServeSettings = ServeSettings()
    rollout: RolloutSettings = RolloutSettings()
    log: LogSettings = LogSettings()


def load(
    profile: str = "tiny", overlays: Sequence[str] = (), sets: Sequence[str] = (), env: Mapping[str, str] = os.environ
) -> Settings:
    """Resolve the settings: base.yaml, then the profile, overlays, environment (`TINGSU_TRAIN__EPOCHS=3`), then `a.b=c`.

    Raises:
        ConfigurationError: unknown profile, key or value; an unknown key comes with the nearest known one.
    """
    if profile not in PROFILES:
        raise ConfigurationError(
            f"profile {profile!r} is unknown; allowed: {', '.join(PROFILES)}{_nearest(profile, PROFILES)}"
        )
    tree: dict[str, Any] = {}
    for name in ("base", profile, *overlays):
        _merge(tree, _read(name))
    for key, value in [*_from_environment(env), *(_pair(item) for item in sets)]:
        _put(tree, key, value)
    tree["profile"] = profile
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from error


def home(env: Mapping[str, str] = os.environ) -> Path:
    """Where state lives: `$TINGSU_HOME`, else `~/.local/share/tingsu`."""
    return Path(env.get("TINGSU_HOME") or Path.home() / ".local/share/tingsu").expanduser().absolute()


def _read(name: str) -> dict[str, Any]:
    path = HERE / f"{name}.yaml"
    if not path.is_file():
        raise ConfigurationError(f"overlay {name!r} is unknown; allowed: {', '.join(OVERLAYS)}")
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def _merge(into: dict[str, Any], tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _from_environment(env: Mapping[str, str]) -> list[tuple[str, Any]]:
    own = [
        (k[len(PREFIX) :].lower().replace("__", "."), v)
        for k, v in sorted(env.items())
        if k.startswith(PREFIX) and "__" in k
    ]
    named = [(key, env[name]) for name, key in ALIASES.items() if env.get(name)]
    pairs = [_pair(f"{key}={value}") for key, value in [*named, *own]]
    return [(key, value.upper() if key == "log.level" else value) for key, value in pairs]


def _pair(item: str) -> tuple[str, Any]:
    key, equals, value = item.partition("=")
    if not equals:
        raise ConfigurationError(f"--set {item!r} has no '='; write it as section.key=value, e.g. train.epochs=3")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {item!r}: the value is not YAML") from error


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for name in sections:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise ConfigurationError(f"setting {key!r}: {name!r} is a value, not a section")
    tree[last] = value


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Every settable key, dotted."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            keys += known_keys(kind, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def _nearest(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        key = ".".join(str(p) for p in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"setting {key!r} is unknown{_nearest(key, known_keys()) or '; see configs/base.yaml'}")
        else:
            lines.append(f"setting {key!r} = {item['input']!r}: {item['msg']}")
    return "; ".join(lines)
