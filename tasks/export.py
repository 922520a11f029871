"""Write a dataset's calls to a file of the user's: under the contract's column names, whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.artifacts import Dataset
from data_contracts.errors import ConfigurationError
from deploy import disk
from deploy.store import Store
from tasks import catalog, spreadsheet
from tasks.calls import ABOUT, own_group

if TYPE_CHECKING:
    import polars as pl

KINDS = (".csv", ".jsonl", ".ndjson", ".parquet")


def export(store: Store, dataset: Dataset, out: Path, force: bool = False) -> int:
    """Write the calls to `out` in the format of its suffix, readable by its owner alone; how many there are.

    Cells that a spreadsheet would run get an apostrophe in CSV; JSONL and Parquet hold the calls as they are.

    Raises:
        ConfigurationError: another suffix, the file is there and may not be overwritten, or there is no such folder.
        ResourceInsufficient, StoreUnavailable: the disk is full or not writable.
    """
    kind = out.suffix.lower()
    if kind not in KINDS:
        raise ConfigurationError(f"--out {out} ends in {out.suffix!r}; allowed: {', '.join(KINDS)}")
    if not out.parent.is_dir():
        raise ConfigurationError(f"--out {out}: there is no folder {out.parent}; make it first")
    if out.is_dir():
        raise ConfigurationError(f"--out {out} is a folder; name a file")
    if out.exists() and not force:
        raise _there(out)
    calls = contract_columns(store, dataset)
    with disk.explained(out.parent):
        _written(out, force, lambda path: _write(calls, kind, path))
    return int(calls.height)


def contract_columns(store: Store, dataset: Dataset) -> "pl.DataFrame":
    """The calls as they would be submitted. `customer_id` is what stands for the customer here; empty where none is known."""
    import polars as pl

    calls = catalog.calls_of(store, dataset)
    alone = pl.Series("alone", [own_group(name) for name in calls["conversation_id"]], pl.String)
    return calls.with_columns(alone).select(
        "conversation_id",
        pl.when(pl.col("group") != pl.col("alone")).then("group").alias("customer_id"),
        *ABOUT,
        pl.lit(dataset.synthetic).alias("synthetic"),
    )


def _write(calls: "pl.DataFrame", kind: str, path: Path) -> None:
    if kind == ".csv":
        spreadsheet.inert(calls).write_csv(path, include_bom=True)
    elif kind == ".parquet":
        calls.write_parquet(path)
    else:
        calls.write_ndjson(path)


def _written(out: Path, force: bool, write: Callable[[Path], None]) -> None:
    """The file appears whole, and only where there is none unless `force`."""
    fd, name = tempfile.mkstemp(dir=out.parent, prefix=".tmp-", suffix=out.suffix)
    os.close(fd)
    beside = Path(name)
    try:
        write(beside)
        with beside.open("rb") as f:
            os.fsync(f.fileno())
        if force:
            os.replace(beside, out)
        else:
            _placed(beside, out)
    finally:
        beside.unlink(missing_ok=True)


def _placed(beside: Path, out: Path) -> None:
    """Give the file its name; unlike a rename, a link fails where another command was faster."""
    try:
        os.link(beside, out)
    except FileExistsError as error:
        raise _there(out) from error
    except OSError:  # a file system without links, such as a USB stick's
        os.replace(beside, out)


def _there(out: Path) -> ConfigurationError:
    return ConfigurationError(f"--out {out} is there already; name another file, or say --force to replace it")
