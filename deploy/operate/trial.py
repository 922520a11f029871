"""What a staged candidate must show before it gets traffic: every endpoint, its golden requests over HTTP, and a short load."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from data_contracts.errors import EngineUnavailable, TingsuError
from data_contracts.schema import Call
from deploy import bundle
from deploy.bundle import Golden
from deploy.client import Client
from deploy.operate import verify
from deploy.operate.verify import Check

LOAD_CALLERS, LOAD_CALLS = 4, 40


class Where(NamedTuple):
    """A service, the key it is shown, and the side of it that is meant: see `Client`."""

    url: str
    key: str | None = None
    side: str = ""


def endpoints(where: Where, digest: str, timeout_s: float) -> None:
    """Return if every endpoint there answers, and this bundle does.

    Raises:
        EngineUnavailable: names every check that failed.
    """
    _require(verify.verify(where.url, timeout_s, digest, where.key, where.side), where, digest)


def require(where: Where, folder: Path, digest: str, timeout_s: float) -> None:
    """Return if what is staged there answers as its bundle says it must.

    Args:
        folder: the bundle, on this machine; `digest`: its.
        timeout_s: for one request.

    Raises:
        EngineUnavailable: names every check that failed.
        BundleCorrupt: the folder holds no golden requests.
    """
    golden = bundle.golden(folder)
    endpoints(where, digest, timeout_s)
    with Client(where.url, timeout_s, timeout_s, key=where.key, side=where.side) as client:
        _require([verify.check("golden requests", lambda: _golden(client, golden))], where, digest)
    _require([verify.check("short load", lambda: _load(where, golden, timeout_s))], where, digest)


def _require(checks: Sequence[Check], where: Where, digest: str) -> None:
    failed = "; ".join(f"{check.name}: {check.detail}" for check in checks if check.outcome == "failed")
    if failed:
        raise EngineUnavailable(f"bundle {digest[:12]} at {where.url} fails its check: {failed}")


def _golden(client: Client, golden: Sequence[Golden]) -> str:
    answers = client.classify([Call(text=one.text) for one in golden])
    for number, (one, answer) in enumerate(zip(golden, answers, strict=True), start=1):
        for category, expected in one.probabilities.items():
            found = answer["probabilities"][category]
            if not abs(found - expected) <= one.tolerance:
                raise verify.Wrong(
                    f"call {number} of {len(golden)} gives {category!r} {found:.4f}, the bundle says {expected:.4f} ± "
                    f"{one.tolerance:g}"
                )
    return f"{len(golden)} answered as the bundle says"


def _load(where: Where, golden: Sequence[Golden], timeout_s: float) -> str:
    """Single calls from several callers at once; all of them are answered."""

    def ask(call: Call) -> float:
        began = time.monotonic()
        with Client(where.url, timeout_s, 0.0, key=where.key, side=where.side) as client:
            client.classify([call])
        return time.monotonic() - began

    calls = islice(cycle(Call(text=one.text) for one in golden), LOAD_CALLS)
    with ThreadPoolExecutor(LOAD_CALLERS) as callers:
        asked = [callers.submit(ask, call) for call in calls]
    errors = [error for one in asked if (error := one.exception()) is not None]
    for error in errors:
        if not isinstance(error, TingsuError):
            raise error
    if errors:
        raise verify.Wrong(f"{len(errors)} of {LOAD_CALLS} calls from {LOAD_CALLERS} callers failed: {errors[0]}")
    return f"{LOAD_CALLS} calls, the slowest {max(one.result() for one in asked):.2f} s"
