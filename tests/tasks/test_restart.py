"""A chain of stages killed anywhere, again and again: it ends the same to the byte, and does no finished stage twice."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests import killer
from tests.killer import Plan
from tests.tasks.chain import STAGES, chain
from tests.tiny import Bench, make_bench

WRITES = r"^(open w|os\.|shutil\.)"
POINTS = 24
QUICK = 2
TIMES = ("created_at", "finished_at", "seconds", "tokens_per_s", "steps")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return make_bench(tmp_path_factory.mktemp("chain"), rows=24)


def start(bench: Bench, root: Path) -> Path:
    shutil.copytree(bench.store.root / "splits", root / "splits")
    return root


@pytest.fixture(scope="module")
def whole(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], list[str]]:
    """What an uninterrupted chain leaves, and every write it made on the way."""
    root = start(bench, tmp_path_factory.mktemp("whole") / "store")
    log = root.parent / "events"
    assert killer.run(chain, bench, root, plan=Plan(WRITES + f".*{re.escape(str(root))}", 0, str(log))) == 0
    return content(root), list(killer.told(log))


def content(root: Path) -> dict[str, bytes]:
    """Every file of every finished stage and bundle. Times, and the keys and digests that follow from them, are left out."""
    found = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file() and ".scratch" not in p.parts):
        name = re.sub(r"/[0-9a-f]{32}(?=/)", "", path.relative_to(root).as_posix())
        if path.name != ".files.json":
            found[name] = timeless(path) if path.name == "record.json" else path.read_bytes()
    return found


def timeless(record: Path) -> bytes:
    text = re.sub(r"stages/(\w+)/[0-9a-f]{32}", r"stages/\1", record.read_text())
    return json.dumps(json.loads(text, object_hook=lambda o: {k: v for k, v in o.items() if k not in TIMES})).encode()


def kill_twice_then_end(bench: Bench, root: Path, plan: Plan) -> None:
    done: dict[str, bytes] = {}
    for _ in range(2):
        if killer.run(chain, bench, root, plan=plan) == 0:
            break  # so late that the second start had nothing left to write
        now = killer.stages_of(root)
        assert done.items() <= now.items(), "a finished stage was done again"
        done = now
    assert killer.run(chain, bench, root) == 0
    now = killer.stages_of(root)
    assert done.items() <= now.items(), "a finished stage was done again"
    assert [sum(key.startswith(f"stages/{name}/") for key in now) for name in STAGES] == [1] * len(STAGES)


@pytest.mark.parametrize(
    "share", [pytest.param(i, marks=[] if i % (POINTS // QUICK) == 5 else pytest.mark.slow) for i in range(POINTS)]
)
def test_killed_at_any_write_it_ends_the_same(
    bench: Bench, whole: tuple[dict[str, bytes], list[str]], tmp_path: Path, share: int
) -> None:
    want, writes = whole
    root = start(bench, tmp_path / "store")
    nth = 1 + share * len(writes) // POINTS

    assert killer.run(chain, bench, root, plan=Plan(WRITES + f".*{re.escape(str(root))}", nth)) == -9
    kill_twice_then_end(bench, root, Plan(WRITES + f".*{re.escape(str(root))}", max(1, nth // 2)))

    assert content(root) == want


STEPS = {
    "before the record": r"open w .*/{stage}/[^/]*/out/record\.json",
    "before the list of files": r"os\.rename .*/{stage}/[^/]*/out/\.files\.json",
    "before it appears in the store": r"os\.rename .*/{stage}/[0-9a-f]*/out .*/stages/",
    "after it has appeared": r"(rmtree|rmdir) .*/\.scratch/stages/{stage}/[0-9a-f]*( |$)",
}


CASES = [(stage, step) for stage in STAGES for step in STEPS]
TELLING = [("quantize", "before it appears in the store"), ("pack", "after it has appeared")]


@pytest.mark.parametrize(
    ("stage", "step"), [pytest.param(*c, marks=[] if c in TELLING else pytest.mark.slow) for c in CASES]
)
def test_killed_twice_at_any_step_of_a_commit_it_ends_the_same(
    bench: Bench, whole: tuple[dict[str, bytes], list[str]], tmp_path: Path, stage: str, step: str
) -> None:
    root = start(bench, tmp_path / "store")
    plan = Plan(STEPS[step].format(stage=stage))

    assert any(re.search(plan.pattern, line) for line in whole[1]), f"nothing matches {plan.pattern}"
    kill_twice_then_end(bench, root, plan)

    assert content(root) == whole[0]
