"""What a failed write means: a full disk and a read-only one are told from a bug, in whichever words a library said it."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_contracts.errors import ResourceInsufficient, StoreUnavailable, TingsuError

FULL = (errno.ENOSPC, errno.EDQUOT)
SHUT = (errno.EROFS, errno.EACCES, errno.EPERM)
# SQLite, safetensors, PyTorch and Arrow pass the system's words on, not its number.
FULL_WORDS = ("No space left on device", "disk is full", "Disk quota exceeded", "not enough space on the disk")
SHUT_WORDS = ("Read-only file system", "readonly database", "Permission denied")
SPARE_BYTES = 64 * 1024
START_BYTES = 64 * 2**20  # Prefect's and MLflow's databases alone are 10 MB; one cut off in its making is never mended


def require(*places: Path) -> None:
    """Return if there is room to begin in each place.

    Raises:
        ResourceInsufficient: names the place, what it has and what is needed.
    """
    for place in places:
        free = _free_bytes(place)
        if free < START_BYTES:
            raise ResourceInsufficient(
                f"the disk of {place} has {free / 2**20:.0f} MB left, too few to begin: {START_BYTES // 2**20} MB are "
                "needed. Free space there, then run the same command again"
            )


def unwritable(what: object, error: OSError) -> TingsuError:
    """The error to raise when `what` (a path, or words) could not be written."""
    if error.errno in FULL:
        return ResourceInsufficient(
            f"cannot write {what}: {error.strerror}. Free space there, then run the same command again: it goes on "
            "where it stopped"
        )
    return StoreUnavailable(
        f"cannot write {what}: {error.strerror or error}. Mend the permissions or the mount, then run again"
    )


@contextmanager
def explained(*places: Path) -> Iterator[None]:
    """Any failure of the block that a full or unwritable disk caused says so.

    Raises:
        ResourceInsufficient, StoreUnavailable: in place of what the library said.
    """
    try:
        yield
    except Exception as error:
        found = explain(error, *places)
        if found is None:
            raise
        raise found from error


def explain(error: BaseException, *places: Path) -> TingsuError | None:
    """The error a failure stands for if a full or unwritable disk caused it, else None.

    Args:
        places: where the failed work was writing. PyTorch only says that a writer failed; the disk itself tells why.
    """
    if isinstance(error, TingsuError):  # said already
        return None
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in (*FULL, *SHUT):
            return unwritable(cause.filename or _fullest(places), cause)
        text = str(cause)
        if any(words in text for words in FULL_WORDS):
            return _full(places, cause)
        if any(words in text for words in SHUT_WORDS):
            return StoreUnavailable(f"{_first_line(text)}. Mend the permissions or the mount of {places[0]}, run again")
    is_full = any(_free_bytes(place) < SPARE_BYTES for place in places)
    return _full(places, error) if is_full else None


def _full(places: tuple[Path, ...], cause: BaseException) -> ResourceInsufficient:
    return ResourceInsufficient(
        f"the disk of {_fullest(places)} is full ({_first_line(str(cause))}). Free space there, then run the same "
        "command again: it goes on where it stopped"
    )


def _fullest(places: tuple[Path, ...]) -> Path:
    return min(places, key=_free_bytes)


def _free_bytes(place: Path) -> int:
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[0][:200]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and everything it was raised from or during."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
