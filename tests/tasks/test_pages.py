"""The pages of a Parquet column are found by their own headers, whoever wrote them."""

from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pyarrow import parquet

from tasks import pages, unpacking

TEXTS = [f"第{at}次话费多扣了三十元" * (at % 7 + 1) for at in range(30_000)]
FRAME = pl.DataFrame({"text": TEXTS, "score": list(range(30_000)), "turns": [[text] * 2 for text in TEXTS]})


def by_pyarrow(path: Path, **how: Any) -> None:
    parquet.write_table(FRAME.to_arrow(), path, row_group_size=11_000, data_page_size=50_000, **how)


WRITERS = {
    "polars": lambda path: FRAME.write_parquet(path, row_group_size=11_000, data_page_size=50_000),
    "plain": lambda path: by_pyarrow(path, use_dictionary=False, compression="none"),
    "dictionary": lambda path: by_pyarrow(path, use_dictionary=True, compression="snappy"),
    "version 2": lambda path: by_pyarrow(path, data_page_version="2.0", compression="zstd"),
    "indexed": lambda path: by_pyarrow(path, write_page_index=True, write_page_checksum=True, compression="gzip"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_pages_come_to_what_the_footer_says(tmp_path: Path, writer: str) -> None:
    path = tmp_path / "calls.parquet"
    WRITERS[writer](path)
    metadata = parquet.read_metadata(path)
    told = [
        metadata.row_group(g).column(c) for g in range(metadata.num_row_groups) for c in range(metadata.num_columns)
    ]
    with path.open("rb") as file:
        for chunk in told:
            start = min(chunk.dictionary_page_offset or chunk.data_page_offset, chunk.data_page_offset)
            found = list(pages.of(file, start, chunk.total_compressed_size))

            assert sum(page.values for page in found if not page.is_dictionary) == chunk.num_values
            assert any(page.is_dictionary for page in found) == chunk.has_dictionary_page
            headers = chunk.total_uncompressed_size - sum(page.unpacked for page in found)
            assert 0 < headers < 400 * len(found)


def test_a_row_group_without_rows_has_no_data(tmp_path: Path) -> None:
    path, some = tmp_path / "calls.parquet", FRAME.head(5).to_arrow()
    with parquet.ParquetWriter(path, some.schema) as writer:
        for part in (some, some.slice(0, 0), some):
            writer.write_table(part)
    metadata = parquet.read_metadata(path)
    found = unpacking.chunks(path, metadata, ["text"])

    assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == [5, 0, 5]
    assert [chunk.values for chunk in found] == [5, 0, 5]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\xff" * 40,
        b"\x15\x01\x15\x01\x15\x01\x00",
        b"\x1c" * 40,
        b"\x19" * 60,
        b"\x18\xff\xff\xff\xff\x0f",
    ],
    ids=[
        "nothing",
        "no fields",
        "noise",
        "a size below zero",
        "deep structures",
        "deep lists",
        "a text beyond the end",
    ],
)
def test_what_is_no_page_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        list(pages.of(BytesIO(content), 0, max(1, len(content))))
