"""Runs a flow from the command line: on the server that `up` started, else on an embedded one."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from flows.environment import is_up, prepare
from flows.session import open_session


def flow_of(name: str, profile: str, sets: Sequence[str] | None) -> Callable[..., Any]:
    """The flow `flows.<name>.<name>`, imported after its environment is set."""
    session = open_session(profile, sets=sets or ())
    if not is_up(session.home):
        print("starting an embedded Prefect server (about 15 s; `./tingsu up` keeps one running) …", file=sys.stderr)
    prepare(session.home, session.settings)
    flow: Callable[..., Any] = getattr(import_module(f"flows.{name}"), name)
    return flow
