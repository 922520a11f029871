"""The table of calls that datasets, sides and the gold set are stored as."""

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

CALLS = "calls.parquet"
ABOUT = ("input_text", "complaint_category", "confidence_score", "started_at", "channel", "region")
COLUMNS = ("conversation_id", "group", *ABOUT)


def content_digest(calls: "pl.DataFrame") -> str:
    """SHA-256 over the rows of a calls table, in their order."""
    digest = hashlib.sha256()
    for row in calls.select(COLUMNS).iter_rows():
        digest.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def own_group(conversation_id: str) -> str:
    """The group of a call whose customer nobody knows."""
    return hashlib.sha256(f"conversation {conversation_id}".encode()).hexdigest()[:16]
