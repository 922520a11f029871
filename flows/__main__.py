"""The command line, `./tingsu …`. Nothing heavy is imported before a command needs it."""

import logging
import sys

import typer

from data_contracts.errors import TingsuError
from flows.commands import data, machine, models, release, service

app = typer.Typer(
    name="tingsu",
    help="Tingsu (听诉): from labelled call transcripts to a complaint classifier in production, with evidence.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for group in (data, models, release, service, machine):
    group.add_to(app)


def main() -> int:
    """Run a command; an error of ours is one sentence and its exit code, anything else is a bug and shows its traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("tingsu").setLevel(logging.INFO)
    try:
        app(prog_name="./tingsu")
    except TingsuError as error:
        print(f"tingsu: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("tingsu: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
