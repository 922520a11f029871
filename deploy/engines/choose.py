"""Which engine serves which form of a model, and an engine made from settings."""

from collections.abc import Callable
from pathlib import Path

from configs.serving import ServeSettings
from data_contracts.artifacts import EngineName, Form
from data_contracts.errors import ConfigurationError, ModelLoadError
from deploy.engines import Engine, compiled, llama_server, ollama_server
from deploy.lmdeploy import environment

SERVED: dict[EngineName, tuple[Form, ...]] = {
    "transformers": ("merged", "int8", "awq"),
    "llamacpp": ("gguf-q8_0",),
    "lmdeploy": ("merged", "awq"),
    "ollama": ("gguf-q8_0",),
}
MAX_CATEGORIES: dict[EngineName, int] = {"ollama": ollama_server.MAX_CATEGORIES}
"""Where the engine bounds them and not the model."""
START_SHARE = 0.9
"""Of the time for a start: who waits for us wants our reason, not a timeout of their own."""


def check(serve: ServeSettings, form: Form, categories: int) -> None:
    """Return if the engine of the settings serves this form and so many categories, and can be started here.

    Raises:
        ConfigurationError: it does not; names the pairs that are served, or what has to be installed.
        EngineUnavailable: a server that it needs does not answer.
    """
    if form not in SERVED[serve.engine]:
        pairs = "; ".join(f"{engine} with {', '.join(forms)}" for engine, forms in SERVED.items())
        raise ConfigurationError(
            f"serve.engine {serve.engine!r} does not serve quantize.serve {form!r}; allowed: {pairs}"
        )
    most = MAX_CATEGORIES.get(serve.engine, categories)
    if categories > most:
        raise ConfigurationError(
            f"{categories} categories are more than the {most} that engine {serve.engine} tells apart; use a taxonomy with fewer, "
            "or another serve.engine"
        )
    if serve.engine == "lmdeploy":
        _require_measurable(serve)
    require_installed(serve.engine, serve)


def _require_measurable(serve: ServeSettings) -> None:
    """A bundle is measured on a server of ours, started on its weights, and LMDeploy computes in 16 bits."""
    if serve.lmdeploy_url:
        raise ConfigurationError(
            f"serve.lmdeploy_url {serve.lmdeploy_url!r} is for serving a finished bundle, and this one is still to be measured, on "
            "a server started on its weights; leave it out here and set serve.lmdeploy_python"
        )
    if serve.precision == "fp32":
        raise ConfigurationError(
            "LMDeploy does not compute in fp32; leave serve.precision out, or set it to auto or bf16"
        )


def require_installed(engine: str, serve: ServeSettings) -> None:
    """Return if what the engine needs beside us is there.

    Raises:
        ConfigurationError: it is not.
    """
    if engine == "transformers" and serve.compile:
        compiled.require_compiler()
    if engine == "llamacpp":
        llama_server.find(serve.llama_server)
    if engine == "lmdeploy" and not serve.lmdeploy_url:
        environment.require(serve.lmdeploy_python, "serve.lmdeploy_python", "Engine lmdeploy runs")
    if engine == "ollama":
        with ollama_server.Ollama(serve.ollama_url) as ollama:
            ollama.require_log_probabilities()


def for_texts(serve: ServeSettings) -> ServeSettings:
    """The settings under which an engine generates: as many slots as texts may be written at once."""
    return serve.model_copy(update={"llama_slots": serve.generate.slots})


def load(engine: str, folder: Path, serve: ServeSettings, longest_tokens: int) -> Engine:
    """The engine over a model folder.

    Args:
        engine: what the bundle names; `serve.engine` is the one for bundles that are made now.
        longest_tokens: the longest prompt that will be asked.

    Raises:
        ModelLoadError: no such engine, or the model cannot be loaded.
        ConfigurationError: what the engine needs is not installed, or its context is too short.
        EngineUnavailable: it does not start.
    """
    if engine not in _LOADERS:
        raise ModelLoadError(f"engine {engine!r} does not run in this service; it has {sorted(_LOADERS)}")
    return _LOADERS[engine](folder, serve, longest_tokens)


def _transformers(folder: Path, serve: ServeSettings, longest_tokens: int) -> Engine:
    from deploy.engines.transformers import TransformersEngine

    return TransformersEngine.load(
        folder,
        precision=serve.precision,
        threads=serve.threads,
        batch_tokens=serve.batch_tokens,
        slots=serve.generate.slots,
        compile=serve.compile,
    )


def _llamacpp(folder: Path, serve: ServeSettings, longest_tokens: int) -> Engine:
    from deploy.engines.llamacpp import LlamaCppEngine

    return LlamaCppEngine.load(
        folder,
        program=serve.llama_server,
        longest_tokens=longest_tokens,
        slots=serve.llama_slots,
        threads=serve.threads,
        start_timeout_s=START_SHARE * serve.start_timeout_s,
    )


def _lmdeploy(folder: Path, serve: ServeSettings, longest_tokens: int) -> Engine:
    from deploy.engines.lmdeploy import LMDeployEngine
    from deploy.engines.lmdeploy_server import Started

    backend, slots = serve.lmdeploy_backend, serve.lmdeploy_slots
    if serve.lmdeploy_url:
        return LMDeployEngine.at(serve.lmdeploy_url, backend, folder, longest_tokens, slots)
    how = Started(
        python=environment.require(serve.lmdeploy_python, "serve.lmdeploy_python", "Engine lmdeploy runs"),
        backend=backend,
        slots=slots,
        memory_share=serve.lmdeploy_memory_share,
        dtype="bfloat16" if serve.precision == "bf16" else "auto",
        timeout_s=START_SHARE * serve.start_timeout_s,
    )
    return LMDeployEngine.start(folder, how, longest_tokens)


def _ollama(folder: Path, serve: ServeSettings, longest_tokens: int) -> Engine:
    from deploy.engines.ollama import OllamaEngine

    return OllamaEngine.load(folder, url=serve.ollama_url, longest_tokens=longest_tokens, slots=serve.ollama_slots)


_LOADERS: dict[str, Callable[[Path, ServeSettings, int], Engine]] = {
    "transformers": _transformers,
    "llamacpp": _llamacpp,
    "lmdeploy": _lmdeploy,
    "ollama": _ollama,
}
