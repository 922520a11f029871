"""What an operator may tell a running service (scope `admin`): to serve another bundle, or to try one beside what serves."""

import asyncio
from collections.abc import Awaitable, Callable
from math import ceil
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

from fastapi import Body, FastAPI
from pydantic import Field

from data_contracts.errors import BundleCorrupt, ConfigurationError, GateRefused
from data_contracts.schema import Frozen
from deploy.client import Client
from deploy.service.answers import Served
from deploy.service.loading import Wanted
from deploy.service.problems import Refused
from deploy.service.room import CandidateServes, NotLoaded, ReloadRuns, TooLittleMemory, Withdrawn
from deploy.service.slot import How, Slot
from deploy.service.slots import Slots
from deploy.service.state import CandidateInfo, candidate

RELOAD, CANDIDATE, PREVIOUS = "/admin/reload", "/admin/candidate", "/admin/previous"
Opener = Callable[[Path, int | None], Served]
"""Opens and permits a bundle (a folder and its registered version) exactly as at the start of the service."""
T = TypeVar("T")
EXAMPLES = {
    "beside": {
        "summary": "新旧并存，切换时不中断",
        "value": {"bundle": "/srv/tingsu/store/bundles/3fa9c1d2e4b5", "version": 13},
    },
    "drained": {
        "summary": "内存不足时先停旧的",
        "value": {"bundle": "/srv/tingsu/store/bundles/3fa9c1d2e4b5", "version": 13, "drain": True},
    },
}


class Desk(NamedTuple):
    """What the routes below /admin need beside the slots. `mirror`: a client of the service at a URL."""

    open: Opener
    mirror: Callable[[str], Client]


class Beside(Frozen):
    """`bundle`: a folder on the service's machine, its verdict beside it."""

    bundle: str = Field(min_length=1, max_length=4096)
    version: int | None = Field(default=None, ge=1)


class Reload(Beside):
    """`drain`: close the bundle before first; `keep_previous`: leave it loaded, for a way back that takes no time."""

    drain: bool = False
    keep_previous: bool = False


class Reloaded(Frozen):
    """What serves now. `how`: `kept` if it served already, `at_once` if it was loaded already; seconds of loading and MB of its engine.
    `until_restart`: a service that is started again serves what it is started with, `--bundle` or `serve.model_path`."""

    model_version: str
    until_restart: Literal[True] = True
    how: How
    load_time_s: float
    memory_mb: float


class Weight(Frozen):
    """`share` of the requests that go to the candidate; `mirror_share`: of the requests that the champion answers and the candidate
    is asked too, afterwards: the one at `mirror_url` (another service), or the one in this service. Both end `hold_s` seconds later, if
    they are not given again: whoever watches the candidate looks more often than that."""

    share: float = Field(ge=0, lt=1)
    mirror_share: float = Field(default=0.0, ge=0, le=1)
    mirror_url: str = Field(default="", max_length=2000)
    hold_s: float | None = Field(default=None, gt=0)


class Beheld(Frozen):
    """The candidate, null if there is none."""

    candidate: CandidateInfo | None


def add_admin(app: FastAPI, slots: Slots, desk: Desk) -> None:
    """Add the routes below /admin."""

    @app.post(RELOAD, response_model=Reloaded)
    async def reload(asked: Annotated[Reload, Body(openapi_examples=EXAMPLES)]) -> Reloaded:
        """Serve another bundle: load, probe and warm it beside the one that serves, then switch at once. The candidate and the one
        before are loaded already.

        Answers when it is done. Every request is answered whole by one bundle, and none is lost. It lasts until the service is
        restarted: what it is started with then is `--bundle` or `serve.model_path`; `./tingsu deploy` changes both.

        切换只在本次运行内有效：服务重启后加载的是 `--bundle` 或 `serve.model_path` 指定的模型包；用 `./tingsu deploy` 可同时更换两者。
        """
        slot = slots.classifier_slot
        how = await _done(slot, slot.reload(_wanted(asked, desk), asked.drain, asked.keep_previous), "reload")
        worker = slot.current.worker
        return Reloaded(
            model_version=slot.current.served.model_version,
            how=how,
            load_time_s=round(worker.load_s, 3),
            memory_mb=round(worker.usage.memory_mb, 1),
        )

    _add_candidate(app, slots, desk)


def _add_candidate(app: FastAPI, slots: Slots, desk: Desk) -> None:
    @app.post(CANDIDATE, response_model=Beheld)
    async def stage(asked: Beside) -> Beheld:
        """Load a candidate beside the one that serves, with no share of the requests. Answers when it is loaded."""
        slot = slots.classifier_slot
        await _done(slot, slot.stage(_wanted(asked, desk)), "candidate")
        return Beheld(candidate=candidate(slot))

    @app.put(CANDIDATE, response_model=Beheld)
    async def weigh(asked: Weight) -> Beheld:
        """Give the candidate a share of the requests: each goes to it with this chance. A mirror at a URL needs none here."""
        slot = slots.classifier_slot
        if slot.candidate is None and (asked.share or not asked.mirror_url):
            raise Refused(404, "candidate_missing")
        slot.mirror.tune(asked.mirror_share, _remote(asked, desk))
        slot.share.give(asked.share, asked.hold_s)
        return Beheld(candidate=candidate(slot))

    @app.delete(CANDIDATE, response_model=Beheld)
    async def withdraw() -> Beheld:
        """Take its share at once, and close it when it has answered what it was asked. Also ends a mirror."""
        slot = slots.classifier_slot
        slot.mirror.tune(0.0, None)
        await slot.withdraw()
        return Beheld(candidate=None)

    @app.delete(PREVIOUS, response_model=Beheld)
    async def forget() -> Beheld:
        """Close the bundle that served before, if it is loaded still."""
        slot = slots.classifier_slot
        await slot.forget()
        return Beheld(candidate=candidate(slot))


def _wanted(asked: Beside, desk: Desk) -> Wanted:
    folder = Path(asked.bundle)
    return Wanted(folder, asked.version, lambda: desk.open(folder, asked.version))


def _remote(asked: Weight, desk: Desk) -> Client | None:
    """Raises: Refused: it is no URL."""
    if not asked.mirror_url:
        return None
    try:
        return desk.mirror(asked.mirror_url)
    except ConfigurationError as error:
        raise Refused(422, "mirror_url", reason=error) from error


async def _done(slot: Slot, change: Awaitable[T], what: Literal["reload", "candidate"]) -> T:
    """Raises: Refused: it was not done; says why."""
    wait_s = slot.current.worker.retry_after_s
    try:
        return await change
    except ReloadRuns as error:
        raise Refused(409, "reload_running", wait_s, seconds=ceil(wait_s)) from error
    except CandidateServes as error:
        raise Refused(409, "candidate_serves") from error
    except Withdrawn as error:
        raise Refused(409, "candidate_withdrawn") from error
    except TooLittleMemory as no:
        raise _too_little(no, what) from no
    except NotLoaded as no:
        refused = isinstance(no.cause, GateRefused | BundleCorrupt | ConfigurationError)
        code = "reload_undone" if not no.is_kept else "reload_refused" if refused else "reload_failed"
        raise Refused(422, code, reason=no.cause) from no
    except asyncio.CancelledError as error:
        raise Refused(503, "stopping", wait_s) from error


def _too_little(no: TooLittleMemory, what: Literal["reload", "candidate"]) -> Refused:
    code = "candidate_memory" if what == "candidate" else "reload_gpu_memory" if no.is_gpu else "reload_memory"
    return Refused(507, code, needed=no.needed_mb, free=no.memory.free_mb, limit=no.memory.limit_mb)
