"""`python -P -m deploy.service [--bundle DIR] [--generate DIR] --port N --home H [--evaluation]`: serve until SIGTERM.

Imported again by the engine's child process, so everything else is imported in `main`.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.service.child import Loader


def main(argv: Sequence[str], loader: "Loader | None" = None) -> int:
    """Serve; return the exit code of the error tree.

    Args:
        loader: makes the engine in the child process; the bundle's own when None.
    """
    from data_contracts.errors import TingsuError

    try:
        from deploy.service import child, server

        options = _options(argv)
        os.environ["TINGSU_HOME"] = str(options.home)  # for the engine's process, which keeps there what it compiles
        server.serve(options, loader or child.load)
    except TingsuError as error:
        print(f"tingsu: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="deploy.service", description="Serve a bundle that classifies, one that generates, or both."
    )
    parser.add_argument("--bundle", type=Path, help="the bundle's folder; its verdict lies in FOLDER.attest/")
    parser.add_argument("--generate", type=Path, help="a generation bundle's folder, alone or beside --bundle")
    parser.add_argument("--home", type=Path, required=True, help="where keys/gate.pub is")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--host", help="overrides serve.host")
    parser.add_argument("--version", type=int, help="the registered version, shown in answers")
    parser.add_argument(
        "--evaluation", action="store_true", help="serve without a verdict, on loopback only; every answer says so"
    )
    parser.add_argument("--set", action="append", default=[], metavar="serve.key=value")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
