"""Files of the submitter's own: beside each other, readable by their owner alone, there when they are whole."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from data_contracts.errors import ConfigurationError


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
    """Each file under its name; one that is there already must hold the same.

    Raises:
        ConfigurationError: it holds something else.
    """
    for made, out in files.items():
        if out.exists() and (not out.is_file() or out.read_bytes() != made.read_bytes()):
            raise ConfigurationError(
                f"--fix: {out} is there already and holds something else; name another file, or remove it"
            )
    for made, out in files.items():
        if not out.exists():
            os.link(made, out)
