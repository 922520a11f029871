"""Kills a process by SIGKILL at a chosen moment of its own work, seen from outside the product: Python's audit events.

`run` forks a clean process, so an attempt costs no imports; `python -m tests.killer MODULE …` runs a module as `python -m`
does. Both kill the process right before an event happens: a file opened, renamed or removed, a request sent.
"""

import json
import os
import re
import runpy
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from deploy.store import LISTING, listing

PLAN = "KILLER_PLAN"
PRELOADED = [
    *("datasets", "peft", "polars", "prefect", "sklearn.linear_model", "torch", "torchao.quantization"),
    *("transformers.trainer", "transformers.models.qwen3.modeling_qwen3", "torch.utils.data"),
]


class Plan(NamedTuple):
    """Die before the `nth` event (from 1) whose text matches; `nth` 0 never dies. Every match is appended to `log`.

    With `victim` that process group is killed instead, such as a server right before the request it was to answer.
    """

    pattern: str
    nth: int = 1
    log: str = ""
    victim: int = 0


def run(target: Callable[..., Any], *arguments: Any, plan: Plan | None = None) -> int:
    """The exit code of `target(*arguments)` in a process of its own: 0, 1 (it raised), or -9 (killed by the plan)."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_under, args=(plan, target, arguments))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _under(plan: Plan | None, target: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    if plan:
        watch(plan)
    target(*arguments)


def watch(plan: Plan) -> None:
    """Install the killer in this process, for good: an audit hook cannot be removed."""
    wanted, seen = re.compile(plan.pattern), 0
    log = os.open(plan.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if plan.log else None

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in TOLD or not wanted.search(text := f"{event} {TOLD[event](arguments)}"):
            return
        seen += 1
        if log is not None:
            os.write(log, text.encode() + b"\n")
        if seen == plan.nth:
            os.killpg(plan.victim, signal.SIGKILL) if plan.victim else os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _open(arguments: tuple[Any, ...]) -> str:
    path, mode, flags = arguments
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    return f"{'w' if writes or (isinstance(mode, str) and set(mode) & set('wax+')) else 'r'} {path}"


def _words(arguments: tuple[Any, ...]) -> str:
    return " ".join(os.fsdecode(a) for a in arguments if isinstance(a, str | bytes | os.PathLike))


def _request(arguments: tuple[Any, ...]) -> str:
    data = arguments[1]
    return data.partition(b"\r\n")[0].decode("latin1") if isinstance(data, bytes) else ""


TOLD: dict[str, Callable[[tuple[Any, ...]], str]] = {
    "open": _open,
    **dict.fromkeys(
        ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "sqlite3.connect"), _words
    ),
    **dict.fromkeys(("shutil.rmtree", "shutil.copytree", "shutil.copyfile"), _words),
    "http.client.send": _request,
}


def stages_of(store: Path) -> dict[str, bytes]:
    """Stage key → its record, of every finished stage; each must be whole to the last byte.

    A record holds when the stage was finished, so one that stays the same was not done again.
    """
    found = {}
    for record in sorted(store.glob("stages/*/*/record.json")):
        folder = record.parent
        assert json.loads((folder / LISTING).read_bytes()) == listing(folder), f"{folder} is not whole"
        found[folder.relative_to(store).as_posix()] = record.read_bytes()
    return found


def told(log: Path) -> Iterator[str]:
    """The events a plan has logged."""
    with suppress(FileNotFoundError):
        yield from log.read_text().splitlines()


if __name__ == "__main__":
    if PLAN in os.environ:
        watch(Plan(*json.loads(os.environ.pop(PLAN))))
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
