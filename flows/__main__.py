"""The command line, `./tingsu …`. Nothing heavy is imported before a command needs it."""

import json
import logging
import sys
from io import TextIOWrapper

import typer

from data_contracts.errors import TingsuError, Told
from flows.commands import (
    data,
    datasets,
    generation,
    keys,
    machine,
    models,
    ollama,
    record,
    release,
    retention,
    server,
    service,
)

INTERRUPTED = 130
"""How a shell counts Ctrl-C; Typer ends with it by itself, without a word."""
app = typer.Typer(
    name="tingsu",
    help="Tingsu (听诉): from labelled call transcripts to a complaint classifier in production, with evidence.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for group in (data, datasets, models, release, record, retention, server, service, generation, keys, ollama, machine):
    group.add_to(app)


def _list_whole(group: typer.Typer) -> None:
    """Each command is listed with its whole first sentence; Typer cuts it off in the middle."""
    for command in group.registered_commands:
        text = " ".join((getattr(command.callback, "__doc__", None) or "").split())
        command.short_help = text.partition(". ")[0].rstrip(".") + "."
    for below in group.registered_groups:
        if below.typer_instance is not None:
            below.short_help = below.typer_instance.info.help
            _list_whole(below.typer_instance)


_list_whole(app)


def main() -> int:
    """Run a command; an error of ours is one sentence and its exit code, anything else is a bug and shows its traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("tingsu").setLevel(logging.INFO)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Chinese shows question marks, not a traceback
    try:
        app(prog_name="./tingsu")
    except Told as error:
        _tell(error)
        return error.exit_code
    except TingsuError as error:
        print(f"tingsu: {error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, SystemExit) as ended:
        if isinstance(ended, SystemExit) and ended.code != INTERRUPTED:
            raise
        print("tingsu: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        known = _of_disk(error)
        if known is None:
            raise
        print(f"tingsu: {known}", file=sys.stderr)
        return known.exit_code
    return 0


def _tell(error: Told) -> None:
    """What a submitter or a reviewer is told: a line in each language, and with `--json` the same for a machine."""
    lines = [f"tingsu: {error.said.en}", error.said.zh]
    report = error.answer.get("report")
    print(*lines, *([f"report: {report}"] if report else []), sep="\n", file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps(error.answer, ensure_ascii=False, indent=1, default=str))


def _of_disk(error: Exception) -> TingsuError | None:
    """What a full or unwritable disk makes of any command."""
    from configs.sources import home
    from deploy import disk

    return disk.explain(error, home())


if __name__ == "__main__":
    sys.exit(main())
