"""Run by LMDeploy's own interpreter, `python -I serve.py MODEL BACKEND ARGUMENT…`: its api_server, asked for one backend and no other.

It imports nothing of ours. LMDeploy's command line takes the key as an argument, which every user of the machine can read in
the process list, and goes over to PyTorch with a mere warning where TurboMind does not run: both are answered here.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

KEY = "TINGSU_LMDEPLOY_KEY"


def main(model: str, backend: str, arguments: Sequence[str]) -> None:
    """Serve until a signal ends it."""
    if backend == "turbomind":
        _require_turbomind(model)
    key = os.environ.pop(KEY)
    sys.argv = ["lmdeploy", "serve", "api_server", model, "--backend", backend, *arguments, "--api-keys", key]
    import_module("lmdeploy.cli").run()


def _require_turbomind(model: str) -> None:
    from lmdeploy.archs import autoget_backend

    if autoget_backend(model) != "turbomind":
        error = getattr(import_module("lmdeploy.turbomind"), "_import_error", None)
        sys.exit(f"TurboMind does not run this model here: {error or 'its architecture is not supported'}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
