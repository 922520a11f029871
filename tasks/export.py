"""Write a dataset's calls to a file of the user's: under the contract's column names, whole or not at all."""

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.artifacts import Dataset
from data_contracts.errors import WrongRequest
from data_contracts.messages import told
from deploy import disk
from deploy.store import Store
from tasks import catalog, spreadsheet
from tasks.calls import ABOUT, own_group, write

if TYPE_CHECKING:
    import polars as pl

KINDS = (".csv", ".jsonl", ".ndjson", ".parquet")


def export(store: Store, dataset: Dataset, out: Path, force: bool = False) -> int:
    """Write the calls to `out` in the format of its suffix, readable by its owner alone; how many there are.

    Cells that a spreadsheet would run get an apostrophe in CSV; JSONL and Parquet hold the calls as they are.

    Raises:
        WrongRequest: another suffix, the file is there and may not be overwritten, or there is no such folder.
        ResourceInsufficient, StoreUnavailable: the disk is full or not writable.
    """
    kind = out.suffix.lower()
    if kind not in KINDS:
        raise WrongRequest(told("export_suffix", out=out, suffix=out.suffix, allowed=", ".join(KINDS)))
    if not out.parent.is_dir():
        raise WrongRequest(told("export_folder", out=out, folder=out.parent))
    if out.is_dir():
        raise WrongRequest(told("export_is_folder", out=out))
    if out.exists() and not force:
        raise _there(out)
    calls = catalog.parts(store, dataset)
    with disk.explained(out.parent):
        _written(out, force, lambda path: _write((contract_columns(part, dataset) for part in calls), kind, path))
    return dataset.accepted


def contract_columns(calls: "pl.DataFrame", dataset: Dataset) -> "pl.DataFrame":
    """Calls as they would be submitted. `customer_id` is what stands for the customer here; empty where none is known."""
    import polars as pl

    alone = pl.Series("alone", [own_group(name) for name in calls["conversation_id"]], pl.String)
    return calls.with_columns(alone).select(
        "conversation_id",
        pl.when(pl.col("group") != pl.col("alone")).then("group").alias("customer_id"),
        *ABOUT,
        pl.lit(dataset.synthetic).alias("synthetic"),
    )


def _write(parts: "Iterable[pl.DataFrame]", kind: str, path: Path) -> None:
    """One part after the other: a million calls are never held together."""
    if kind == ".parquet":
        write(path, parts)
        return
    with path.open("wb") as file:
        for at, calls in enumerate(parts):
            if kind == ".csv":
                spreadsheet.inert(calls).write_csv(file, include_bom=at == 0, include_header=at == 0)
            else:
                calls.write_ndjson(file)


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


def _there(out: Path) -> WrongRequest:
    return WrongRequest(told("export_there", out=out))
