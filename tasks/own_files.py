"""Files of the submitter's own: beside each other, readable by their owner alone, there when they are whole."""

import errno
import filecmp
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from data_contracts.errors import WrongRequest
from data_contracts.messages import told

_NO_LINKS = (errno.ENOTSUP, errno.EPERM, errno.ENOSYS)  # a FAT stick, a share of Windows, a mounted bucket


class beside:
    """A new file beside another, readable by its owner alone; it is gone afterwards."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def __enter__(self) -> Path:
        fd, name = tempfile.mkstemp(dir=self._out.parent, prefix=".tmp-", suffix=self._out.suffix)
        os.close(fd)
        self._made = Path(name)
        return self._made

    def __exit__(self, *error: object) -> None:
        self._made.unlink(missing_ok=True)


def appear(files: Mapping[Path, Path]) -> None:
    """Each file under its name, in their order; one that is there already must hold the same.

    Raises:
        WrongRequest: it holds something else.
    """
    for made, out in files.items():
        if os.path.lexists(out) and (not out.is_file() or not filecmp.cmp(out, made, shallow=False)):
            raise _taken(out)
    for made, out in files.items():
        if not os.path.lexists(out):
            try:
                _put(made, out)
            except FileExistsError as error:
                raise _taken(out) from error


def _taken(out: Path) -> WrongRequest:
    is_dangling = out.is_symlink() and not out.exists()
    return WrongRequest(told("fix_dangling" if is_dangling else "fix_taken", out=out))


def _put(made: Path, out: Path) -> None:
    """Whole, or not at all, and over nothing that is there."""
    try:
        os.link(made, out)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(out, os.O_CREAT | os.O_EXCL, 0o600))  # the name is taken first, so that nothing is replaced
        os.replace(made, out)
