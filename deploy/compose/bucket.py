"""`python -P -m deploy.compose.bucket s3://BUCKET ENDPOINT`: make the bucket that the platform keeps everything in, if it is not there."""

import sys
from pathlib import Path

from deploy.s3 import S3Store


def main(url: str, endpoint_url: str) -> None:
    """The bucket is there when this returns."""
    store = S3Store(url, endpoint_url, Path("/tmp/cache"))
    known = {bucket["Name"] for bucket in store.client.list_buckets()["Buckets"]}
    if store.bucket not in known:
        store.client.create_bucket(Bucket=store.bucket)


if __name__ == "__main__":
    main(*sys.argv[1:])
