"""A store on S3 while S3 is busy, slow, cut off or wrong: it ends well, or says so and shows nothing half."""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data_contracts.errors import BundleCorrupt, StoreUnavailable
from deploy.s3 import S3Store
from deploy.store import LISTING
from tests import killer, s3_server
from tests.faulty_s3 import Fault, Way
from tests.killer import Plan

BIG = 9 * 2**20  # two parts
BUCKET = "faults"


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W+", "-", request.node.name)


def open_store(url: str, prefix: str, cache: Path, read_timeout_s: float = 60) -> S3Store:
    store = S3Store(f"s3://{BUCKET}/{prefix}", url, cache, read_timeout_s)
    store.client.create_bucket(Bucket=BUCKET)
    return store


def folder(at: Path, size: int = 3000) -> Path:
    made = at / f"in-{size}"
    (made / "sub").mkdir(parents=True)
    (made / "sub/data").write_bytes(os.urandom(size))
    (made / "manifest.json").write_text("{}")
    return made


def objects(store: S3Store) -> list[str]:
    found = store.client.list_objects_v2(Bucket=BUCKET, Prefix=store.prefix).get("Contents", [])
    return [item["Key"].removeprefix(f"{store.prefix}/") for item in found]


def uploads(store: S3Store) -> list[str]:
    found = store.client.list_multipart_uploads(Bucket=BUCKET, Prefix=store.prefix).get("Uploads", [])
    return [item["Key"] for item in found]


UPLOAD = r"^PUT .*/sub/data"
CLAIM = rf"^PUT .*{re.escape(LISTING)}"
FETCH = r"^GET /[^?]*/sub/data"
PASSING = {
    "busy while a file goes up": Fault(UPLOAD, "busy", 2),
    "lost while a file goes up": Fault(UPLOAD, "lost", 2),
    "changed while a file goes up": Fault(UPLOAD, "digest", 2),
    "slow while a file goes up": Fault(UPLOAD, "slow", 1, seconds=1.5),
    "busy at the claim": Fault(CLAIM, "busy", 2),
    "lost at the claim": Fault(CLAIM, "lost", 1),
    "its answer cut at the claim": Fault(CLAIM, "cut", 1),
    "busy while a file comes": Fault(FETCH, "busy", 2),
    "cut while a file comes": Fault(FETCH, "cut", 2),
    "slow while a file comes": Fault(FETCH, "slow", 1, seconds=1.5),
    "changed while a file comes": Fault(FETCH, "change", 1),
    "the listing cut": Fault(rf"^GET /[^?]*{re.escape(LISTING)}", "cut", 1),
    "the listing changed": Fault(rf"^GET /[^?]*{re.escape(LISTING)}", "change", 1),
    "busy when asked what there is": Fault(r"^GET /faults\?list-type", "busy", 2),
}


OFTEN = ("lost while a file goes up", "changed while a file goes up", "its answer cut at the claim")
OFTEN += ("cut while a file comes", "changed while a file comes", "slow while a file comes", "the listing changed")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in OFTEN else pytest.mark.slow) for name in PASSING]
)
def test_a_fault_that_passes_leaves_no_trace(way: Way, prefix: str, tmp_path: Path, name: str) -> None:
    one, other = (open_store(way.url, prefix, tmp_path / at, read_timeout_s=1) for at in ("one", "other"))
    made = folder(tmp_path)
    data = (made / "sub/data").read_bytes()
    way.faults.append(fault := Fault(**vars(PASSING[name])))

    one.commit(made, "datasets/x")
    assert (other.local("datasets/x") / "sub/data").read_bytes() == data
    assert way.met and not fault.times


@pytest.mark.parametrize(("kind", "times"), [("busy", 99), ("lost", 99), ("digest", 99)])
def test_an_upload_that_never_succeeds_says_so_and_leaves_nothing_to_be_seen(
    way: Way, prefix: str, tmp_path: Path, kind: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # botocore's pauses between its tries
    store = open_store(way.url, prefix, tmp_path / "cache")
    way.faults.append(fault := Fault(UPLOAD, kind, times))  # type: ignore[arg-type]

    with pytest.raises(StoreUnavailable, match=f"s3://{BUCKET}"):
        store.commit(folder(tmp_path), "datasets/x")
    fault.times = 0
    assert not store.has("datasets/x")
    assert list(store.keys("datasets")) == []
    store.commit(folder(tmp_path / "again"), "datasets/x")
    assert list(store.keys("datasets")) == ["datasets/x"]


def test_a_file_that_always_comes_changed_is_refused_and_not_kept(way: Way, prefix: str, tmp_path: Path) -> None:
    one, other = (open_store(way.url, prefix, tmp_path / at) for at in ("one", "other"))
    one.commit(folder(tmp_path), "datasets/x")
    way.faults.append(Fault(FETCH, "change", 99))

    with pytest.raises((BundleCorrupt, StoreUnavailable)):
        other.local("datasets/x")
    way.faults.clear()
    assert (other.local("datasets/x") / "sub/data").stat().st_size == 3000


def test_every_byte_that_goes_up_carries_a_checksum_for_s3_to_compare(way: Way, prefix: str, tmp_path: Path) -> None:
    open_store(way.url, prefix, tmp_path / "cache").commit(folder(tmp_path, BIG), "datasets/x")
    sent = [(line, headers) for line, headers in way.seen if line.startswith("PUT") and int(headers["content-length"])]

    assert sum("partNumber=" in line for line, _ in sent) == 2
    assert len(sent) >= 4  # both parts, the manifest, the listing
    assert not [
        line for line, headers in sent if not any("x-amz-checksum" in h or h == "x-amz-trailer" for h in headers)
    ]


def test_a_big_file_goes_up_and_comes_back_in_parts_over_a_bad_line(way: Way, prefix: str, tmp_path: Path) -> None:
    one, other = (open_store(way.url, prefix, tmp_path / at) for at in ("one", "other"))
    made = folder(tmp_path, BIG)
    data = (made / "sub/data").read_bytes()
    way.faults += [Fault(r"^PUT .*partNumber=2", "busy"), Fault(r"^PUT .*partNumber=1", "lost"), Fault(FETCH, "cut", 2)]

    one.commit(made, "datasets/x")
    assert (other.local("datasets/x") / "sub/data").read_bytes() == data
    assert len(way.met) == 4
    assert uploads(one) == []


def commit_folder(url: str, prefix: str, cache: Path, made: Path) -> None:
    os.environ.update(s3_server.CREDENTIALS)  # this process has the environment of the first that was killed
    S3Store(f"s3://{BUCKET}/{prefix}", url, cache).commit(made, "datasets/x")


EVENTS = r"^http\.client\.send (PUT|POST) "


def test_killed_at_any_request_of_a_commit_nothing_or_all_is_seen_and_the_next_cleans_up(
    way: Way, prefix: str, tmp_path: Path
) -> None:
    store, log = open_store(way.url, prefix, tmp_path / "see"), tmp_path / "log"
    assert (
        killer.run(
            commit_folder, way.url, "whole", tmp_path / "c", folder(tmp_path, BIG), plan=Plan(EVENTS, 0, str(log))
        )
        == 0
    )
    requests = len(list(killer.told(log)))
    assert requests >= 6  # begin, two parts, end, the manifest, the listing

    left = 0
    for nth in range(1, requests + 1):
        at = tmp_path / str(nth)
        assert killer.run(commit_folder, way.url, prefix, at / "c", folder(at, BIG), plan=Plan(EVENTS, nth)) == -9
        left = max(left, len(uploads(store)))
        assert not store.has("datasets/x"), nth
        assert list(store.keys("datasets")) == []
    assert left and len(objects(store)) > 3

    last = folder(tmp_path / "last", BIG)
    data = (last / "sub/data").read_bytes()
    store.commit(last, "datasets/x")
    other = open_store(way.url, prefix, tmp_path / "other")
    assert (other.local("datasets/x") / "sub/data").read_bytes() == data
    assert uploads(store) == []
    assert len(objects(store)) == 3


def test_an_upload_that_is_under_way_elsewhere_is_left_alone(way: Way, prefix: str, tmp_path: Path) -> None:
    """And what is not ours. The server says 2010 of every upload; here two were begun lately, one of them 25 hours ago."""
    store = open_store(way.url, prefix, tmp_path / "cache")
    names = [store._at(f"datasets/{name}/data") for name in ("fresh/" + "a" * 16, "foreign", "stale/" + "a" * 16)]
    for name in names:
        store.client.create_multipart_upload(Bucket=BUCKET, Key=name)
    begun = {"fresh": datetime.now(UTC) - timedelta(hours=23), "stale": datetime.now(UTC) - timedelta(hours=25)}

    def dated(body: bytes) -> bytes:
        parts = re.split(r"(?=<Upload>)", body.decode())
        told = [
            re.sub(r"<Initiated>[^<]*", f"<Initiated>{moment:%Y-%m-%dT%H:%M:%S}.000Z", part)
            if f"/{name}/" in part
            else part
            for part in parts
            for name, moment in [next(((n, m) for n, m in begun.items() if f"/{n}/" in part), ("", datetime.now(UTC)))]
        ]
        return "".join(told).encode()

    way.faults.append(Fault(r"^GET /faults\?.*uploads", "change", 1, change=dated))
    store.commit(folder(tmp_path, BIG), "datasets/x")

    assert way.met
    assert sorted(uploads(store)) == sorted(names[:2])


def test_one_small_file_of_a_folder_is_read_without_the_others_and_checked(
    way: Way, prefix: str, tmp_path: Path
) -> None:
    one, other = (open_store(way.url, prefix, tmp_path / at) for at in ("one", "other"))
    one.commit(folder(tmp_path), "datasets/x")
    before = len(way.seen)

    assert other.part("datasets/x", "manifest.json") == b"{}"
    assert not [line for line, _ in way.seen[before:] if "/sub/data" in line]
    (name,) = [n for n in objects(other) if n.endswith("manifest.json")]
    other.client.put_object(Bucket=BUCKET, Key=f"{other.prefix}/{name}", Body=b"[]")
    with pytest.raises(BundleCorrupt, match=r"datasets/x/manifest\.json does not have the SHA-256"):
        other.part("datasets/x", "manifest.json")
    with pytest.raises(StoreUnavailable, match="datasets/none"):
        other.part("datasets/none", "manifest.json")
    assert json.loads(str(other.read(f"datasets/x/{LISTING}"), "utf-8")).keys() == {"manifest.json", "sub/data"}
