"""Retention: old stages, bundles, runs, checkpoints, caches and reports go by policy; what `retained` names never does.

What is to go is in the history before any of it goes. Killed in the middle, the same command again removes the rest.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from configs.settings import Settings
from data_contracts.errors import ResourceInsufficient
from data_contracts.schema import Frozen
from deploy import bundle, targets
from deploy.operate import lock
from deploy.store import Store, measure
from tasks import history, registry, retained, runs
from tasks.history import Event
from tasks.retained import ALWAYS, Retained
from tasks.versions import Registry

DAY_S = 86400.0
QUIET_S = 3600.0
"""Halves of folders, workplaces and reports that were written to within this time stay whatever the policy: `submit` and `import` may be at
them, which run beside this."""
Kind = Literal["bundle", "stage", "run", "work", "leftover", "report", "upload"]
KINDS: tuple[Kind, ...] = ("bundle", "stage", "run", "work", "leftover", "report", "upload")


class Item(NamedTuple):
    """One thing to remove. `work`: scratch of a stage, such as checkpoints; `leftover`: half a folder that a crash left."""

    kind: Kind
    name: str
    bytes: int
    remove: Callable[[], object]


class Tally(Frozen):
    """Of one kind: how many, how many MB, and their names."""

    kind: Kind
    count: int
    mb: float
    names: tuple[str, ...]


def lock_file(home: Path) -> Path:
    """Shared by pipelines and rollouts while they run; `gc` needs it alone."""
    return home / "runs/.gc.lock"


def collect(at: Registry, settings: Settings, dry_run: bool = False, now_s: float | None = None) -> tuple[Tally, ...]:
    """Remove what the policy frees, or with `dry_run` say what would go; a tally of each kind.

    Raises:
        ResourceInsufficient: a pipeline or a rollout runs here, and may be using what would go; nothing was touched.
        BundleCorrupt, ConfigurationError: the history or a rollout's record does not hold; nothing was touched.
        StoreUnavailable: MLflow or the store does not answer.
    """
    at_s = time.time() if now_s is None else now_s
    before_s = at_s - settings.retention.older_days * DAY_S
    with _alone(at.home):
        items = list(_items(at, settings, before_s, min(before_s, at_s - QUIET_S)))
        if not dry_run and items:
            _tell(at, settings, items)
            for item in items:
                item.remove()
            registry.witness(at)
    return _tallies(items)


def _items(at: Registry, settings: Settings, before_s: float, quiet_s: float) -> Iterator[Item]:
    seen = runs.every(at.tracker)
    kept = retained.find(at, settings, seen, before_s)
    yield from _bundles(at.store, kept, before_s, quiet_s)
    yield from _stages(at.store, kept, before_s, quiet_s)
    for run in seen:
        if run.run_id not in kept.runs:
            yield Item("run", run.run_id, runs.size(run), partial(runs.remove, at.tracker, run))
    yield from _work(at.store, quiet_s)
    for path in sorted((at.home / "submissions").glob("*")):
        yield from _folder("report", path, quiet_s)
    uploads = at.store.stale_uploads(end=False)
    if uploads:
        yield Item("upload", f"{uploads} cut-off uploads", 0, partial(at.store.stale_uploads, end=True))


def _bundles(store: Store, kept: Retained, before_s: float, quiet_s: float) -> Iterator[Item]:
    for key in store.folders("bundles"):
        digest = key.rpartition("/")[2]
        if digest.endswith(".attest") or digest in kept.bundles:
            continue
        yield from _object(store, "bundle", key, before_s, quiet_s, partial(bundle.withdraw, store, digest))


def _stages(store: Store, kept: Retained, before_s: float, quiet_s: float) -> Iterator[Item]:
    for name in store.folders("stages"):
        for key in () if name in ALWAYS else store.folders(name):
            if key not in kept.stages:
                yield from _object(store, "stage", key, before_s, quiet_s, partial(store.delete, key))


def _object(
    store: Store, kind: Kind, key: str, before_s: float, quiet_s: float, remove: Callable[[], object]
) -> Iterator[Item]:
    """It, if it is old. Without its listing it does not exist: half of it was written, or is still to be removed."""
    found = store.measure(key)
    if found.newest_s < before_s:
        if store.has(key):
            yield Item(kind, key, found.bytes, remove)
        elif found.newest_s < quiet_s:
            yield Item("leftover", key, found.bytes, partial(store.delete, key))


def _work(store: Store, before_s: float) -> Iterator[Item]:
    """Where steps work on this machine: of finished stages at once, since no pipeline runs; else when it is old."""
    root = store.scratch("locks").parent
    for folder in sorted(root.glob("stages/*/*")):
        is_done = store.has(folder.relative_to(root).as_posix())
        yield from _folder("work", folder, float("inf") if is_done else before_s)
    for folder in sorted(p for p in root.iterdir() if p.name not in ("locks", "stages")):
        yield from _folder("work", folder, before_s)


def _folder(kind: Kind, path: Path, before_s: float) -> Iterator[Item]:
    found = measure(path)
    newest_s = max(found.newest_s, path.stat().st_mtime) if path.is_dir() else before_s
    if newest_s < before_s:
        yield Item(kind, path.name, found.bytes, partial(shutil.rmtree, path, ignore_errors=True))


def _tell(at: Registry, settings: Settings, items: list[Item]) -> None:
    """Into the history first: each version whose bundle goes, unless a cut-off start said so, and all of it in one line."""
    entries = history.read(at.home)
    newest = {e.event.bundle_digest: e.event.kind for e in entries if e.event.kind in ("recorded", "removed")}
    told = {digest for digest, kind in newest.items() if kind == "removed"}  # and was not made again since
    made = {e.event.bundle_digest: e.event.version for e in entries if e.event.kind == "recorded"}
    for item in items:
        digest = item.name.rpartition("/")[2]
        if item.kind == "bundle" and digest in made and digest not in told:
            event = Event(
                kind="removed", version=made[digest], by=at.by, bundle_digest=digest, detail={"what": "bundle"}
            )
            history.append(at.home, event)
    policy = settings.retention.model_dump()
    counted: dict[str, object] = {t.kind: {"count": t.count, "mb": t.mb} for t in _tallies(items)}
    history.append(at.home, Event(kind="removed", version=None, by=at.by, detail={**counted, "policy": policy}))


def _tallies(items: list[Item]) -> tuple[Tally, ...]:
    made = []
    for kind in KINDS:
        own = [item for item in items if item.kind == kind]
        mb = round(sum(item.bytes for item in own) / 2**20, 3)
        if own:
            made.append(Tally(kind=kind, count=len(own), mb=mb, names=tuple(item.name for item in own)))
    return tuple(made)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """No pipeline and no rollout of this home while this runs; pipelines that start wait."""
    with ExitStack() as stack:
        paths = [lock_file(home), *(targets.lock_file(home, name) for name in targets.known(home))]
        for path in paths:
            what = "a pipeline or a rollout" if path == paths[0] else f"a rollout to {path.stem}"
            try:
                stack.enter_context(lock.held(path, wait=False))
            except BlockingIOError as error:
                raise ResourceInsufficient(
                    f"{what} runs here (pid {lock.holder(path)}) and may use what would go; nothing was touched. "
                    "Run gc again when it has ended"
                ) from error
        yield
