"""A release that waits for a person: a flow run of its own pauses, answered on Prefect's page or by `./tingsu approve` and `reject`.

Of its own, below the run that asks: a paused run loses its deployment's concurrency slot, and Prefect 3.8.8 ends whoever lost that
within four minutes.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Literal
from uuid import UUID, uuid4

import httpx
from prefect import flow, pause_flow_run, resume_flow_run
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.context import FlowRunContext
from prefect.exceptions import FailedRun, FlowPauseTimeout, NotPausedError, PrefectHTTPStatusError
from prefect.input import RunInput
from prefect.input.actions import filter_flow_run_input
from prefect.states import Cancelled
from pydantic import Field

from configs.settings import Settings
from data_contracts.artifacts import Release
from data_contracts.errors import ApprovalAwaited, RolloutFailed
from deploy import targets
from deploy.targets import Record
from flows.environment import await_server
from flows.release import Awaited
from flows.steps import release
from tasks import question, rollout
from tasks.versions import Registry

PATIENCE_S = 7 * 86400
LOOK_S = 2
log = logging.getLogger("tingsu")


class Decision(RunInput):
    """What Prefect's page asks for. It knows no users of its own, so `who` is what is typed there."""

    answer: Literal["approve", "reject"] = Field(title="Answer 答复")
    who: str = Field(min_length=1, title="Your name 姓名")
    why: str = Field(min_length=1, title="Reason 理由")


def released(at: Registry, version: int, settings: Settings) -> Release | Awaited:
    """The release, once a person said yes where one is asked; without a server to pause on, what is awaited.

    Raises:
        RolloutFailed: rejected, or undone for another reason.
        ApprovalAwaited: nobody answered in a week; the rollout still waits.
    """
    outcome = release(at, version, settings)
    if isinstance(outcome, Release) or not os.environ.get("PREFECT_API_URL"):
        return outcome
    log.warning("%s; or answer on Prefect's page, where a run of flow approval is paused", outcome.sentence)
    _ask(at, version, settings)
    return release(at, version, settings)


def _ask(at: Registry, version: int, settings: Settings) -> None:
    """Return once it is approved.

    Raises: RolloutFailed: it is rejected, and undone.
    """
    asked = rollout.record(settings, at.home)
    name = f"version {version} on {asked.target}, rollout {asked.id}"
    await_server()
    try:
        decision: Decision | None = flow(name="approval", flow_run_name=name, persist_result=False)(
            lambda: _answered(name, asked, at, settings)
        )()
    except (FlowPauseTimeout, FailedRun) as error:  # FailedRun: the week was over when its worker came back
        raise ApprovalAwaited(targets.waits(asked)) from error
    record = rollout.record(settings, at.home)
    if record.id != asked.id or record.is_finished:  # taken back meanwhile, by `reject` or `undo`
        elsewhere = f"version {version} is not live: its rollout to {asked.target} was taken back for another one; see ./tingsu history"
        raise RolloutFailed(record.steps[-1].note if record.id == asked.id else elsewhere)
    if rollout.answer(settings, at.home) is not None or decision is None:
        return
    by = f"{decision.who} (on Prefect's page)"
    if decision.answer == "approve":
        rollout.approve(version, decision.why, settings, at.home, by=by)
    else:
        raise RolloutFailed(rollout.withdraw(decision.why, settings, at.home, by=by).steps[-1].note)


def _answered(name: str, asked: Record, at: Registry, settings: Settings) -> Decision | None:
    """What a person decides; at once, if that was while nobody listened, since the worker had died. Called by a flow."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    run = context.flow_run.id
    if rollout.answer(settings, at.home) is not None:
        return None
    earlier = _earlier(name, run)
    if earlier is not None:
        return earlier
    form = Decision.with_initial_data(description=question.markdown(at.home, asked))
    with _also_answered_elsewhere(run, asked, at, settings):
        said: Decision = pause_flow_run(form, timeout=PATIENCE_S, poll_interval=LOOK_S, key=uuid4().hex)
    return said


def _earlier(name: str, own: UUID) -> Decision | None:
    """The answer to an earlier asking of the same; one that still stands on the page, where nobody would hear it, is closed."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])))
        for run in runs:
            said = filter_flow_run_input("paused-", limit=100, flow_run_id=run.id)
            answers = [each for each in said if each.key.endswith("-response")]
            if answers:
                found: Decision = Decision.model_validate(answers[-1].decoded_value)
                return found
            if run.id != own and run.state is not None and run.state.is_paused():
                client.set_flow_run_state(run.id, Cancelled(message="its process ended; it is asked anew"))
    return None


@contextmanager
def _also_answered_elsewhere(run: UUID, asked: Record, at: Registry, settings: Settings) -> Iterator[None]:
    """While the block runs, an answer on the command line resumes the flow run."""
    stop = Event()
    watcher = Thread(target=_watch, args=(stop, run, asked, at, settings), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _watch(stop: Event, run: UUID, asked: Record, at: Registry, settings: Settings) -> None:
    while not stop.wait(LOOK_S):
        word, record = rollout.answer(settings, at.home), rollout.record(settings, at.home)
        if word is None and not record.is_finished and record.id == asked.id:
            continue
        is_yes = word is not None and word.kind == "approve"
        said = {"answer": "approve" if is_yes else "reject", "who": "-", "why": "-"}
        if word is not None:
            said |= {"who": word.by or "-", "why": word.why or "-"}
        # not paused yet or any more, or a server that is being restarted: tried again until the pause ends
        with suppress(NotPausedError, PrefectHTTPStatusError, httpx.TransportError, RuntimeError, FlowPauseTimeout):
            resume_flow_run(run, run_input=said)
