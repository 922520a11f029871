"""A running Ollama: what it has and holds in memory, models made of GGUF files and checked, texts asked with their cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_contracts.errors import ConfigurationError, EngineUnavailable, ModelLoadError
from data_contracts.schema import Frozen
from deploy.engines.http import Http, reason
from deploy.engines.weights import GGUF_FILE
from deploy.store import sha256_file

OLDEST = (0, 12, 11)
"""The first that answers with log-probabilities."""
HEALTH = "/api/version"
MAX_CATEGORIES = 15
"""It names 20 tokens: so that a category that matters is among them, with room for other ways to write it."""
TRIED = "tried were the payloads of Ollama 0.33"


class OllamaModel(Frozen):
    """A model that Ollama has. `digest` is of its manifest: the weights with all that was set with them."""

    name: str
    digest: str
    size_mb: float
    quantization: str
    family: str
    in_memory_mb: float


class OllamaStatus(Frozen):
    """What runs at an address."""

    url: str
    version: str
    models: tuple[OllamaModel, ...]


class OllamaAnswer(Frozen):
    """A text and what it cost."""

    text: str
    prompt_tokens: int
    tokens: int
    load_s: float
    prompt_s: float
    answer_s: float

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.answer_s if self.answer_s else 0.0


class Ollama:
    """A client of the one at `url`; close it, or use it as a context."""

    def __init__(self, url: str) -> None:
        self.http = Http(
            "Ollama", url, said=lambda: f"nothing listens at {url}? Start it (ollama serve), or set serve.ollama_url"
        )

    def __enter__(self) -> "Ollama":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def status(self) -> OllamaStatus:
        """Its version, and every model.

        Raises:
            EngineUnavailable: it does not answer.
        """
        held = self.held_mb()
        models = tuple(_described(m, held) for m in self.http.ask("/api/tags")["models"])
        return OllamaStatus(url=self.http.url, version=self.version(), models=models)

    def held_mb(self) -> dict[str, float]:
        """Models in memory, and what each takes."""
        return {m["name"]: float(m.get("size", 0)) / 2**20 for m in self.http.ask("/api/ps")["models"]}

    def version(self) -> str:
        return str(self.http.ask(HEALTH)["version"])

    def require_log_probabilities(self) -> None:
        """Return if it is new enough.

        Raises:
            ConfigurationError: it is not.
            EngineUnavailable: it does not answer.
        """
        version = self.version()
        if _numbers(version) < OLDEST:
            raise ConfigurationError(
                f"Ollama {version} gives no log-probabilities; {'.'.join(map(str, OLDEST))} and newer do: update it"
            )

    def has(self, name: str) -> bool:
        """Whether there is a model of this name."""
        return self.http.reply("/api/show", {"model": name})[0] == 200

    def create(
        self, name: str, gguf: Path, template: str = "", parameters: Mapping[str, object] | None = None
    ) -> OllamaModel:
        """A model of a GGUF file's weights. One of that name and these weights is left as it is; other weights are not replaced.

        Args:
            template: in Ollama's own language, around `{{ .Prompt }}`; empty: the file's.
            parameters: as `num_ctx`, in force where a caller does not say otherwise.

        Raises:
            EngineUnavailable: it does not take them.
            ModelLoadError: the model of that name has other weights.
        """
        digest = sha256_file(gguf)
        if not self.has(name):
            if not self.http.has(f"/api/blobs/sha256:{digest}"):
                self.http.upload(f"/api/blobs/sha256:{digest}", gguf)
            body: dict[str, object] = {"model": name, "files": {gguf.name: f"sha256:{digest}"}, "stream": False}
            body |= ({"template": template} if template else {}) | ({"parameters": parameters} if parameters else {})
            made = self.http.ask("/api/create", body)
            if not isinstance(made, dict) or made.get("status") != "success":
                raise EngineUnavailable(f"Ollama made no model {name}: {reason(made)}; {TRIED}")
        self.require_weights(name, digest)
        return next(model for model in self.status().models if model.name == _tagged(name))

    def require_weights(self, name: str, digest: str) -> None:
        """Return if the model runs the GGUF file of this SHA-256: Ollama names the file it runs by it.

        Raises:
            ModelLoadError: it runs another.
        """
        runs = self.modelfile(name)
        if f"sha256-{digest}" not in runs and f"sha256:{digest}" not in runs:
            raise ModelLoadError(
                f"Ollama's model {name} does not have the weights sha256 {digest[:12]}…; remove it (ollama rm {name}), or choose "
                "another name"
            )

    def modelfile(self, name: str) -> str:
        """What a model is made of, in Ollama's words."""
        return str(self.http.ask("/api/show", {"model": name}).get("modelfile", ""))

    def copy(self, name: str, to: str) -> None:
        """Have another name mean this model, too; whatever it meant before.

        Raises:
            EngineUnavailable: it does not.
        """
        status, answer = self.http.reply("/api/copy", {"source": name, "destination": to})
        if status != 200:
            raise EngineUnavailable(f"Ollama does not copy {name} to {to} ({status}: {reason(answer)}); {TRIED}")

    def remove(self, name: str) -> None:
        """Forget a model.

        Raises:
            ConfigurationError: there is none of that name.
        """
        status, answer = self.http.reply("/api/delete", {"model": name}, method="DELETE")
        if status != 200:
            raise ConfigurationError(
                f"Ollama does not remove {name} ({status}: {reason(answer)}); ./tingsu ollama status"
            )

    def ask(self, name: str, prompt: str, max_tokens: int = 256, temperature: float = 0.0) -> OllamaAnswer:
        """Let a model answer, without thinking aloud.

        Raises:
            ConfigurationError: there is no such model, or it cannot be asked this.
            EngineUnavailable: it does not answer.
        """
        options = {"num_predict": max_tokens, "temperature": temperature}
        return self._answered({"model": name, "prompt": prompt, "options": options})

    def answer(self, name: str, prompt: str, *, is_raw: bool = False) -> OllamaAnswer:
        """As a model answers by itself, with its own template and parameters, or without the template. Raises: as `ask`."""
        return self._answered({"model": name, "prompt": prompt, "raw": is_raw})

    def _answered(self, asked: Mapping[str, object]) -> OllamaAnswer:
        body = {**asked, "stream": False, "think": False}
        status, answer = self.http.reply("/api/generate", body)
        if status in (400, 404):
            raise ConfigurationError(f"Ollama refuses ({reason(answer)}); ./tingsu ollama status lists its models")
        if status != 200:
            raise EngineUnavailable(f"Ollama answered {status}: {reason(answer)}")
        return OllamaAnswer(
            text=str(answer.get("response", "")),
            prompt_tokens=int(answer.get("prompt_eval_count", 0)),
            tokens=int(answer.get("eval_count", 0)),
            load_s=_seconds(answer, "load_duration"),
            prompt_s=_seconds(answer, "prompt_eval_duration"),
            answer_s=_seconds(answer, "eval_duration"),
        )

    def close(self) -> None:
        self.http.close()


def model_name(file: Path) -> str:
    """Of the model that Ollama makes of this file: named by its weights, so that a name never changes what it means."""
    return f"tingsu:{sha256_file(file)[:16]}"


def gguf_of(folder: Path) -> Path:
    """The file of a model folder that Ollama can run.

    Raises:
        ModelLoadError: it has none.
    """
    file = folder / GGUF_FILE
    if not file.is_file():
        raise ModelLoadError(f"{folder} has no {GGUF_FILE}, and Ollama runs only GGUF: quantize.serve=gguf-q8_0")
    return file


def _described(model: Mapping[str, Any], held: Mapping[str, float]) -> OllamaModel:
    details = model.get("details") or {}
    return OllamaModel(
        name=model["name"],
        digest=model["digest"],
        size_mb=round(model["size"] / 2**20, 1),
        quantization=str(details.get("quantization_level", "")),
        family=str(details.get("family", "")),
        in_memory_mb=round(held.get(model["name"], 0.0), 1),
    )


def _tagged(name: str) -> str:
    return name if ":" in name else f"{name}:latest"


def _numbers(version: str) -> tuple[int, ...]:
    """Of `0.33.0-rc2` the 0, 33 and 0."""
    return tuple(int(part) for part in version.lstrip("v").split("-")[0].split(".") if part.isdecimal())


def _seconds(answer: Mapping[str, Any], name: str) -> float:
    return float(answer.get(name, 0)) / 1e9
