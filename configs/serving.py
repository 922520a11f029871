"""Settings of the service: its two slots, its engines, its log."""

from typing import Annotated, Literal

from pydantic import Field

from configs.section import Section, Share, Tokens
from data_contracts.artifacts import EngineName
from data_contracts.schema import PLACE


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

    `keep_alive`: a caller may ask again on its connection. Off where who answers is chosen for each connection, as behind a Service of
    Kubernetes: what is moved to another version moves with the next request.

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
    keep_alive: bool = True
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


class LogSettings(Section):
    """The service's log. In the background it is a file: at `max_mb` it is put aside as .1, and `kept` such files are kept.

    No text is logged, unless `text_share` of the classified calls is asked for: their beginning, masked as far as patterns recognise
    personal data.
    """

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    max_mb: float = Field(default=16.0, gt=0)
    kept: int = Field(default=3, ge=1, le=100)
    text_share: Share = 0.0
