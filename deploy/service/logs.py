"""JSON lines on stderr: what happened, how big, how long. Never what was said."""

import json
import logging
import os
import random
import re
import stat
import sys
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from configs.serving import LogSettings

STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}
STDOUT, STDERR = 1, 2


class JsonLines(logging.Formatter):
    """One JSON object a record; what was passed as `extra` becomes its fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "event": _event(record),
            **{k: v for k, v in vars(record).items() if k not in STANDARD},
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            line["where"] = where(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)


class Rolling(logging.StreamHandler):  # type: ignore[type-arg]
    """stderr. Where that is a log file of a service in the background, it is put aside when it has grown, and a new one begun.

    The service does it itself, by pointing its stderr to the new file: no line is lost or written twice, and no second program is
    needed. Where stderr is a pipe (systemd, a container), whoever reads it keeps and rotates.
    """

    def __init__(self, folder: Path, settings: LogSettings) -> None:
        """`folder`: where logs of background processes are; a file elsewhere is somebody's own."""
        super().__init__(sys.stderr)
        self.setFormatter(JsonLines())
        self.settings = settings
        self._folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        there = os.fstat(STDERR)
        if stat.S_ISREG(there.st_mode) and there.st_size > self.settings.max_mb * 2**20:
            with suppress(OSError):  # then the file grows on
                self._roll()

    def _roll(self) -> None:
        file = Path(f"/proc/self/fd/{STDERR}").readlink()
        if file.parent != self._folder.resolve() or not file.exists():
            return
        for number in range(self.settings.kept, 1, -1):
            with suppress(FileNotFoundError):
                _numbered(file, number - 1).replace(_numbered(file, number))
        file.replace(_numbered(file, 1))
        fresh = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if os.path.sameopenfile(STDOUT, STDERR):
            os.dup2(fresh, STDOUT)
        os.dup2(fresh, STDERR)
        os.close(fresh)


def _event(record: logging.LogRecord) -> str:
    """asyncio's own messages quote what a callback was given, or what a task failed with: they are cut before that."""
    said = record.getMessage()
    return re.split(r"[(\n]", said, maxsplit=1)[0] if record.name == "asyncio" else said


def _numbered(file: Path, number: int) -> Path:
    return file.with_name(f"{file.name}.{number}")


def where(error: BaseException | None) -> list[str]:
    """The frames of an exception without its message, which may quote a transcript."""
    return (
        [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)[-12:]] if error else []
    )


def last_word(error: BaseException) -> None:
    """Say on stderr what ends the engine's process, where no log was set up: its kind and place, not its message."""
    said = {"level": "ERROR", "event": "engine failed", "error": type(error).__name__, "where": where(error)}
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    print(json.dumps({"at": at, **said}), file=sys.stderr, flush=True)


def to_stderr(settings: LogSettings, folder: Path) -> None:
    """Send every log record of this process to stderr as JSON; `folder`: as Rolling."""
    logging.basicConfig(level=settings.level, handlers=[Rolling(folder, settings)], force=True)


def takes_text() -> bool:
    """Whether the text of a call may go into the log now: of that share of calls that was asked for, by lot."""
    shares = [h.settings.text_share for h in logging.getLogger().handlers if isinstance(h, Rolling)]
    return random.random() < max(shares, default=0.0)


def tune(settings: LogSettings) -> None:
    """Change level and sizes while running."""
    root = logging.getLogger()
    root.setLevel(settings.level)
    for handler in root.handlers:
        if isinstance(handler, Rolling):
            handler.settings = settings
