"""A model made elsewhere, from its folder to a signed verdict: every step may be killed, and the next start goes on from there."""

import logging
from pathlib import Path
from typing import NamedTuple

from data_contracts.artifacts import GenerationVerdict
from data_contracts.errors import TingsuError
from deploy import bundle, disk
from flows.run import tracker
from flows.session import Session
from tasks import admit, adopt, imported, smoke, stages
from tasks.adopt import Adopted
from tasks.smoke import Smoke

log = logging.getLogger("tingsu")


class Brought(NamedTuple):
    """`folder`: what a service is started on; None where it may not be. `warning`: why MLflow does not know of it."""

    folder: Path | None
    verdict: GenerationVerdict
    warning: str


def bring(path: Path, session: Session) -> Brought:
    """Bundle it, try it out on this machine, judge and sign. A bundle that fails is taken out of the store again, unless it was let
    in before and may be serving.

    Raises:
        ConfigurationError, ModelLoadError: it is no model that can be bundled; says what to do.
        EngineUnavailable, ResourceInsufficient: it does not run here.
    """
    settings, store, home = session.settings, session.store, session.home
    with disk.explained(home):
        log.info("linking and hashing %s …", path)
        adopted = adopt.adopt(path, store)
        log.info("trying bundle %s out with engine %s …", adopted.bundle.digest[:12], adopted.facts.engine)
        was_let_in = admit.is_let_in(adopted, store, home)
        try:
            verdict = _judged(adopted, session)
        except TingsuError:
            if not was_let_in:
                store.delete(adopted.bundle.key)
            raise
        warning = imported.log(tracker(settings, home), adopted, verdict, settings, store)
        if verdict.decision == "PROMOTE":
            return Brought(bundle.place(store, adopted.bundle), verdict, warning)
        if not was_let_in:
            store.delete(adopted.bundle.key)
        return Brought(None, verdict, warning)


def _judged(adopted: Adopted, session: Session) -> GenerationVerdict:
    """The verdict of its trial, signed."""
    settings, store = session.settings, session.store
    key = stages.stage_key("smoke", {"0": adopted.bundle, "1": settings.serve}, smoke)
    tried = stages.run(store, key, Smoke, lambda work: smoke.smoke(adopted.bundle, settings.serve, work=work)).result
    return admit.admit(adopted, tried, settings.serve.generate, settings.profile, store, session.home)
