"""Stages: a step's work is kept under the digest of its inputs, its settings and its code, and never done twice.

The record is the truth about what is finished. It lies in the stage's folder, which the store makes appear whole or not at all.
"""

import ast
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from pydantic import BaseModel

from data_contracts.errors import BundleCorrupt
from data_contracts.schema import PLACE, Frozen
from deploy import disk
from deploy.operate import lock
from deploy.store import Store

ROOT = Path(__file__).parent.parent
LAYERS = ("flows", "tasks", "deploy", "configs", "data_contracts")
RECORD = "record.json"
R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class Work:
    """Where a step works: what it writes to `out` becomes the store folder `key`; `scratch` survives a crash."""

    store: Store
    key: str
    out: Path
    scratch: Path


class Record(Frozen):
    """What a finished stage left. `seconds` is the wall time of the run that did the work."""

    stage: str
    key: str
    result: dict[str, object]
    seconds: float
    finished_at: str


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """A stage's result, and whether it was done now or found."""

    result: R
    key: str
    seconds: float
    reused: bool


def stage_key(name: str, inputs: BaseModel | dict[str, object], module: ModuleType) -> str:
    """`stages/<name>/<digest>` of inputs and settings (canonical JSON) and of the step's code.

    Where something lies does not count, only what it is: fields marked `PLACE` are left out.
    """
    both = {"inputs": _plain(inputs), "code": code_digest(module.__name__)}
    text = json.dumps(both, sort_keys=True, ensure_ascii=False)
    return f"stages/{name}/{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def run(store: Store, key: str, kind: type[R], step: Callable[[Work], R]) -> Outcome[R]:
    """The stage's recorded result, or the step's, recorded.

    `step` gets a Work with an empty `out`; a crash leaves nothing under `key`, and `scratch` as it was.
    """
    with lock.held(store.scratch("locks") / f"{key.replace('/', '-')}.lock"):  # one process a stage at a time
        found = finished(store, key, kind)
        if found is not None:
            return found
        seconds = _perform(store, key, step)
        kept = finished(store, key, kind)  # another machine may have been first, and its files count
        if kept is None:
            raise BundleCorrupt(
                f"{key} was stored and cannot be read back; check the disk or the bucket, then run again"
            )
        return Outcome(kept.result, key, seconds, reused=False)


def _perform(store: Store, key: str, step: Callable[[Work], R]) -> float:
    scratch = store.scratch(key)
    with disk.explained(scratch):
        return _work(store, key, step, scratch)


def _work(store: Store, key: str, step: Callable[[Work], R], scratch: Path) -> float:
    """Do the work and store it; its seconds."""
    out = scratch / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (scratch / "keep").mkdir(exist_ok=True)
    started = time.monotonic()
    result = step(Work(store=store, key=key, out=out, scratch=scratch / "keep"))
    seconds = time.monotonic() - started
    record = Record(
        stage=key.split("/")[1], key=key, result=result.model_dump(mode="json"), seconds=seconds, finished_at=now()
    )
    (out / RECORD).write_text(record.model_dump_json(indent=1), encoding="utf-8")
    store.commit(out, key)
    shutil.rmtree(scratch, ignore_errors=True)
    return seconds


def finished(store: Store, key: str, kind: type[R]) -> Outcome[R] | None:
    """The recorded outcome of a stage, or None; one with a changed byte is removed so that the stage runs again."""
    if not store.has(key):
        return None
    try:
        store.verify(key)
        record = Record.model_validate_json((store.local(key) / RECORD).read_text(encoding="utf-8"))
    except (BundleCorrupt, ValueError):
        store.delete(key)
        return None
    return Outcome(kind.model_validate(record.result), key, record.seconds, reused=True)


@cache
def code_digest(module: str) -> str:
    """SHA-256 over the sources of a project module and every project module it imports, however deep, and their data."""
    digest = hashlib.sha256()
    for file in sorted({file for name in _closure(module) for file in (_source(name), *_data(name))}):
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def now() -> str:
    """The time, UTC, ISO 8601, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _closure(module: str) -> set[str]:
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += [*_imports(_source(name)), *_packages(name)]
    return seen


def _imports(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        yield from (n for n in names if n.split(".")[0] in LAYERS and _source(n).is_file())


def _packages(module: str) -> list[str]:
    """The packages a module lies in that have code of their own."""
    parts = module.split(".")
    above = [".".join(parts[:n]) for n in range(2, len(parts))]
    return [name for name in above if _source(name).is_file()]


def _data(module: str) -> list[Path]:
    """The data files of the package a module lies in. What lies beside a layer's own modules reaches a step as input."""
    folder = _source(module).parent
    beside = folder.rglob("*") if folder.parent != ROOT else ()
    return [p for p in beside if p.is_file() and p.suffix not in (".py", ".pyc")]


def _source(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        fields = type(value).model_fields.items()
        return {name: _plain(getattr(value, name)) for name, field in fields if PLACE not in field.metadata}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return value
