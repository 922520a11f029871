"""Typed settings: frozen sections, unknown keys refused, bounds and units in the model. `sources` fills them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data_contracts.artifacts import EngineName, Form
from data_contracts.schema import PLACE

Share = Annotated[float, Field(ge=0, le=1)]
Tokens = Annotated[int, Field(ge=1)]
Severity = Literal["reject", "quarantine", "refuse", "warn"]
Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A group of settings; frozen, unknown keys refused, and numbers that are none (nan, inf)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
    """The contract of a dataset family. Near-duplicate: Jaccard of character 5-grams at or above the threshold.

    Of a call, where it names speakers: `max_same_speaker_run` turns of one of them in a row, shares of turns without words and of turns
    that say what was said before, and seconds that turns may go on after the call ended. Of its characters: Chinese among letters and
    digits, runs of symbols, traces of a wrong decoding.

    `severities`: for the code of a check, `reject`, `quarantine` or `warn` (of the whole file: `refuse` or `warn`) instead of what
    data_contracts/expectations says. `data.families.NAME` in the home's settings.yaml holds what differs for one family.
    """

    family: str = Field(default="complaints", pattern=r"^[a-z0-9][a-z0-9-]*$")
    near_duplicate_jaccard: float = Field(default=0.9, gt=0.5, le=1)
    min_rows: int = Field(default=200, ge=10)
    min_rows_per_category: int = Field(default=20, ge=2)
    min_accepted_share: Share = 0.9
    min_chars: int = Field(default=4, ge=1)
    max_chars: int = Field(default=20_000, ge=100)
    max_same_speaker_run: int = Field(default=8, ge=1)
    max_empty_share: Share = 0.5
    max_repeated_share: Share = 0.5
    max_turn_overrun_s: float = Field(default=5.0, ge=0)
    min_cjk_share: Share = 0.2
    max_symbol_share: Share = 0.3
    max_mojibake_share: Share = 0.05
    severities: dict[str, Severity] = {}


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
    """LoRA fine-tuning. `batch_tokens` bounds a batch; `patience` counts epochs without a better validation macro-F1; with a
    `dropout` above 0 peft's own layers are used, half as fast on CPU.

    `processes` cut every batch between them, one a GPU where there are GPUs. It says how the work is spread, not what is
    learned, so it is left out wherever settings are written down or digested: a run may be continued with another number.
    """

    base_model: Annotated[str, PLACE] = "builtin:tiny"
    epochs: int = Field(default=3, ge=1, le=100)
    learning_rate: float = Field(default=2e-4, gt=0)
    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    batch_tokens: int = Field(default=8192, ge=256)
    warmup_share: Share = 0.1
    weight_decay: float = Field(default=0.0, ge=0)
    class_weight_power: float = Field(default=0.5, ge=0, le=1)
    patience: int = Field(default=2, ge=1)
    method: Literal["lora", "qlora"] = "lora"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    checkpoint_steps: int = Field(default=50, ge=1)
    processes: Annotated[int, PLACE] = Field(default=1, ge=1, le=64, exclude=True)
    seed: int = Field(default=7, ge=0, lt=2**31)


class CalibrateSettings(Section):
    """`threshold_from`: the cost table, or the lowest threshold that reaches `target_accuracy` on the automatic answers."""

    threshold_from: Literal["cost", "accuracy"] = "cost"
    target_accuracy: Share = 0.95


class QuantizeSettings(Section):
    """Forms made from the merged model, and the one that is served and gated. `awq` is made by LMDeploy, whose own environment's
    interpreter is `lmdeploy_python` (deploy/lmdeploy/requirements.txt says how to make one)."""

    forms: tuple[Form, ...] = ("int8", "gguf-q8_0")
    serve: Form = "int8"
    lmdeploy_python: Annotated[str, PLACE] = Field(default="", exclude=True)

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
    """The thresholds of promotion. `improve`: at most one metric that must truly get better than the champion's.

    `leak_jaccard`: a training call this like a gold call is one. `max_gold_looks`: candidates one gold set may judge before
    verdicts warn: of equals, one in forty looks better by luck."""

    bounds: tuple[Bound, ...] = ()
    improve: str | None = None
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=2000, ge=200)
    approval: bool = False
    leak_jaccard: float = Field(default=0.9, gt=0.5, le=1)
    max_gold_looks: int = Field(default=20, ge=1)
    seed: int = Field(default=11, ge=0, lt=2**31)


class GenerateSettings(Section):
    """Slot `generate` of the service. `path`: its bundle's folder; null for none.

    `slots`: texts written at once; `queue`: requests that may wait for one, each at most `wait_s`; `limit_s`: a text that takes
    longer is cut off there; `silence_s`: an engine that takes no step of its texts for so long (a token, or a thousand of a prompt),
    or is idle and not there, hangs and is restarted. `context_tokens`: prompt and answer together, and never more than the model's
    own context. `thinking_tokens`: the budgets of `thinking_depth` 1 to 5; `answer_tokens`: of what follows it, and where nobody
    says how long.

    `min_tokens_s`, `max_first_token_s`, `max_memory_mb`: the bounds of the smoke and speed check on the machine that imports a model.
    """

    path: Annotated[str | None, PLACE] = None
    slots: int = Field(default=2, ge=1, le=64)
    queue: int = Field(default=32, ge=0)
    wait_s: float = Field(default=30.0, gt=0)
    limit_s: float = Field(default=600.0, gt=0)
    silence_s: float = Field(default=60.0, gt=0)
    context_tokens: int = Field(default=8192, ge=64)
    answer_tokens: int = Field(default=1024, ge=1)
    thinking_tokens: tuple[Tokens, Tokens, Tokens, Tokens, Tokens] = (256, 512, 1024, 2048, 4096)
    min_tokens_s: float = Field(default=1.0, ge=0)
    max_first_token_s: float = Field(default=10.0, gt=0)
    max_memory_mb: float | None = Field(default=None, gt=0)


class ServeSettings(Section):
    """The service. Times in seconds; `batch_tokens` bounds one prefill; `model_path`: the bundle to serve where none is named.

    `mode`: in `production` everybody shows a key, also on this machine, /docs is off unless `docs` says otherwise, and nothing is served
    without a verdict or trained on generated calls.

    `review_below`: a person looks at calls below this confidence; where the bundle's own threshold is higher, that holds.
    `review_categories`: and at every call that is answered with one of these, whatever the confidence.

    `client_timeout_s`: what a caller may take to send a request, or to take its answer off the wire. `docs`: the page /docs;
    null has it where only this machine reaches the service and no key was made.

    `max_wait_ms`: what a batch waits for calls that may share it, or a twentieth of the last batch's time where that is longer; 0: nothing.

    `engine` scores the form of `quantize.serve` and serves it; a bundle is served by the engine it was measured on, whatever stands
    here. `llama_server`: the program of engine llamacpp (empty: the one on PATH); `llama_slots`: prompts it works on at once.

    `engines`: processes that work off the one queue, each with its part of the cores and its own copy of the weights; one that dies
    costs only what it worked on.

    `compile`: engine transformers on CPU compiles what it does between matrix products before it is ready; it needs a C++ compiler.

    `parity_tolerance`: of a probability, the most that a bundle may ask for; what it asks for is measured when it is made.

    Engine lmdeploy runs `lmdeploy_backend` (TurboMind names at most 1024 tokens a call) in the environment of the interpreter
    `lmdeploy_python`, with `lmdeploy_slots` prompts at once and `lmdeploy_memory_share` of the free GPU memory for their keys and
    values; or it serves a bundle by a server kept elsewhere, at `lmdeploy_url`, whose key is in TINGSU_LMDEPLOY_KEY. Engine ollama
    asks the Ollama at `ollama_url`, `ollama_slots` prompts at once.
    """

    engine: EngineName = "transformers"
    engines: int = Field(default=1, ge=1, le=16)
    llama_server: Annotated[str, PLACE] = ""
    llama_slots: int = Field(default=4, ge=1, le=64)
    lmdeploy_python: Annotated[str, PLACE] = ""
    lmdeploy_url: Annotated[str, PLACE] = ""
    lmdeploy_backend: Literal["pytorch", "turbomind"] = "pytorch"
    lmdeploy_slots: int = Field(default=64, ge=1, le=1024)
    lmdeploy_memory_share: float = Field(default=0.5, gt=0, lt=1)
    ollama_url: Annotated[str, PLACE] = "http://127.0.0.1:11434"
    ollama_slots: int = Field(default=4, ge=1, le=64)
    mode: Literal["development", "production"] = "development"
    host: str = "127.0.0.1"
    model_path: str | None = None
    batch_tokens: int = Field(default=8192, ge=256)
    max_wait_ms: float = Field(default=4.0, ge=0)
    queue_calls: int = Field(default=2048, ge=1)
    max_calls_per_request: int = Field(default=1000, ge=1)
    max_turns: int = Field(default=10_000, ge=1)
    max_body_mb: float = Field(default=8.0, gt=0)
    client_timeout_s: float = Field(default=30.0, gt=0)
    docs: bool | None = None
    deadline_s: float = Field(default=30.0, gt=0)
    review_below: Share | None = None
    review_categories: tuple[str, ...] = ()
    threads: int = Field(default=0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    start_timeout_s: float = Field(default=180.0, gt=0)
    generate: GenerateSettings = GenerateSettings()
    parity_tolerance: float = Field(default=0.05, gt=0)


class Tolerance(Section):
    """How much worse a candidate may be than the champion, and how much is to be found out; between the two it may go either way."""

    tolerated: float = Field(ge=0, lt=1)
    detected: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _rises(self) -> "Tolerance":
        if self.detected <= self.tolerated:
            raise ValueError(f"detected {self.detected} is not above tolerated {self.tolerated}; raise it")
        return self


class CanaryStep(Section):
    """`weight` of the traffic goes to the candidate until it has answered `calls` requests and `seconds` have passed."""

    weight: float = Field(gt=0, lt=1)
    calls: int = Field(ge=50)
    seconds: float = Field(default=0.0, ge=0)


class CanarySettings(Section):
    """How a candidate is tried on live traffic without labels, on a target that can split it. No steps: it is not.

    Both sides are looked at every `look_every_s`. A canary that after `longest_s` has not seen the requests its steps ask for is
    undone: too little traffic to tell. `mirror_share` of what the champion answers is asked of the candidate too, where nobody waits.
    On target local a candidate that nobody looked at for `unwatched_s`, since its controller died, has no traffic any more.

    `alpha`: share of healthy candidates that may be undone by mistake, over all steps and signals. `block_requests`: of each side,
    looked at together. `latency_ratio`: p50 and p95 may be so many times the champion's. Shares and means, candidate less
    champion: `errors` (of requests), `category_mix` (points of calls that change category), `confidence` and `label_mass` (means),
    `abstention` (calls sent to review); `disagreement`: of calls that both were asked.
    """

    steps: tuple[CanaryStep, ...] = ()
    look_every_s: float = Field(default=5.0, gt=0)
    longest_s: float = Field(default=86400.0, gt=0)
    unwatched_s: float = Field(default=600.0, gt=0)
    mirror_share: Share = 0.1
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    block_requests: int = Field(default=25, ge=10)
    latency_ratio: float = Field(default=1.5, ge=1)
    errors: Tolerance = Tolerance(tolerated=0.005, detected=0.02)
    category_mix: Tolerance = Tolerance(tolerated=0.0025, detected=0.05)
    confidence: Tolerance = Tolerance(tolerated=0.02, detected=0.05)
    abstention: Tolerance = Tolerance(tolerated=0.02, detected=0.06)
    label_mass: Tolerance = Tolerance(tolerated=0.01, detected=0.03)
    disagreement: Tolerance = Tolerance(tolerated=0.10, detected=0.15)


class ServerSettings(Section):
    """A Linux server with systemd and nginx. `host`: empty for this machine, else what `ssh` is given: NAME or USER@NAME, with
    keys and a known host; `ssh_options` go before it. Root is needed there, or `sudo` without a password.

    nginx answers on `serve.host` and `ports.service`; behind it are two sides of `instances` each, on every second loopback
    port from `ports_from` on. `root` holds all that is installed: releases (the last `kept`, and those in use), instances,
    environment. `python`: an interpreter there with the packages of group serve, which `user` can reach; empty: an environment
    is made, once for each constraints.txt. `nginx`: the file its main file includes. `memory_mb`, `cpus`: of one instance.
    """

    host: str = Field(default="", pattern=r"^([\w.][\w.-]*@)?[A-Za-z0-9][\w.:-]*$|^$")
    ssh_options: tuple[str, ...] = ()
    instances: int = Field(default=2, ge=1, le=32)
    ports_from: int = Field(default=8101, ge=1024, le=65000)
    root: str = Field(default="/opt/tingsu", pattern=r"^(/\w[\w.-]*){2,}$")
    user: str = Field(default="tingsu", pattern=r"^[a-z_][a-z0-9_-]{0,31}$")
    python: str = Field(default="", pattern=r"^(/[^\s\"'$]+)?$")
    nginx: str = Field(default="/etc/nginx/conf.d/tingsu.conf", pattern=r"^/[\w./-]+\.conf$")
    kept: int = Field(default=3, ge=1, le=100)
    memory_mb: int | None = Field(default=None, ge=256)
    cpus: float | None = Field(default=None, gt=0)


class KubernetesSettings(Section):
    """For rollout.target kubernetes: where to, with which values of the chart deploy/helm/tingsu, and how traffic is split there.

    `kubeconfig`: empty for kubectl's own, else for the pod this runs in. `values`: files, from the root or from TINGSU_HOME on; what
    they say of sides and weights does not count. `split`: gateway (HTTPRoute), replicas (pods counted out) or switch (all or nothing,
    so no canary steps). `url`: where callers reach it, for the record; empty: the entry Service's name in the cluster.
    """

    kubeconfig: str = ""
    context: str = ""
    namespace: str = Field(default="tingsu", pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    release: str = Field(default="tingsu", pattern=r"^[a-z]([-a-z0-9]{0,51}[a-z0-9])?$")
    values: tuple[str, ...] = ()
    split: Literal["gateway", "replicas", "switch"] = "switch"
    start_timeout_s: float = Field(default=900.0, gt=0)
    url: str = ""


class RolloutSettings(Section):
    """Where a promoted version goes and how long a start may take.

    `approval`: `required` lets no traffic to a candidate, staged and verified, before a person approves it with a reason.
    `keep_previous`: the version before stays loaded beside the live one, so that going back takes seconds; it takes its memory.
    `ollama_model`: what a version is called in the Ollama at serve.ollama_url, for target ollama.
    """

    target: Literal["local", "server", "kubernetes", "ollama"] = "local"
    verify_timeout_s: float = Field(default=120.0, gt=0)
    drain_s: float = Field(default=10.0, ge=0)
    keep_previous: bool = True
    approval: Literal["none", "required"] = "none"
    ollama_model: str = Field(default="tingsu", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    canary: CanarySettings = CanarySettings()
    server: ServerSettings = ServerSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()


class RetentionSettings(Section):
    """What `gc` keeps besides everything that is live, can come back or is cited: the newest versions and pipeline runs, and
    whatever is younger than `older_days`. Datasets, gold sets, splits, verdicts and their evidence are always kept."""

    keep_versions: int = Field(default=5, ge=1)
    keep_runs: int = Field(default=20, ge=1)
    older_days: float = Field(default=30.0, ge=0)


class LogSettings(Section):
    """The service's log. In the background it is a file: at `max_mb` it is put aside as .1, and `kept` such files are kept.

    No text is logged, unless `text_share` of the classified calls is asked for: their beginning, masked as far as patterns recognise
    personal data.
    """

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    max_mb: float = Field(default=16.0, gt=0)
    kept: int = Field(default=3, ge=1, le=100)
    text_share: Share = 0.0


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
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()
