"""Runs a flow from the command line: on the server that `up` started, else on an embedded one."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from data_contracts.errors import StoreUnavailable, TingsuError
from deploy import disk
from deploy.operate import prefect_database
from deploy.store import FolderStore
from flows.environment import await_server, is_up, keep_events, prepare
from flows.session import Session, open_session


def flow_of(name: str, profile: str | None, sets: Sequence[str] | None) -> Callable[..., Any]:
    """The flow `flows.<name>.<name>`, imported after its environment is set.

    Raises:
        ResourceInsufficient: the disk of the home or of the store is full.
        StoreUnavailable: PREFECT_API_URL names a server that does not answer.
    """
    session = open_session(profile, sets=sets or ())
    disk.require(*_places(session))
    await_server(patience_s=0)  # before anything is imported
    if not os.environ.get("PREFECT_API_URL") and not is_up(session.home):
        print("starting an embedded Prefect server (about 15 s; `./tingsu up` keeps one running) …", file=sys.stderr)
        prefect_database.ensure(session.home, session.settings)
    prepare(session.home, session.settings)
    keep_events()
    flow: Callable[..., Any] = getattr(import_module(f"flows.{name}"), name)
    return _explained(flow, session)


def _explained(flow: Callable[..., Any], session: Session) -> Callable[..., Any]:
    """The flow, whose failures for want of a disk or of Prefect's server are ours to say."""

    @wraps(flow)
    def call(*args: Any, **kwargs: Any) -> Any:
        with disk.explained(*_places(session)):
            try:
                return flow(*args, **kwargs)
            except TingsuError:
                raise
            except Exception as error:
                if not _is_of_prefect(error):
                    raise
                await_server(patience_s=0)  # the plainer sentence, if that is all
                raise StoreUnavailable(
                    f"Prefect at {os.environ.get('PREFECT_API_URL', 'its embedded server')} failed: "
                    f"{str(error) or type(error).__name__}. Finished stages are kept: see ./tingsu status, then run again"
                ) from error

    return call


def _is_of_prefect(error: Exception) -> bool:
    """Whether its server, or the way to it, failed; not the code it runs."""
    return type(error).__module__.partition(".")[0] in ("prefect", "httpx") or "Failed to reach API" in str(error)


def _places(session: Session) -> tuple[Path, ...]:
    store = session.store
    return (session.home, store.root) if isinstance(store, FolderStore) else (session.home,)
