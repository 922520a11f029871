"""The store's promises, the same for a folder and for S3 (a real S3 server on loopback)."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_contracts.errors import BundleCorrupt, StoreUnavailable
from deploy.s3 import S3Store
from deploy.store import FolderStore, Store


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    for _ in range(300):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    endpoint = request.getfixturevalue("s3_endpoint")
    bucket = f"b{abs(hash(tmp_path)) % 10**9}"
    s3 = S3Store(f"s3://{bucket}/team", endpoint, tmp_path / "cache")
    s3.client.create_bucket(Bucket=bucket)
    return s3


def _folder(tmp_path: Path, text: str = "one") -> Path:
    folder = tmp_path / f"in-{text}"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a.txt").write_text(text)
    return folder


def test_a_missing_key_is_an_error_that_names_it(store: Store) -> None:
    with pytest.raises(StoreUnavailable, match="datasets/none"):
        store.local("datasets/none")


def test_a_committed_folder_comes_back_whole(store: Store, tmp_path: Path) -> None:
    store.commit(_folder(tmp_path), "datasets/x")

    assert store.has("datasets/x")
    assert (store.local("datasets/x") / "sub/a.txt").read_text() == "one"
    assert store.local("datasets/x/sub/a.txt").read_text() == "one"
    assert list(store.keys("datasets")) == ["datasets/x"]


def test_the_first_content_of_a_key_is_kept(store: Store, tmp_path: Path) -> None:
    store.commit(_folder(tmp_path, "one"), "stages/x")
    store.commit(_folder(tmp_path, "two"), "stages/x")

    assert (store.local("stages/x") / "sub/a.txt").read_text() == "one"


def test_deleted_is_gone(store: Store, tmp_path: Path) -> None:
    store.commit(_folder(tmp_path), "stages/x")
    store.write("notes/y.json", b"{}")
    store.delete("stages/x")
    store.delete("notes/y.json")

    assert not store.has("stages/x")
    assert store.read("notes/y.json") is None


def test_small_files_are_read_back(store: Store) -> None:
    assert store.read("bundles/d.attest/verdict.json") is None
    store.write("bundles/d.attest/verdict.json", b"{}")

    assert store.read("bundles/d.attest/verdict.json") == b"{}"
    assert store.local("bundles/d.attest/verdict.json").read_bytes() == b"{}"


def test_a_cut_file_is_detected(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.commit(_folder(tmp_path, "long text"), "stages/x")
    (tmp_path / "store/stages/x/sub/a.txt").write_text("cut")

    with pytest.raises(BundleCorrupt, match=r"sub/a\.txt"):
        store.local("stages/x")


def test_a_changed_object_is_detected(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    one = S3Store("s3://tampered", s3_endpoint, tmp_path / "cache-one")
    one.client.create_bucket(Bucket="tampered")
    one.commit(_folder(tmp_path), "bundles/x")
    one.client.put_object(Bucket="tampered", Key="bundles/x/sub/a.txt", Body=b"two")

    with pytest.raises(BundleCorrupt, match="SHA-256"):
        S3Store("s3://tampered", s3_endpoint, tmp_path / "cache-two").local("bundles/x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_store_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o500)

    with pytest.raises(StoreUnavailable, match="Free space or mend the permissions"):
        FolderStore(tmp_path / "store").write("a/b", b"x")
