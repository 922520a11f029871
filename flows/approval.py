"""A release that waits for a person: the flow pauses, and is answered on Prefect's page or by `./tingsu approve` and `reject`."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import httpx
from prefect import pause_flow_run, resume_flow_run
from prefect.context import FlowRunContext
from prefect.exceptions import FlowPauseTimeout, NotPausedError, PrefectHTTPStatusError
from prefect.input import RunInput
from pydantic import Field

from configs.settings import Settings
from data_contracts.artifacts import Release
from data_contracts.errors import ApprovalAwaited, RolloutFailed
from deploy import targets
from flows.release import Awaited
from flows.steps import release
from tasks import rollout
from tasks.versions import Registry

PATIENCE_S = 7 * 86400
LOOK_S = 2
log = logging.getLogger("tingsu")


class Decision(RunInput):
    """What Prefect's page asks for. It knows no users of its own, so `who` is what is typed there."""

    approve: bool
    who: str = Field(min_length=1)
    why: str = Field(min_length=1)


def released(at: Registry, version: int, settings: Settings) -> Release | Awaited:
    """The release, once a person said yes where one is asked; without a server to pause on, what is awaited.

    Raises:
        RolloutFailed: rejected, or undone for another reason.
        ApprovalAwaited: nobody answered in a week; the rollout still waits.
    """
    outcome = release(at, version, settings)
    if isinstance(outcome, Release) or not os.environ.get("PREFECT_API_URL"):
        return outcome
    log.warning("%s; or answer on Prefect's page of this run", outcome.sentence)
    _ask(at, version, settings)
    return release(at, version, settings)


def _ask(at: Registry, version: int, settings: Settings) -> None:
    """Return once it is approved.

    Raises: RolloutFailed: it is rejected, and undone.
    """
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None  # called by a flow
    asked = rollout.record(settings, at.home)
    try:
        with _also_answered_elsewhere(context.flow_run.id, at, settings):
            decision = pause_flow_run(
                wait_for_input=Decision, timeout=PATIENCE_S, poll_interval=LOOK_S, key=uuid4().hex
            )
    except FlowPauseTimeout as error:
        raise ApprovalAwaited(targets.waits(asked)) from error
    record = rollout.record(settings, at.home)
    if record.id != asked.id or record.is_finished:  # taken back meanwhile, by `reject` or `undo`
        raise RolloutFailed(record.steps[-1].note or f"version {version} was rolled out anew meanwhile")
    if rollout.answer(settings, at.home) is not None or decision is None:
        return
    by = f"{decision.who} (on Prefect's page)"
    if decision.approve:
        rollout.approve(version, decision.why, settings, at.home, by=by)
    else:
        raise RolloutFailed(rollout.withdraw(decision.why, settings, at.home, by=by).steps[-1].note)


@contextmanager
def _also_answered_elsewhere(run: UUID, at: Registry, settings: Settings) -> Iterator[None]:
    """While the block runs, an answer on the command line resumes the flow run."""
    stop = Event()
    watcher = Thread(target=_watch, args=(stop, run, at, settings), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _watch(stop: Event, run: UUID, at: Registry, settings: Settings) -> None:
    while not stop.wait(LOOK_S):
        word = rollout.answer(settings, at.home)
        if word is None and not rollout.record(settings, at.home).is_finished:
            continue
        said: dict[str, Any] = {"approve": word is not None and word.kind == "approve", "who": "-", "why": "-"}
        if word is not None:
            said |= {"who": word.by or "-", "why": word.why or "-"}
        # not paused yet or any more, or a server that is being restarted: tried again until the pause ends
        with suppress(NotPausedError, PrefectHTTPStatusError, httpx.TransportError, RuntimeError, FlowPauseTimeout):
            resume_flow_run(run, run_input=said)
