"""What an auditor asks of the record is answered from a history that was verified first, and can be checked without us."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_contracts.errors import BundleCorrupt, ConfigurationError
from deploy import operators
from deploy.store import sha256_file
from deploy.targets import Placed, Record, Step
from tasks import history, proven, registry, stages, versions, what_was_live
from tasks.audit_export import export
from tasks.emergency import declare, revoke, trust
from tasks.history import Event
from tests.tasks import released
from tests.tasks.released import Place, add, after
from tests.tasks.verdicts import verdict as verdict_of_gate

BASE = datetime(2026, 11, 1, 8, 0, tzinfo=UTC)
STEPS = ("planned", "staged", "verified", "canary", "live")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 by the gate's verdict, version 2 by an operator's, who was revoked since."""
    folder = tmp_path_factory.mktemp("record")
    at = released.place(folder / "home")
    one = add(at, "one")
    registry.promote(at.registry, 1)
    after(at, one, "two", decision="HOLD")
    trust(at.home, "li", folder / "li.pem", by="root")
    declare(at.registry, 2, "li", folder / "li.pem", "the hotline is down")
    registry.promote(at.registry, 2)
    revoke(at.home, "li", by="root")
    registry.witness(at.registry)
    return at.home


@pytest.fixture
def at(template: Path, tmp_path: Path) -> Place:
    shutil.copytree(template, tmp_path / "home")
    return released.reopen(tmp_path / "home")


# Tampering: one byte, one line, the tail


def lines_of(home: Path) -> list[bytes]:
    return (home / history.FILE).read_bytes().splitlines(keepends=True)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_byte_can_be_changed_no_line_removed_moved_or_inserted_unseen(template: Path, data: st.DataObject) -> None:
    lines = lines_of(template)
    whole, head = b"".join(lines), history.read(template)[-1].head
    way = data.draw(st.sampled_from(("byte", "remove", "swap", "insert", "cut")))
    number = data.draw(st.integers(0, len(lines) - 1))
    if way == "byte":
        where, byte = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 255))
        changed = whole[:where] + bytes([byte]) + whole[where + 1 :]
    elif way == "remove":
        changed = b"".join(lines[:number] + lines[number + 1 :])
    elif way == "swap":
        other = data.draw(st.integers(0, len(lines) - 1))
        lines[number], lines[other] = lines[other], lines[number]
        changed = b"".join(lines)
    elif way == "insert":
        changed = b"".join([*lines[:number], data.draw(st.sampled_from(lines)), *lines[number:]])
    else:
        changed = whole[: data.draw(st.integers(0, len(whole) - 1))]
    home = template.parent / "tampered"
    home.mkdir(exist_ok=True)
    (home / history.FILE).write_bytes(changed)

    assert (history.verify(home, head) is None) == (changed == whole)


def cut(at: Place) -> None:
    (at.home / history.FILE).write_bytes(b"".join(lines_of(at.home)[:-1]))


def edit(at: Place) -> None:
    text = (at.home / history.FILE).read_text()
    (at.home / history.FILE).write_text(text.replace('"by": "tester"', '"by": "somebody"'))


@pytest.mark.parametrize("tamper", [cut, edit])
def test_nothing_is_answered_from_a_history_that_was_tampered_with(
    at: Place, tmp_path: Path, tamper: Callable[[Place], None]
) -> None:
    tamper(at)

    with pytest.raises(BundleCorrupt, match=r"nothing can be answered from this history: .*(cut|changed)"):
        proven.read(at.registry)
    with pytest.raises(BundleCorrupt):
        export(at.registry, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_that_the_end_could_not_be_checked_is_said(at: Place) -> None:
    gone = released.reopen(at.home, "http://127.0.0.1:9")

    assert "could not be checked" in proven.read(gone.registry).said
    assert "note of the newest agrees" in proven.read(at.registry).said
    with at.registry.tracker.client() as client:
        client.delete_registered_model_tag("complaints", versions.HEAD)
    assert "MLflow has no note" in proven.read(at.registry).said


def test_a_revocation_that_was_cut_off_is_put_on_record_by_the_same_command(at: Place, tmp_path: Path) -> None:
    trust(at.home, "wu", tmp_path / "wu.pem", by="root")
    public = operators.revoke(at.home, "wu")

    revoke(at.home, "wu", by="root")
    assert history.read(at.home)[-1].event.detail == {"operator": "wu", "public_key": public}
    with pytest.raises(ConfigurationError, match="no operator 'wu'"):
        revoke(at.home, "wu", by="root")


# What was live


def tell(
    home: Path, monkeypatch: pytest.MonkeyPatch, hours: float, kind: history.Kind, version: int, **detail: object
) -> None:
    """A line of so many hours after BASE, steps a quarter of an hour apart before it where it ends a rollout."""
    when = BASE + timedelta(hours=hours)
    if "target" in detail:
        times = [when - timedelta(minutes=15 * n) for n in reversed(range(len(STEPS)))]
        steps = [{"state": s, "at": t.isoformat(), "note": ""} for s, t in zip(STEPS, times, strict=True)]
        detail = {"steps": steps, "endpoint": "http://h:1", **detail}
    monkeypatch.setattr(stages, "now", lambda: when.isoformat())
    history.append(home, Event(kind=kind, version=version, by="ops", bundle_digest=str(version) * 64, detail=detail))


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[history.Entry, ...]:
    """local: 1 at hour 1, 2 fails at hour 5, 3 at hour 9, back to 1 at hour 12. server: 1 at hour 3."""
    verdict = verdict_of_gate("1" * 64).model_dump(mode="json")
    for version, hour in ((1, 0.0), (2, 4.0), (3, 8.0)):
        tell(tmp_path, monkeypatch, hour, "recorded", version, verdict=verdict, decision="PROMOTE")
    tell(tmp_path, monkeypatch, 1, "released", 1, target="local")
    tell(tmp_path, monkeypatch, 1, "promoted", 1)
    tell(tmp_path, monkeypatch, 3, "released", 1, target="server")
    tell(tmp_path, monkeypatch, 5, "undone", 2, target="local")
    tell(tmp_path, monkeypatch, 9, "released", 3, target="local")
    tell(tmp_path, monkeypatch, 9, "promoted", 3)
    tell(tmp_path, monkeypatch, 12, "released", 1, target="local")
    tell(tmp_path, monkeypatch, 12.1, "rolled_back", 1)
    tell(tmp_path, monkeypatch, 20, "stopped", 1, target="local", how="./tingsu down", steps=[])
    tell(tmp_path, monkeypatch, 22, "started", 1, target="local", how="./tingsu up", steps=[])
    tell(tmp_path, monkeypatch, 30, "stopped", 1, target="server", how="./tingsu uninstall", steps=[])
    tell(tmp_path, monkeypatch, 40, "adopted", 3, target="server", steps=[])
    return history.read(tmp_path)


@pytest.mark.parametrize(
    ("target", "hours", "version", "champion", "beside"),
    [
        ("local", 0.5, None, None, "version 1: verified"),
        ("local", 1, 1, 1, ""),
        ("local", 4.8, 1, 1, "version 2: canary"),
        ("local", 5, 1, 1, ""),
        ("local", 8.99, 1, 1, "version 3: canary"),
        ("local", 9, 3, 3, ""),
        ("local", 12.05, 1, 3, ""),
        ("local", 19, 1, 1, ""),
        ("local", 20, None, 1, ""),
        ("local", 22, 1, 1, ""),
        ("local", 99, 1, 1, "version 2: canary (10% of the traffic)"),
        ("server", 2, None, 1, "version 1: planned"),
        ("server", 29, 1, 1, ""),
        ("server", 39, None, 1, ""),
        ("server", 99, 3, 1, ""),
    ],
)
def test_what_was_live_is_the_last_release_of_the_target_before_that_moment(
    told: tuple[history.Entry, ...], target: str, hours: float, version: int | None, champion: int | None, beside: str
) -> None:
    begun = Step(state="canary", at=(BASE + timedelta(hours=50)).isoformat(), note="10% of the traffic")
    candidate = Placed(version=2, bundle_digest="2", folder="", verdict_signature="")
    record = Record(target="local", candidate=candidate, steps=(begun,)) if target == "local" else None

    live = what_was_live.find(told, target, BASE + timedelta(hours=hours), record)

    assert (live.version, live.champion, live.beside) == (version, champion, beside)
    assert version is None or (live.by, live.bundle_digest) == ("ops", str(version) * 64)
    assert version is None or live.grounds.startswith(("PROMOTE, line", "no verdict"))
    assert live.stopped == {20: "version 1, ./tingsu down", 39: "version 1, ./tingsu uninstall"}.get(hours, "")
    for language in ("en", "zh"):
        assert live.at[:10] in what_was_live.text(live, language)  # type: ignore[arg-type]


def test_what_an_emergency_let_serve_says_so(at: Place) -> None:
    entries = history.read(at.home)
    asked = versions.get(at.registry, 2)
    history.append(
        at.home,
        Event(kind="released", version=2, by="ops", bundle_digest=asked.bundle.digest, detail={"target": "local"}),
    )

    live = what_was_live.find(history.read(at.home), "local", datetime.now(UTC) + timedelta(seconds=1))
    assert live.version == 2 and live.line == len(entries) + 1
    assert live.grounds.startswith("EMERGENCY, line") and "li until" in live.grounds and "hotline" in live.grounds


def test_times_are_taken_as_people_write_them() -> None:
    shanghai = timezone(timedelta(hours=8))
    for text in ("2026-11-01T16:00", "2026-11-01 16:00:00", "2026-11-01T08:00Z", "2026-11-01T10:00+02:00"):
        assert what_was_live.moment(text, shanghai) == BASE
    for text, sentence in (
        ("yesterday", "is not a time; write 2026-11-22T17:30"),
        ("0001-01-01T00:00+08:00", "is not a time"),
        ("2026-11-01", "a day has many moments"),
        ("2999-01-01T00:00", "has not come yet"),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            what_was_live.moment(text)


def test_a_target_that_never_was_is_named(told: tuple[history.Entry, ...]) -> None:
    with pytest.raises(ConfigurationError, match="'moon'; to these: local, server"):
        what_was_live.find(told, "moon", BASE)


# The export


def check(folder: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-I", *flags, str(folder / "check.py")]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def exported(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("audit") / "out"
    made = export(released.reopen(template).registry, out)
    assert made.missing == () and made.versions == (1, 2)
    return out


def test_an_export_is_checked_without_tingsu_and_holds_no_text_of_a_call(exported: Path, template: Path) -> None:
    sums = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=exported, capture_output=True, timeout=60)
    found = check(exported)

    assert (sums.returncode, sums.stdout) == (0, b"")
    assert (found.returncode, "0 things wrong\n" in found.stdout) == (0, True), found.stdout + found.stderr
    key = (template / "keys/gate.pub").read_text().strip()
    assert f"says {key}; " in found.stdout and (exported / "head.txt").read_text().strip() in found.stdout
    assert {p.name for p in exported.glob("keys/**/*.pem")} >= {"gate.pem"}
    assert len(list(exported.glob("keys/operators/li-*.pem"))) == 1
    assert len(list(exported.glob("versions/2/line-*-emergency.json"))) == 1
    assert not any("我要投诉" in p.read_text(errors="replace") for p in exported.rglob("*") if p.is_file())


def resum(folder: Path) -> None:
    """As a forger would: the sums fit what is there."""
    names = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "SHA256SUMS"]
    rows = (f"{sha256_file(p)}  {p.relative_to(folder).as_posix()}\n" for p in names)
    (folder / "SHA256SUMS").write_text("".join(rows))


def replace(pattern: str, old: str, new: str) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        for path in folder.glob(pattern):
            text = path.read_bytes()
            assert old.encode() in text
            path.write_bytes(text.replace(old.encode(), new.encode()))

    return forge


def append(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def without(pattern: str) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        for path in list(folder.glob(pattern)):
            path.unlink()

    return forge


def chained(keep: Callable[[dict[str, Any]], bool]) -> Callable[[Path], None]:
    """Every digest made anew, the note of the newest too, of the lines whose event is kept, which may be changed on the way."""

    def forge(folder: Path) -> None:
        lines, previous = [], history.START
        for old in (folder / "history.jsonl").read_bytes().splitlines():
            entry = json.loads(old)
            if not keep(entry["event"]):
                continue
            del entry["digest"]
            entry |= {"number": len(lines) + 1, "previous": previous}
            previous = hashlib.sha256(json.dumps(entry, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
            lines.append(json.dumps({**entry, "digest": previous}, ensure_ascii=False, sort_keys=True) + "\n")
        (folder / "history.jsonl").write_text("".join(lines))
        (folder / "head.txt").write_text(f"{len(lines)}:{previous}\n")

    return forge


def turned(kind: str) -> Callable[[Path], None]:
    """Each promotion as an event of another kind, and no emergency verdict."""

    def keep(event: dict[str, Any]) -> bool:
        event["kind"] = kind if event["kind"] == "promoted" else event["kind"]
        return bool(event["kind"] != "emergency")

    return chained(keep)


FORGERIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "history edited": (replace("history.jsonl", '"by": "tester"', '"by": "someone"'), "history.jsonl line"),
    "history cut": (
        lambda f: (f / "history.jsonl").write_bytes(b"".join((f / "history.jsonl").read_bytes().splitlines(True)[:-1])),
        "cut off",
    ),
    "verdict edited": (
        replace("versions/2/line-*-verdict.json", '"decision": "HOLD"', '"decision": "PROMOTE"'),
        "not what the history line says",
    ),
    "what was signed edited": (
        replace("versions/2/line-*-verdict.signed", '"decision": "HOLD"', '"decision": "PROMOTE"'),
        "says something else",
    ),
    "signature of another": (
        lambda f: shutil.copy(
            next(f.glob("versions/1/line-*-verdict.sig")), next(f.glob("versions/2/line-*-verdict.sig"))
        ),
        "keys/gate.pem did not make its signature",
    ),
    "verdict removed": (without("versions/2/line-*-verdict.*"), "is not here, and the history has it"),
    "evidence removed": (without("versions/*/evidence-*"), "the evidence that it cites is not here"),
    "list of files removed": (without("versions/1/bundle-files.json"), "list of files is not here"),
    "an emergency made an ordinary promotion": (
        chained(lambda event: event["kind"] != "promoted" or event["detail"].pop("emergency", "") is not None),
        "was promoted, and no verdict before it allows that",
    ),
    "an emergency verdict removed": (
        chained(lambda event: event["kind"] != "emergency"),
        "no verdict before it allows",
    ),
    "a release by nobody's word": (turned("released"), "was released, and no verdict before it allows that"),
    "back to what never was": (turned("rolled_back"), "was gone back to, and was never promoted"),
    "an operator never trusted": (chained(lambda event: event["kind"] != "operator_trusted"), "not trusted then"),
    "a name twice in a line": (
        replace("history.jsonl", '"by": "tester"', '"by": "eve", "by": "tester"'),
        "history.jsonl line 1 was changed",
    ),
    "more after the last line": (lambda f: append(f / "history.jsonl", b"{}"), "goes on after its last line"),
    "no line at all": (lambda f: append(f / "history.jsonl", b"{\n"), "is not a history line"),
    "evidence edited": (replace("versions/1/evidence-*.json", "reports", "opinions"), "evidence has another digest"),
    "bundle's files edited": (replace("versions/1/bundle-files.json", "bundle.json", "bandle.json"), "list of files"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_export_is_found_out_even_with_sums_that_fit(exported: Path, tmp_path: Path, forgery: str) -> None:
    forge, sentence = FORGERIES[forgery]
    folder = tmp_path / "forged"
    shutil.copytree(exported, folder)
    forge(folder)

    assert re.search("was (changed|added or removed)", check(folder).stdout)
    resum(folder)
    found = check(folder)
    assert (found.returncode, sentence in found.stdout) == (1, True), found.stdout + found.stderr


def test_an_openssl_that_cannot_accuses_nobody(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "openssl").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "openssl").chmod(0o755)
    for path in (tmp_path, tmp_path / "nothing"):
        monkeypatch.setenv("PATH", str(path))
        found = check(exported)
        assert (found.returncode, "signatures were NOT checked" in found.stdout) == (0, True), found.stdout


def test_one_version_or_a_wrong_place(at: Place, tmp_path: Path) -> None:
    made = export(at.registry, tmp_path / "one", 1)

    assert made.versions == (1,) and {p.name for p in (tmp_path / "one/versions").iterdir()} == {"1"}
    assert check(tmp_path / "one").returncode == 0
    with pytest.raises(ConfigurationError, match="not empty"):
        export(at.registry, tmp_path / "one")
    with pytest.raises(ConfigurationError, match="version 9 is not in the history; versions there: 1, 2"):
        export(at.registry, tmp_path / "two", 9)
    assert json.loads((tmp_path / "one/versions/1/lines.json").read_text())[0]["event"]["version"] == 1
