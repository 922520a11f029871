"""While a candidate is tried, the live instances ask it too what they answered, of a share of the calls: how often the two disagree."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from configs.rollout import CanarySettings
from data_contracts.errors import TingsuError
from deploy.client import Client
from deploy.targets.server_host import Host
from deploy.targets.server_units import Instance

ANSWERS_S = 10.0


def begin(
    host: Host, key: str | None, live: Sequence[Instance], candidates: Sequence[Instance], canary: CanarySettings
) -> None:
    """Have each live instance mirror to one of the candidate's, until nobody looks any more."""
    hold_s = canary.unwatched_s + canary.look_every_s
    for number, one in enumerate(live):
        url = f"http://127.0.0.1:{candidates[number % len(candidates)].port}"
        _tell(host, key, one, lambda client, url=url: client.weigh(0.0, canary.mirror_share, url, hold_s))  # type: ignore[misc]


def end(host: Host, key: str | None, instances: Sequence[Instance]) -> None:
    """Have none of these mirror; all are told at once, as some may hang."""
    with ThreadPoolExecutor(max(len(instances), 1)) as telling:
        list(telling.map(lambda one: _tell(host, key, one, lambda client: client.withdraw(ANSWERS_S)), instances))


def _tell(host: Host, key: str | None, one: Instance, what: Callable[[Client], object]) -> None:
    """One that is down, or of a release that knows no mirror, mirrors nothing: the judge then says that disagreement was not
    measured, and judges by the rest."""
    with suppress(TingsuError), Client(host.reach(one.port), ANSWERS_S, 0.0, key=key) as client:
        what(client)
