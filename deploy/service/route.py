"""Which classifier a request goes to: the current one or, by chance, the candidate; decided here and nowhere else.

A candidate that cannot answer costs nobody an answer: the current one is asked then, and the failure counts against the candidate.
"""

import random
import time
from collections.abc import Mapping
from typing import Literal, get_args

from fastapi import Request

from data_contracts.errors import EngineUnavailable
from data_contracts.schema import Call
from deploy.client import SIDE
from deploy.service.answers import Answer
from deploy.service.attend import arrived_s
from deploy.service.classifier import Classifier
from deploy.service.problems import Refused
from deploy.service.refusals import DeadlineExceeded
from deploy.service.slot import Slot

Named = Literal["champion", "candidate", "mirror"]
"""What the header `X-Tingsu-Side` may say: one of the sides, or that the request is a copy and counts nowhere."""
NAMED: Mapping[str, Named] = {side: side for side in get_args(Named)}


def named(request: Request) -> Named | None:
    """The side a request names, if it does.

    Raises:
        Refused: it is none, or the key may not name one.
    """
    said = request.headers.get(SIDE)
    if said is None:
        return None
    scopes = request.scope["state"]["scopes"]
    if scopes is not None and "admin" not in scopes:
        raise Refused(403, "side_refused", scopes=", ".join(scopes))
    side = NAMED.get(said)
    if side is None:
        raise Refused(422, "side_unknown", side=said[:40], known=", ".join(NAMED))
    return side


def of(slot: Slot, side: Named | None) -> Classifier:
    """The classifier of a side; the current one where none is named.

    Raises:
        Refused: there is no candidate.
    """
    if side != "candidate":
        return slot.current
    if slot.candidate is None:
        raise Refused(404, "candidate_missing")
    return slot.candidate


async def classify(request: Request, slot: Slot, calls: tuple[Call, ...]) -> list[Answer]:
    """Answers in the order of the calls, all by one classifier.

    Raises:
        Refused: the header names a side that it may not, or that is not here.
        EngineUnavailable, ResourceInsufficient: as Classifier.classify.
    """
    side, state = named(request), request.scope["state"]
    if side is not None:
        state["side"] = None if side == "mirror" else side
        return await of(slot, side).classify(calls, arrived_s(request), state["side"])
    candidate = slot.drawn(random.random())
    if candidate is not None:
        state["side"] = "candidate"
        try:
            return await candidate.classify(calls, arrived_s(request), "candidate")
        except DeadlineExceeded:
            raise
        except EngineUnavailable:
            slot.metrics.fell(request.scope["path"], "candidate")
        state["side"], state["since_s"] = "champion", time.monotonic()
    found = await slot.current.classify(calls, arrived_s(request), "champion")
    slot.mirror.offer(calls, found)
    return found
