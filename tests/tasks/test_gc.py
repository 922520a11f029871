"""What is old goes, from a folder and from S3, whenever it is killed; each reference alone keeps what it refers to."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from configs.settings import Settings
from configs.sources import load
from data_contracts.artifacts import Version
from data_contracts.errors import BundleCorrupt, ConfigurationError, ResourceInsufficient, TingsuError
from deploy import emergency, signing, targets
from deploy.operate import lock
from deploy.operate.processes import Process
from deploy.store import LISTING, Store
from deploy.targets import Placed, Record
from tasks import cited, gc, history, registry, rollout, stages, versions, why
from tasks.audit_export import export
from tasks.gc import collect
from tasks.history import Event
from tasks.tracking import STAGE_KEY, RunRef, Stage
from tests import killer
from tests.tasks import released
from tests.tasks.released import Place, add
from tests.tasks.verdicts import verdict

LATER = time.time() + 100 * 86400
"""Everything below is old then."""

SETTINGS = load("tiny", sets=["retention.keep_versions=1", "retention.keep_runs=1"], env={})


@dataclass(frozen=True)
class Case(Place):
    """Versions 1 to 3 of a bundle, a run and a stage each; 3 is the newest, with the newest run. Nothing refers to 1."""

    settings: Settings = SETTINGS

    def version(self, number: int) -> Version:
        return versions.get(self.registry, number)

    def stage(self, number: int) -> str:
        return f"stages/train/{digest(f'{number}', 32)}"

    def free(self) -> set[str]:
        """Names of what would go."""
        return {name for t in collect(self.registry, self.settings, True, LATER) for name in t.names}


def digest(text: str, length: int = 64) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def stage(store: Store, key: str, says: object = "") -> str:
    """A finished stage whose result names what `says`."""
    folder = store.scratch(f"made/{key}") / "out"
    folder.mkdir(parents=True, exist_ok=True)
    record = {"stage": key.split("/")[1], "key": key, "result": {"says": says}, "seconds": 1.0, "finished_at": "then"}
    (folder / stages.RECORD).write_text(json.dumps(record))
    store.commit(folder, key)
    return key


def child(at: Place, run_id: str, key: str) -> None:
    ref = RunRef(run_id=run_id, experiment_id="1")
    folder = at.home / "artifact"
    folder.mkdir(exist_ok=True)
    (folder / "big.txt").write_text("x" * 2000)
    at.registry.tracker.child(ref, Stage(name=key.split("/")[1], tags={STAGE_KEY: key}, artifacts=(folder,)))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = released.place(tmp_path_factory.mktemp("gc") / "home")
    made = Case(at.home, at.store, at.registry)
    for number in (1, 2, 3):
        version = add(at, f"bundle {number}", decision="HOLD")
        stage(at.store, made.stage(number))
        child(at, version.run_id, made.stage(number))
        at.registry.tracker.finish(RunRef(run_id=version.run_id, experiment_id="1"))
    set_alias(made, "candidate", 3)
    return at.home


@pytest.fixture
def at(template: Path, tmp_path: Path) -> Case:
    shutil.copytree(template, tmp_path / "home")
    there = released.reopen(tmp_path / "home")
    move_artifacts(template, there)
    return Case(there.home, there.store, there.registry)


def move_artifacts(template: Path, there: Place) -> None:
    """MLflow keeps absolute paths."""
    import sqlite3

    with sqlite3.connect(there.home / "mlflow/mlflow.db") as db:
        db.execute("update runs set artifact_uri = replace(artifact_uri, ?, ?)", (str(template), str(there.home)))


def set_alias(at: Place, alias: str, number: int) -> None:
    with at.registry.tracker.client() as client:
        client.set_registered_model_alias("complaints", alias, str(number))


def tell(at: Case, kind: history.Kind, number: int, **detail: object) -> None:
    event = Event(kind=kind, version=number, by="x", bundle_digest=at.version(number).bundle.digest, detail=detail)
    history.append(at.home, event)
    registry.witness(at.registry)


def placed(at: Case, number: int) -> Placed:
    bundle = at.version(number).bundle
    return Placed(version=number, bundle_digest=bundle.digest, folder=bundle.key, verdict_signature="s")


def on_target(at: Case, **sides: Placed) -> None:
    targets.write(at.home, Record.model_validate({"target": "server", **sides}).at("staged", stages.now()))


def emergency_on(at: Case) -> None:
    said = emergency.said(1, at.version(1).bundle.digest, "li", "why", "HOLD", datetime.now(UTC))
    tell(at, "emergency", 1, emergency=said.model_dump(mode="json"))


def compared_with(at: Case) -> None:
    add(at, "bundle 4", champion_bundle=at.version(1).bundle.digest, decision="HOLD")


def standard(at: Case) -> None:
    """1 was promoted by the gate, and then 2 on an operator's word, without a way back."""
    judged = released.signed(at, at.version(1).bundle)
    tell(at, "recorded", 1, verdict=judged.model_dump(mode="json"), decision="PROMOTE")
    tell(at, "promoted", 1)
    tell(at, "promoted", 2, emergency="li", previous_version=None)


def process(at: Case) -> None:
    folder = at.home / "store" / at.version(1).bundle.key
    known = Process(
        name="service-next", argv=("python", f"--bundle={folder}"), port=1, url="", log="", pid=1, started=""
    )
    (at.home / "run").mkdir()
    (at.home / "run/service-next.json").write_text(known.model_dump_json())


def with_settings(at: Case, **sets: str) -> Case:
    tree = SETTINGS.model_copy(update={"serve": SETTINGS.serve.model_copy(update=sets)})
    return replace(at, settings=tree)


BUNDLE: dict[str, Callable[[Case], Case | None]] = {
    "champion": lambda at: tell(at, "promoted", 1),
    "rolled back to": lambda at: tell(at, "rolled_back", 1),
    "previous champion": lambda at: tell(at, "promoted", 2, previous_version=1),
    "the champion's standard": standard,
    "alias champion": lambda at: set_alias(at, "champion", 1),
    "alias previous": lambda at: set_alias(at, "previous", 1),
    "alias candidate": lambda at: set_alias(at, "candidate", 1),
    "alias of a person": lambda at: set_alias(at, "keep-for-the-board", 1),
    "live on a target": lambda at: on_target(at, live=placed(at, 1)),
    "previous on a target": lambda at: on_target(at, previous=placed(at, 1)),
    "candidate on a target": lambda at: on_target(at, candidate=placed(at, 1)),
    "emergency in force": emergency_on,
    "compared with a kept one": compared_with,
    "served by a process": process,
    "named in the settings": lambda at: with_settings(at, model_path=f"/srv/bundles/{at.version(1).bundle.digest}"),
    "among the newest": lambda at: replace(at, settings=load("tiny", sets=["retention.keep_versions=3"], env={})),
}


@pytest.mark.parametrize("reference", BUNDLE)
def test_each_reference_alone_keeps_its_bundle(at: Case, reference: str) -> None:
    one = at.version(1).bundle.key
    assert one in at.free()

    changed = BUNDLE[reference](at) or at
    assert one not in changed.free()
    collect(changed.registry, changed.settings, now_s=LATER)
    changed.store.verify(one)


def cited_by_evidence(at: Case) -> None:
    """Of the newest version, which is kept."""
    evidence = json.dumps({"reports": {"served": {"predictions": {"key": f"{at.stage(1)}/gold"}}}}).encode()
    bundle = released.bundle(at, "bundle 5")
    cited.keep(at.store, bundle, evidence)
    made = released.candidate(at, bundle, decision="HOLD", report_digest=cited.digest(evidence))
    registry.record(at.registry, made)
    cited.keep(at.store, bundle, evidence)


def run_of(at: Case, is_open: bool) -> str:
    ref = released.open_run(at, "another", key="k")
    child(at, ref.run_id, at.stage(1))
    if not is_open:
        at.registry.tracker.finish(ref)
    return ref.run_id


def named_by_kept(at: Case) -> None:
    two = stage(at.store, f"stages/merge/{digest('merge', 32)}", {"key": f"{at.stage(1)}/adapter"})
    child(at, at.version(3).run_id, two)


def running(at: Case) -> None:
    run_of(at, is_open=True)
    ref = released.open_run(at, "newest", key="n")
    at.registry.tracker.finish(ref)


STAGES: dict[str, Callable[[Case], object]] = {
    "a run that made a kept bundle": lambda at: set_alias(at, "champion", 1),
    "a run that has not ended": running,
    "the newest run": lambda at: run_of(at, is_open=False),
    "evidence of a kept bundle": cited_by_evidence,
    "a kept stage's record": named_by_kept,
}


@pytest.mark.parametrize("reference", STAGES)
def test_each_reference_alone_keeps_its_stage(at: Case, reference: str) -> None:
    assert at.stage(1) in at.free()

    STAGES[reference](at)
    assert at.stage(1) not in at.free()
    collect(at.registry, at.settings, now_s=LATER)
    at.store.verify(at.stage(1))


def test_what_is_young_stays_and_what_never_goes_never_does(at: Case) -> None:
    kept = ("gold/complaints/1", "datasets/" + "d" * 64, f"stages/split/{digest('split', 32)}", "elsewhere/of/others")
    for key in kept:
        stage(at.store, key)
    looks, attests = "looks/g/one", [f"{at.version(1).bundle.key}.attest/{n}" for n in ("verdict.json",)]
    at.store.write(looks, b"")

    assert collect(at.registry, at.settings) == ()
    collect(at.registry, at.settings, now_s=LATER)
    assert all(at.store.has(key) for key in kept)
    assert at.store.read(looks) == b"" and all(at.store.read(key) for key in attests)


def test_what_was_removed_is_in_the_history_can_still_be_answered_for_and_is_gone(at: Case, tmp_path: Path) -> None:
    one, artifacts = at.version(1), at.home / "mlflow/artifacts"
    before = gc.measure(artifacts).bytes
    said = collect(at.registry, at.settings, now_s=LATER)
    by_kind = {t.kind: t for t in said}

    assert (by_kind["bundle"].count, by_kind["stage"].count, by_kind["run"].count) == (2, 2, 2)
    assert not at.store.has(one.bundle.key) and not at.store.has(at.stage(1)) and at.store.has(at.stage(3))
    assert gc.measure(artifacts).bytes < before and by_kind["run"].mb > 0
    events = [e.event for e in history.read(at.home) if e.event.kind == "removed"]
    assert [(e.version, e.bundle_digest) for e in events[:-1]] == [
        (n, at.version(n).bundle.digest) for n in sorted((1, 2), key=lambda n: at.version(n).bundle.digest)
    ]
    assert events[-1].detail["bundle"] == {"count": 2, "mb": by_kind["bundle"].mb}
    assert "removed" in why.answer(at.home, 1)
    assert export(at.registry, tmp_path / "out").missing == ()
    assert subprocess.run([sys.executable, "-I", str(tmp_path / "out/check.py")], timeout=60).returncode == 0
    assert collect(at.registry, at.settings, now_s=LATER) == ()


def test_a_dry_run_says_the_same_and_touches_nothing(at: Case) -> None:
    def whole() -> dict[str, tuple[int, float]]:
        files = (p for p in (at.home / "store").rglob("*") if p.is_file() and ".lock" not in p.name)
        return {str(p): (p.stat().st_size, p.stat().st_mtime) for p in files}

    before, lines = whole(), history.read(at.home)
    planned = collect(at.registry, at.settings, True, LATER)

    assert (whole(), history.read(at.home)) == (before, lines)
    assert collect(at.registry, at.settings, now_s=LATER) == planned


def test_work_of_finished_stages_old_work_old_reports_and_halves_of_folders_go(at: Case) -> None:
    done = at.store.scratch(at.stage(3)) / "keep/checkpoints"
    young = at.store.scratch(f"stages/train/{digest('unfinished', 32)}") / "keep"
    report = at.home / "submissions/aaa"
    half = at.store.root / f"stages/train/{digest('half', 32)}"
    for folder in (done, young, report, half):
        folder.mkdir(parents=True)
        (folder / "f").write_bytes(b"x" * 1000)
    now = {t.kind: t.names for t in collect(at.registry, at.settings)}
    assert now == {"work": (digest("3", 32),)} and young.exists() and half.exists()

    at_once = load(
        "tiny", sets=["retention.keep_versions=1", "retention.keep_runs=1", "retention.older_days=0"], env={}
    )
    may_be_used = {"work", "leftover", "report"}
    assert may_be_used.isdisjoint(t.kind for t in collect(at.registry, at_once)) and young.exists() and half.exists()

    then = {t.kind for t in collect(at.registry, at.settings, now_s=LATER)}
    assert {"work", "report", "leftover"} <= then
    assert not any(p.exists() for p in (done, young, report, half))


@pytest.mark.parametrize("busy", ["a pipeline or a rollout", "a rollout to server"])
def test_nothing_goes_while_something_runs_that_may_use_it(at: Case, busy: str) -> None:
    on_target(at)
    path = targets.lock_file(at.home, "server") if busy.endswith("server") else gc.lock_file(at.home)

    with lock.held(path, shared="pipeline" in busy), pytest.raises(ResourceInsufficient, match=f"{busy} runs here"):
        collect(at.registry, at.settings, now_s=LATER)
    assert at.store.has(at.version(1).bundle.key)


def test_nothing_goes_while_a_first_rollout_runs_whose_target_has_no_record_yet(at: Case) -> None:
    """The target, an Ollama, collects while it is asked."""
    version, said = add(at, "bundle 4"), []

    class Collecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with pytest.raises(ResourceInsufficient) as refused:
                collect(at.registry, at.settings, now_s=LATER)
            said.append(str(refused.value))
            self.send_error(500)

    with ThreadingHTTPServer(("127.0.0.1", 0), Collecting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"serve.ollama_url=http://127.0.0.1:{server.server_port}"
        with pytest.raises(TingsuError):
            rollout.rollout(at.store, version, load("tiny", sets=["rollout.target=ollama", url], env={}), at.home)
        server.shutdown()

    assert said and "a pipeline or a rollout runs here" in said[0]


def test_what_another_home_judged_in_the_same_store_is_not_ours_to_remove(at: Case, tmp_path: Path) -> None:
    ref, key = released.bundle(at, "theirs"), signing.keypair(tmp_path / "other")
    cited_stage = f"stages/evaluate/{digest('theirs', 32)}"
    stage(at.store, cited_stage)
    evidence = json.dumps({"predictions": {"key": cited_stage}}).encode()
    cited.keep(at.store, ref, evidence)
    judged = signing.sign(verdict(ref.digest, report_digest=cited.digest(evidence)), key)
    assert {ref.key, cited_stage} <= at.free()

    at.store.write(f"{ref.key}.attest/verdict.json", judged.model_dump_json().encode())
    assert not {ref.key, cited_stage} & at.free()


@pytest.mark.parametrize("damage", ["history", "rollout"])
def test_where_a_reference_cannot_be_read_nothing_is_free(at: Case, damage: str) -> None:
    if damage == "history":
        path = at.home / history.FILE
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    else:
        (at.home / "rollouts").mkdir(exist_ok=True)
        (at.home / "rollouts/local.json").write_text("{")

    with pytest.raises((BundleCorrupt, ConfigurationError), match=r"cut|no rollout record"):
        collect(at.registry, at.settings, now_s=LATER)
    assert at.store.has(at.version(1).bundle.key)


KILLS = (r"shutil\.rmtree .*/bundles/", r"remove .*\.files\.json", r"shutil\.rmtree .*/stages/", r"rename .*\.attest")


@pytest.mark.parametrize("pattern", KILLS)
def test_killed_in_the_middle_the_same_again_removes_the_rest(at: Case, pattern: str) -> None:
    planned = collect(at.registry, at.settings, True, LATER)
    env = {**os.environ, "PYTHONPATH": str(killer.Path(__file__).parents[2]), "TINGSU_HOME": str(at.home)}
    env[killer.PLAN] = json.dumps(killer.Plan(pattern, 1))
    asked = ["--keep-runs", "1", "--older", "0", "--set", "retention.keep_versions=1"]
    argv = [sys.executable, "-P", "-m", "tests.killer", "flows", "gc", *asked]
    assert subprocess.run(argv, env=env, capture_output=True, timeout=120).returncode == -9

    collect(at.registry, at.settings, now_s=LATER)
    assert collect(at.registry, at.settings, now_s=LATER) == ()
    assert planned and not at.store.has(at.version(1).bundle.key) and at.store.has(at.version(3).bundle.key)
    versioned = [e.event.version for e in history.read(at.home) if e.event.kind == "removed" and e.event.version]
    assert sorted(versioned) == [1, 2]
    assert history.verify(at.home) is None


# S3


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from tests import s3_server

    with s3_server.serving() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.CREDENTIALS.items():
            patch.setenv(name, value)
        yield url


def test_on_s3_the_same_goes_and_the_same_stays(at: Case, s3: str) -> None:
    from deploy.s3 import S3Store

    store = S3Store("s3://retained/team", s3, at.home / "cache")
    store.client.create_bucket(Bucket="retained")
    for key in (*at.store.folders("bundles"), *at.store.folders("stages/train")):
        folder = at.store.root / key
        if at.store.has(key):
            shutil.copytree(folder, at.home / "copy")
            (at.home / "copy" / LISTING).unlink()
            store.commit(at.home / "copy", key)
        else:
            for file in folder.iterdir():
                store.write(f"{key}/{file.name}", file.read_bytes())
    store.write(f"stages/train/{digest('half', 32)}/0123456789abcdef/weights", b"x" * 5000)
    there = replace(at, store=store, registry=replace(at.registry, store=store))

    found = {t.kind: t.count for t in collect(there.registry, at.settings, now_s=LATER)}
    assert (found["bundle"], found["stage"], found["leftover"]) == (2, 2, 1)
    assert not store.has(at.version(1).bundle.key) and store.has(at.version(3).bundle.key) and store.has(at.stage(3))
    assert store.measure(f"stages/train/{digest('half', 32)}").bytes == 0
    assert collect(there.registry, at.settings, now_s=LATER) == ()
