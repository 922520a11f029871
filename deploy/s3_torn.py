"""S3 work that was cut or changed on the way, done again; and what killed uploads left, removed.

botocore repeats what S3 refuses (503) and connections that fail before an answer. It does not repeat an answer that is cut in
its body, one that is not what its checksum says, nor an upload that S3 got changed (`BadDigest`).
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

R = TypeVar("R")
TRIES = 3
CHANGED = ("BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody")
STALE = timedelta(hours=24)  # no upload of ours takes a day


def again(work: Callable[[], R]) -> R:
    """The work's result, tried three times where its bytes were cut or changed; anything else is raised at once."""
    from botocore.exceptions import BotoCoreError, ClientError

    for left in range(TRIES - 1, -1, -1):
        try:
            return work()
        except (BotoCoreError, ClientError) as error:
            if not left or not _is_torn(error):
                raise
    raise AssertionError("the last try returns or raises")


def _is_torn(error: Exception) -> bool:
    from botocore import exceptions as of

    if isinstance(error, of.ClientError):
        return error.response["Error"]["Code"] in CHANGED
    return isinstance(error, of.IncompleteReadError | of.ResponseStreamingError | of.FlexibleChecksumError)


def abort_stale(client: Any, bucket: str, prefix: str, is_ours: Callable[[str], bool], end: bool = True) -> int:
    """End our multipart uploads below a prefix that were begun a day ago or more: their processes are dead, and S3 keeps and
    charges for their parts until somebody does. How many; none where this account may not list them.

    Args:
        is_ours: of an object's name; the bucket may be shared with others.
        end: off: only count them.
    """
    from botocore.exceptions import ClientError

    before, ended = datetime.now(UTC) - STALE, 0
    try:
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
            for upload in page.get("Uploads", []):
                if upload["Initiated"] < before and is_ours(upload["Key"]):
                    if end:
                        client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                    ended += 1
    except ClientError:  # housekeeping only: another process was faster, or it is not permitted here
        return ended
    return ended
