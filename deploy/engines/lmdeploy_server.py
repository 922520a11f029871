"""LMDeploy's api_server: a process of ours in its own environment, or one that somebody else keeps at an address."""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from data_contracts.errors import ModelLoadError
from deploy.engines import weights
from deploy.engines.http import Http
from deploy.engines.server import Program
from deploy.lmdeploy import serve as script
from deploy.store import folder_digest

Backend = Literal["pytorch", "turbomind"]
KEY = script.KEY
OURS = "tingsu"
"""The name of the model on a server that we start."""


@dataclass(frozen=True)
class Started:
    """How a server of ours is to run. `memory_share`: of the GPU memory that is free, for keys and values."""

    python: Path
    backend: Backend
    slots: int
    memory_share: float
    dtype: Literal["auto", "bfloat16"]
    timeout_s: float


class Server(Protocol):
    """What the engine needs of a server, ours or another's."""

    @property
    def http(self) -> Http: ...
    @property
    def is_running(self) -> bool: ...
    def memory_mb(self) -> float: ...
    def close(self) -> None: ...


def require_model(http: Http, wanted: str) -> None:
    """Return if the server says that it serves the model of this name."""
    cards = (http.ask("/v1/models") or {}).get("data", [])
    serves = [str(card.get("id")) for card in cards]
    if wanted not in serves:
        raise ModelLoadError(
            f"LMDeploy at {http.url} serves {', '.join(serves) or 'nothing'} and not {wanted}; start it on the bundle's model "
            f"folder with --model-name {wanted}"
        )


def model_name(folder: Path) -> str:
    """What a server that is not ours has to be called on this folder: LMDeploy itself tells nothing of the weights it serves."""
    return f"tingsu-{folder_digest(folder)[:16]}"


def program(folder: Path, how: Started, longest_tokens: int) -> Program:
    form = ["--model-format", "awq"] if weights.form_of(folder) == "awq" else []
    arguments = [
        *("--model-name", OURS, "--logprobs-mode", "raw_logprobs", "--generation-config", "lmdeploy"),
        # one token is answered, and scoring a category adds it to the prompt
        *("--session-len", str(longest_tokens + 2), "--max-batch-size", str(how.slots), "--dtype", how.dtype, *form),
        *("--cache-max-entry-count", str(how.memory_share), "--enable-prefix-caching"),
        *("--max-log-len", "0", "--log-level", "ERROR", "--disable-fastapi-docs"),
    ]
    return Program(
        name="LMDeploy",
        argv=(str(how.python), "-I", script.__file__, str(folder.absolute()), how.backend, *arguments),
        host_option="--server-name",
        port_option="--server-port",
        key_variable=script.KEY,
        drop=("LMDEPLOY_", "TM_", "UVICORN_", "PYTHON"),
        env={
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "DO_NOT_TRACK": "true",
            "UVICORN_LOG_LEVEL": "warning",
        },
        ending=signal.SIGTERM,
    )
