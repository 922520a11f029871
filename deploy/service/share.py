"""The candidate's part of the requests: it ends by itself where nobody looks any more, and then what serves answers all."""

import asyncio
import logging

from deploy.service.mirror import Mirror

log = logging.getLogger(__name__)


class Share:
    """`now`: the chance, in [0, 1), with which a request is the candidate's. `has_lapsed`: it ended because nobody gave it again."""

    def __init__(self, mirror: Mirror) -> None:
        self.now = 0.0
        self.has_lapsed = False
        self._mirror = mirror
        self._end: asyncio.TimerHandle | None = None

    def give(self, share: float, hold_s: float | None = None) -> None:
        """From now on; it and the mirror end in `hold_s` seconds unless it is given again, None: they stay."""
        self.take()
        self.now = share
        if hold_s is not None:
            self._end = asyncio.get_running_loop().call_later(hold_s, self._lapse, hold_s)

    def take(self) -> None:
        """There is none, and none that lapsed."""
        self.now, self.has_lapsed = 0.0, False
        if self._end is not None:
            self._end.cancel()

    def _lapse(self, hold_s: float) -> None:
        log.warning("nobody looks at the candidate: its share ended", extra={"share": self.now, "hold_s": hold_s})
        self.now, self.has_lapsed = 0.0, True
        self._mirror.tune(0.0, None)
