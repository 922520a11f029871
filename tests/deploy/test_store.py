"""The store's promises, the same for a folder and for S3 (a real S3 server on loopback)."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_contracts.errors import BundleCorrupt, StoreUnavailable
from deploy.s3 import S3Store
from deploy.store import FolderStore, Store
from tests import s3_server

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with s3_server.serving() as url:
        yield url


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The endpoint, for who holds the credentials."""
    for name, value in s3_server.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return s3_endpoint


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path / "store")
    endpoint = request.getfixturevalue("s3")
    bucket = f"b{abs(hash(tmp_path)) % 10**9}"
    made = S3Store(f"s3://{bucket}/team", endpoint, tmp_path / "cache")
    made.client.create_bucket(Bucket=bucket)
    return made


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


def test_a_changed_object_is_detected(s3: str, tmp_path: Path) -> None:
    one = S3Store("s3://tampered", s3, tmp_path / "cache-one")
    one.client.create_bucket(Bucket="tampered")
    one.commit(_folder(tmp_path), "bundles/x")
    (name,) = [
        item["Key"] for item in one.client.list_objects_v2(Bucket="tampered")["Contents"] if "a.txt" in item["Key"]
    ]
    one.client.put_object(Bucket="tampered", Key=name, Body=b"two")

    with pytest.raises(BundleCorrupt, match="SHA-256"):
        S3Store("s3://tampered", s3, tmp_path / "cache-two").local("bundles/x")


def test_a_damaged_copy_of_an_s3_folder_is_fetched_again(s3: str, tmp_path: Path) -> None:
    one = S3Store("s3://cached", s3, tmp_path / "cache")
    one.client.create_bucket(Bucket="cached")
    one.commit(_folder(tmp_path, "whole"), "stages/x")
    (tmp_path / "cache/stages/x/sub/a.txt").write_text("cut")
    again = S3Store("s3://cached", s3, tmp_path / "cache")  # what the next process makes

    assert (again.local("stages/x") / "sub/a.txt").read_text() == "whole"


def test_a_changed_byte_in_the_copy_of_an_s3_folder_costs_only_the_copy(s3: str, tmp_path: Path) -> None:
    one = S3Store("s3://flipped", s3, tmp_path / "cache")
    one.client.create_bucket(Bucket="flipped")
    one.commit(_folder(tmp_path, "whole"), "stages/x")
    (tmp_path / "cache/stages/x/sub/a.txt").write_text("whale")

    one.verify("stages/x")

    assert (one.local("stages/x") / "sub/a.txt").read_text() == "whole"


def test_a_copy_of_a_folder_that_the_store_no_longer_has_is_not_used(s3: str, tmp_path: Path) -> None:
    one, other = (S3Store("s3://replaced", s3, tmp_path / cache) for cache in ("one", "other"))
    one.client.create_bucket(Bucket="replaced")
    one.commit(_folder(tmp_path, "first"), "stages/x")
    other.delete("stages/x")
    other.commit(_folder(tmp_path, "second"), "stages/x")
    again = S3Store("s3://replaced", s3, tmp_path / "one")

    assert (again.local("stages/x") / "sub/a.txt").read_text() == "second"


RACER = """
import sys, time
from pathlib import Path
from deploy.s3 import S3Store
from deploy.store import FolderStore
url, endpoint, place, name, start = sys.argv[1:]
store = S3Store(url, endpoint, Path(place) / name) if endpoint else FolderStore(Path(url))
for at in range(12):
    folder = Path(place) / f"{name}-{at}"
    folder.mkdir()
    (folder / "gold.parquet").write_text(name * 1000)
    (folder / "manifest.json").write_text(name)
    time.sleep(max(0.0, float(start) + at * 0.4 - time.time()))
    store.commit(folder, f"gold/{at}")
    seen = store.local(f"gold/{at}")
    print(at, (seen / "manifest.json").read_text(), (seen / "gold.parquet").read_text()[:1], flush=True)
"""


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_two_processes_that_commit_one_key_at_once_see_the_same_first_content(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, endpoint = str(tmp_path / "store"), ""
    if kind == "s3":
        url, endpoint = "s3://race", request.getfixturevalue("s3")
        S3Store(url, endpoint, tmp_path / "none").client.create_bucket(Bucket="race")
    start = str(time.time() + 3)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, url, endpoint, str(tmp_path), name, start],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for name in "ab"
    ]
    one, other = (racer.communicate(timeout=60)[0].splitlines() for racer in racers)

    assert [racer.returncode for racer in racers] == [0, 0]
    assert len(one) == 12
    assert one == other
    assert all(line.split()[1] == line.split()[2] for line in one)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_store_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o500)

    with pytest.raises(StoreUnavailable, match="Free space or mend the permissions"):
        FolderStore(tmp_path / "store").write("a/b", b"x")
