"""The store on S3, or any service that speaks it; files are fetched into a local cache once.

A folder's files lie under `<key>/<digest of its listing>/`, so two writers never touch each other's, and its listing is
uploaded last under a condition (`If-None-Match: *`): the first one counts, on whichever machine. AWS S3 ("conditional
writes") and Cloudflare R2 ("conditional operations") document that condition; look it up before using another service.
One that ignores it leaves only what follows it here: the listing is read back, and whoever does not find his own has lost.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from data_contracts.errors import BundleCorrupt, StoreUnavailable
from deploy.s3_torn import abort_stale, again
from deploy.store import LISTING, FolderStore, Measured, listing, sha256_file

P = ParamSpec("P")
R = TypeVar("R")
MULTIPART_BYTES = 8 * 2**20  # boto3 uploads larger files in parts
TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")  # there already, or being written right now

PLACE = re.compile(r"/[0-9a-f]{16}/")  # see `_place`
ABSENT = ("NoSuchKey", "404")


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

    def __init__(self, url: str, endpoint_url: str | None, cache: Path, read_timeout_s: float = 60) -> None:
        import boto3
        from botocore.config import Config

        self.url = url
        self.bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self.prefix = prefix.strip("/")
        self.cache = FolderStore(cache)
        self._compared: set[str] = set()  # folders of the cache that this process has compared with the store
        self._swept = False
        retries = {"max_attempts": 5, "mode": "standard"}
        config = Config(retries=retries, connect_timeout=10, read_timeout=read_timeout_s)
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
                raise self._missing(key)
            self.cache.write(key, data)
        elif owner not in self._compared:
            self._refresh(owner)
        return self.cache.root / key

    def _folder_of(self, key: str) -> str | None:
        """The committed folder that is `key` or holds it."""
        parts = key.split("/")
        above = ["/".join(parts[:n]) for n in range(len(parts), 1, -1)]
        known = (candidate for candidate in above if candidate in self._compared)
        found = (candidate for candidate in above if self._exists(self._at(f"{candidate}/{LISTING}")))
        return next(known, None) or next(found, None)

    def _refresh(self, key: str) -> None:
        """The folder in the cache as it is in the store: another machine may have replaced it, or a disk have cut it."""
        data = self.read(f"{key}/{LISTING}")
        if data is None:
            raise self._missing(key)
        try:
            cached = self.cache.read(f"{key}/{LISTING}")
            is_same = cached is not None and json.loads(cached) == json.loads(data) and bool(self.cache.local(key))
        except (BundleCorrupt, ValueError):
            is_same = False
        if not is_same:
            self.cache.delete(key)
            self._fetch(key, data)
        self._compared.add(key)

    def _fetch(self, key: str, data: bytes) -> None:
        folder = self.cache.scratch(f"fetch/{key}/{os.getpid()}")
        for name, entry in json.loads(data).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not any(self._arrived(f"{_place(key, data)}/{name}", path, entry["sha256"]) for _ in range(2)):
                shutil.rmtree(folder)
                raise self._changed(f"{key}/{name}")
        self.cache.commit(folder, key)

    def _arrived(self, key: str, path: Path, sha256: str) -> bool:
        """Download an object; whether it is what it should be."""
        again(lambda: self.client.download_file(self.bucket, self._at(key), str(path)))
        return sha256_file(path) == sha256

    @_answering
    def part(self, key: str, name: str) -> bytes:
        data = self.read(f"{key}/{LISTING}")
        found = None if data is None else self.read(f"{_place(key, data)}/{name}")
        if data is None or found is None:
            raise self._missing(f"{key}/{name}")
        if hashlib.sha256(found).hexdigest() != json.loads(data)[name]["sha256"]:
            raise self._changed(f"{key}/{name}")
        return found

    def _changed(self, name: str) -> BundleCorrupt:
        return BundleCorrupt(
            f"{self.url}/{name} does not have the SHA-256 of its listing; it was changed or cut in the store"
        )

    def _missing(self, key: str) -> StoreUnavailable:
        return StoreUnavailable(f"{key} is not in the store {self.url}; it was removed, or belongs to another store")

    def verify(self, key: str) -> None:
        self.local(key)
        try:
            self.cache.verify(key)
        except BundleCorrupt:  # this machine's copy is damaged; the store's may be whole
            self.cache.delete(key)
            self._compared.discard(key)
            self.local(key)

    @_answering
    def commit(self, folder: Path, key: str) -> None:
        if self._exists(self._at(f"{key}/{LISTING}")):
            shutil.rmtree(folder)
            return
        files = listing(folder)
        data = json.dumps(files, indent=1).encode()
        place = _place(key, data)
        self._sweep(max((p.stat().st_size for p in folder.rglob("*")), default=0))
        for name in files:
            again(partial(self._upload, folder / name, f"{place}/{name}"))
        if self._claim(f"{key}/{LISTING}", data):
            self._remove_others(key, place)
            self.cache.delete(key)
            self.cache.commit(folder, key)
            self._compared.add(key)
        else:
            shutil.rmtree(folder)
            self._remove(f"{place}/")

    def _upload(self, path: Path, key: str) -> None:
        with path.open("rb") as file:
            self.client.upload_fileobj(file, self.bucket, self._at(key))

    def _sweep(self, largest_bytes: int) -> None:
        """Before the first upload in parts of this process: end those that killed processes left."""
        if largest_bytes >= MULTIPART_BYTES and not self._swept:
            self._swept = True
            abort_stale(self.client, self.bucket, self._at(""), lambda name: bool(PLACE.search(name)))

    def _remove_others(self, key: str, place: str) -> None:
        """What killed or slower writers of a folder left: its listing names one place, and stands for ever."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._at(f"{key}/"))
        kept = (self._at(f"{place}/"), self._at(f"{key}/{LISTING}"))
        for name in [item["Key"] for page in pages for item in page.get("Contents", [])]:
            if not name.startswith(kept):
                self.client.delete_object(Bucket=self.bucket, Key=name)

    def _claim(self, key: str, data: bytes) -> bool:
        """Write what is written once; False if somebody else's is there. The same content from two writers is no loss."""
        from botocore.exceptions import ClientError

        while True:
            try:
                self.client.put_object(Bucket=self.bucket, Key=self._at(key), Body=data, IfNoneMatch="*")
            except ClientError as error:
                if error.response["Error"]["Code"] not in TAKEN:
                    raise
            found = self.read(key)
            if found is not None:  # None: the other writer of a conflict did not finish
                return found == data

    @_answering
    def write(self, key: str, data: bytes) -> None:
        again(lambda: self.client.put_object(Bucket=self.bucket, Key=self._at(key), Body=data))

    @_answering
    def read(self, key: str) -> bytes | None:
        from botocore.exceptions import ClientError

        def whole() -> bytes:
            body: bytes = self.client.get_object(Bucket=self.bucket, Key=self._at(key))["Body"].read()
            return body

        try:
            return again(whole)
        except ClientError as error:
            if error.response["Error"]["Code"] in ABSENT:
                return None
            raise

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
        self._compared.discard(key)
        self.client.delete_object(Bucket=self.bucket, Key=self._at(f"{key}/{LISTING}"))
        self._remove(f"{key}/")
        self.client.delete_object(Bucket=self.bucket, Key=self._at(key))

    @_answering
    def folders(self, prefix: str) -> tuple[str, ...]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self._at(prefix) + "/", Delimiter="/"
        )
        found = [p["Prefix"].rstrip("/") for page in pages for p in page.get("CommonPrefixes", [])]
        cut = len(self.prefix) + 1 if self.prefix else 0
        return tuple(sorted(name[cut:] for name in found))

    @_answering
    def measure(self, key: str) -> Measured:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._at(f"{key}/"))
        found = [item for page in pages for item in page.get("Contents", [])]
        newest_s = max((item["LastModified"].timestamp() for item in found), default=0.0)
        return Measured(sum(item["Size"] for item in found), newest_s)

    @_answering
    def stale_uploads(self, end: bool) -> int:
        return abort_stale(self.client, self.bucket, self._at(""), lambda name: bool(PLACE.search(name)), end)

    def _remove(self, prefix: str) -> None:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._at(prefix)):
            for item in page.get("Contents", []):
                self.client.delete_object(Bucket=self.bucket, Key=item["Key"])

    def scratch(self, key: str) -> Path:
        return self.cache.scratch(key)


def _place(key: str, data: bytes) -> str:
    """Where the files of a listing lie."""
    return f"{key}/{hashlib.sha256(data).hexdigest()[:16]}"
