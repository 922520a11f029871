"""A service that runs on an expired emergency verdict goes on, and says so in its log every hour until somebody acts."""

import asyncio
import logging
from itertools import count

from deploy.service.slots import Slots

log = logging.getLogger(__name__)
LOOK_S = 60.0
EVERY = 60  # looks


async def watch(slots: Slots, look_s: float = LOOK_S) -> None:
    """Look until cancelled."""
    started = -1
    for turn in count():
        said = slots.overdue
        if said is None:
            started = turn
        elif (turn - started) % EVERY == 1:
            log.error(
                "emergency verdict expired",
                extra={"operator": said.operator, "expires_at": said.expires_at, "bundle": said.bundle_digest[:12]},
            )
        await asyncio.sleep(look_s)
