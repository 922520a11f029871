"""What a target serves that its record here does not know: put there by hand, from another home, or before the record was lost."""

from collections.abc import Callable
from typing import NamedTuple

from data_contracts.errors import ConfigurationError, RolloutFailed, TingsuError
from deploy.targets import Placed, Record, Target

Known = Callable[[str], Placed]
"""The version of this home's registry whose bundle's digest begins so, as a target can run it; raises a TingsuError where there is
none, or it may not serve."""


class Found(NamedTuple):
    """`live`: what answers at the endpoint and is not what the record says; None: nothing else does."""

    endpoint: str
    live: Placed | None


def found(target: Target, record: Record, known: Known) -> Found:
    """What to go back to if a rollout fails, asked of the target itself.

    Raises:
        RolloutFailed: it serves a bundle that this home knows nothing of, or that may not serve, or it cannot be told which; nothing
            was touched.
        EngineUnavailable: the target does not answer.
    """
    now = target.status()
    if now.untold and record.live is None:
        raise RolloutFailed(
            f"{target.name} does not say what it serves, and this home has no record of it, so an undo could not bring it back and "
            f"nothing was touched: {now.untold}"
        )
    if now.serving is None or (record.live and record.live.bundle_digest.startswith(now.serving)):
        return Found(now.endpoint, None)
    try:
        return Found(now.endpoint, known(now.serving))
    except TingsuError as error:
        said = (
            f"the record of this home says version {record.live.version}"
            if record.live
            else "this home has no record of it"
        )
        raise RolloutFailed(
            f"{target.name} serves bundle {now.serving[:12]} at {now.endpoint}, and {said}: {error}. An undo could not bring it back, "
            "so nothing was touched. Roll out from the home that put it there; or end it first, and then run this again: "
            f"{target.clear}"
        ) from error


def none(digest: str) -> Placed:
    """Knows no version. Raises: ConfigurationError."""
    raise ConfigurationError(f"no version of this home's registry has bundle {digest[:12]}")
