"""What an operator may tell a running service (scope `admin`): to serve another bundle."""

import asyncio
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Body, FastAPI
from pydantic import Field

from data_contracts.errors import BundleCorrupt, ConfigurationError, GateRefused
from data_contracts.schema import Frozen
from deploy.service.answers import Served
from deploy.service.problems import Refused
from deploy.service.slot import How, NotLoaded, ReloadRuns, Slot, TooLittleMemory
from deploy.service.slots import Slots

RELOAD = "/admin/reload"
Opener = Callable[[Path, int | None], Served]
"""Opens and permits a bundle (a folder and its registered version) exactly as at the start of the service."""
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


class Reload(Frozen):
    """`bundle`: a folder on the service's machine, its verdict beside it; `drain`: close the bundle before first."""

    bundle: str = Field(min_length=1, max_length=4096)
    version: int | None = Field(default=None, ge=1)
    drain: bool = False


class Reloaded(Frozen):
    """What serves now. `how`: `kept` if it served already; seconds of loading and MB of its engine. `until_restart`: a service that is
    started again serves what it is started with, `--bundle` or `serve.model_path`."""

    model_version: str
    until_restart: Literal[True] = True
    how: How
    load_time_s: float
    memory_mb: float


def add_admin(app: FastAPI, slots: Slots, opener: Opener) -> None:
    """Add the routes below /admin."""

    @app.post(RELOAD, response_model=Reloaded)
    async def reload(asked: Annotated[Reload, Body(openapi_examples=EXAMPLES)]) -> Reloaded:
        """Serve another bundle: load, probe and warm it beside the one that serves, then switch at once.

        Answers when it is done. Every request is answered whole by one bundle, and none is lost. It lasts until the service is
        restarted: what it is started with then is `--bundle` or `serve.model_path`; `./tingsu deploy` changes both.

        切换只在本次运行内有效：服务重启后加载的是 `--bundle` 或 `serve.model_path` 指定的模型包；用 `./tingsu deploy` 可同时更换两者。
        """
        slot = slots.classifier_slot
        how = await _reload(slot, lambda: opener(Path(asked.bundle), asked.version), asked.drain)
        worker = slot.current.worker
        return Reloaded(
            model_version=slot.current.served.model_version,
            how=how,
            load_time_s=round(worker.load_s, 3),
            memory_mb=round(worker.usage.memory_mb, 1),
        )


async def _reload(slot: Slot, opened: Callable[[], Served], drain: bool) -> How:
    """Raises: Refused: it was not done; says why."""
    wait_s = slot.current.worker.retry_after_s
    try:
        return await slot.reload(opened, drain)
    except ReloadRuns as error:
        raise Refused(409, "reload_running", wait_s, seconds=ceil(wait_s)) from error
    except TooLittleMemory as no:
        numbers = {"needed": no.needed_mb, "free": no.memory.free_mb, "limit": no.memory.limit_mb}
        raise Refused(507, "reload_gpu_memory" if no.is_gpu else "reload_memory", **numbers) from no
    except NotLoaded as no:
        refused = isinstance(no.cause, GateRefused | BundleCorrupt | ConfigurationError)
        code = "reload_undone" if not no.is_kept else "reload_refused" if refused else "reload_failed"
        raise Refused(422, code, reason=no.cause) from no
    except asyncio.CancelledError as error:
        raise Refused(503, "stopping", wait_s) from error
