"""Settings that change while the service runs: the home's `settings.yaml` is looked at every few seconds, and at once on SIGHUP.

What was edited since the start counts, whatever `--set` said then; the environment still comes before the file. A file that is wrong
changes nothing and says why, in the log and in /model_info. Content is compared, not the file: a ConfigMap swaps a link.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from configs.serving import ServeSettings
from configs.settings import Settings
from configs.sources import OWN, load
from data_contracts.errors import ConfigurationError
from data_contracts.schema import Frozen
from deploy.service import logs

log = logging.getLogger(__name__)
POLL_S = 2.0
GENERATE = "generate."
CHANGEABLE = frozenset(
    {"batch_tokens", "max_wait_ms", "queue_calls", "deadline_s", "max_calls_per_request", "max_turns", "max_body_mb"}
    | {"client_timeout_s", "start_timeout_s", "review_below", "review_categories"}
    | {GENERATE + name for name in ("queue", "wait_s", "limit_s", "silence_s", "answer_tokens", "thinking_tokens")}
)
"""Of `serve`; and all of `log`. Rates of keys are in the key file, which counts at once anyway."""


class SettingsInfo(Frozen):
    """`changed` since the start and in force, `waiting` for a restart; `problem`: why the file as it is now is not in force;
    `at`: when it was last taken over or refused."""

    file: str
    at: str
    changed: tuple[str, ...]
    waiting: tuple[str, ...]
    problem: str | None


class Live:
    """The settings of one running service."""

    def __init__(self, home: Path, started: Settings, tune: Callable[[ServeSettings], None]) -> None:
        """`tune` puts other settings in force where they are kept, or raises ConfigurationError."""
        self.serve = started.serve
        self.info = SettingsInfo(file=str(home / OWN), at=_now(), changed=(), waiting=(), problem=None)
        self._home = home
        self._started = started
        self._tune = tune
        self._before = read(home)
        self._seen = self._there = self._content()

    async def watch(self) -> None:
        """Look until cancelled. A terminal's hangup still ends a service in the foreground."""
        hup = asyncio.Event()
        if sys.stdin is None or not sys.stdin.isatty():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hup.set)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await hup.wait()
            try:
                self.look(at_once=hup.is_set())
            except (
                Exception
            ) as error:  # the outermost boundary of this task: whoever edits the file next is heard again
                self._refuse(f"internal error ({type(error).__name__}); the log says where")
                log.error("unexpected", extra={"error": type(error).__name__, "where": logs.where(error)})
            hup.clear()

    def look(self, at_once: bool = False) -> None:
        """Take the file over if it is another one; not in the middle of its being written, unless asked to."""
        before, self._there = self._there, self._content()
        if not at_once and (self._there == self._seen or self._there != before):
            return
        self._seen = self._there
        try:
            self._take(read(self._home))
        except (ConfigurationError, ValidationError) as error:
            self._refuse(str(error))

    def _refuse(self, reason: str) -> None:
        self.info = self.info.model_copy(update={"problem": reason, "at": _now()})
        log.error("settings not taken over", extra={"reason": reason})

    def _take(self, now: Settings) -> None:
        before, started = _flat(self._before.serve), _flat(self._started.serve)
        moved = {name: value for name, value in _flat(now.serve).items() if value != before[name]}
        taken = {name: value for name, value in moved.items() if name in CHANGEABLE}
        waiting = [n for n, v in moved.items() if n not in CHANGEABLE and v != started[n]]
        serve = _nested(started | taken)
        self._tune(serve)
        self.serve = serve
        logs.tune(now.log)
        changed = [f"serve.{n}" for n, v in taken.items() if v != started[n]]
        changed += [f"log.{n}" for n, v in now.log if v != getattr(self._started.log, n)]
        self.info = SettingsInfo(
            file=self.info.file,
            at=_now(),
            changed=tuple(sorted(changed)),
            waiting=tuple(sorted(f"serve.{n}" for n in waiting)),
            problem=None,
        )
        log.info("settings taken over", extra=self.info.model_dump(include={"changed", "waiting"}))

    def _content(self) -> bytes | None:
        with suppress(OSError):
            return (self._home / OWN).read_bytes()
        return None


def _flat(serve: ServeSettings) -> dict[str, Any]:
    """Every setting by its name below `serve`, those of slot `generate` as generate.NAME."""
    own = dict(serve)
    return own | {GENERATE + name: value for name, value in own.pop("generate")}


def _nested(flat: Mapping[str, Any]) -> ServeSettings:
    inner = {name.removeprefix(GENERATE): value for name, value in flat.items() if name.startswith(GENERATE)}
    own = {name: value for name, value in flat.items() if not name.startswith(GENERATE)}
    return ServeSettings.model_validate({**own, "generate": inner})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def read(home: Path, sets: tuple[str, ...] = ()) -> Settings:
    """The settings of this home, as its file and the environment give them.

    Raises:
        ConfigurationError: unknown, wrong, or no YAML.
    """
    return load(sets=sets, env={**os.environ, "TINGSU_HOME": str(home)})
