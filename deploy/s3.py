"""The store on S3, or any service that speaks it; files are fetched into a local cache once.

A folder's listing is uploaded last, so a folder that is only half there has none and does not exist.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from data_contracts.errors import BundleCorrupt, StoreUnavailable
from deploy.store import LISTING, FolderStore, listing, sha256_file

P = ParamSpec("P")
R = TypeVar("R")


def _answering(method: Callable[P, R]) -> Callable[P, R]:
    """Say what to do when S3 does not answer or refuses."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return method(*args, **kwargs)
        except (BotoCoreError, ClientError, Boto3Error) as error:
            place = getattr(args[0], "url", "s3")
            raise StoreUnavailable(
                f"the store {place} does not answer: {error}. Check store.url, store.endpoint_url and the credentials"
            ) from error

    return call


class S3Store:
    """A store under `s3://bucket/prefix`. Credentials come from boto3's usual places."""

    def __init__(self, url: str, endpoint_url: str | None, cache: Path) -> None:
        import boto3
        from botocore.config import Config

        self.url = url
        self.bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self.prefix = prefix.strip("/")
        self.cache = FolderStore(cache)
        config = Config(retries={"max_attempts": 5, "mode": "standard"}, connect_timeout=10, read_timeout=60)
        self.client: Any = boto3.client("s3", endpoint_url=endpoint_url, config=config)

    def _at(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    @_answering
    def has(self, key: str) -> bool:
        return self._exists(self._at(f"{key}/{LISTING}")) or self._exists(self._at(key))

    def _exists(self, name: str) -> bool:
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=name, MaxKeys=1).get("Contents", [])
        return bool(found) and found[0]["Key"] == name

    @_answering
    def local(self, key: str) -> Path:
        owner = self._folder_of(key)
        if owner is None:
            data = self.read(key)
            if data is None:
                raise StoreUnavailable(
                    f"{key} is not in the store {self.url}; it was removed, or belongs to another store"
                )
            self.cache.write(key, data)
            return self.cache.root / key
        if not self.cache.has(owner):
            self._fetch(owner)
        return self.cache.root / key

    def _folder_of(self, key: str) -> str | None:
        """The committed folder that is `key` or holds it."""
        parts = key.split("/")
        for n in range(len(parts), 1, -1):
            candidate = "/".join(parts[:n])
            if self.cache.has(candidate) and (self.cache.root / candidate).is_dir():
                return candidate
            if self._exists(self._at(f"{candidate}/{LISTING}")):
                return candidate
        return None

    def _fetch(self, key: str) -> None:
        folder = self.cache.scratch(f"fetch/{key}/{os.getpid()}")
        files = json.loads(self.read(f"{key}/{LISTING}") or b"{}")
        for name, entry in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self.client.download_file(self.bucket, self._at(f"{key}/{name}"), str(path))
            if sha256_file(path) != entry["sha256"]:
                shutil.rmtree(folder)
                raise BundleCorrupt(
                    f"{self.url}/{key}/{name} does not have the SHA-256 of its listing; it was changed or cut in the store"
                )
        self.cache.commit(folder, key)

    @_answering
    def commit(self, folder: Path, key: str) -> None:
        if self._exists(self._at(f"{key}/{LISTING}")):
            shutil.rmtree(folder)
            return
        files = listing(folder)
        for name in files:
            self.client.upload_file(str(folder / name), self.bucket, self._at(f"{key}/{name}"))
        self.write(f"{key}/{LISTING}", json.dumps(files, indent=1).encode())
        self.cache.commit(folder, key)

    @_answering
    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self._at(key), Body=data)

    @_answering
    def read(self, key: str) -> bytes | None:
        if not self._exists(self._at(key)):
            return None
        body: bytes = self.client.get_object(Bucket=self.bucket, Key=self._at(key))["Body"].read()
        return body

    @_answering
    def keys(self, prefix: str) -> Iterator[str]:
        names: set[str] = set()
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self._at(prefix) + "/", Delimiter="/"
        )
        for page in pages:
            names |= {p["Prefix"].rstrip("/") for p in page.get("CommonPrefixes", [])} | {
                o["Key"] for o in page.get("Contents", [])
            }
        cut = len(self.prefix) + 1 if self.prefix else 0
        return iter(sorted(n[cut:] for n in names if self.has(n[cut:])))

    @_answering
    def delete(self, key: str) -> None:
        self.cache.delete(key)
        self.client.delete_object(Bucket=self.bucket, Key=self._at(f"{key}/{LISTING}"))
        for page in self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self._at(key) + "/"
        ):
            for item in page.get("Contents", []):
                self.client.delete_object(Bucket=self.bucket, Key=item["Key"])
        self.client.delete_object(Bucket=self.bucket, Key=self._at(key))

    def scratch(self, key: str) -> Path:
        return self.cache.scratch(key)
