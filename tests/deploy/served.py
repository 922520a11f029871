"""A real service process over a small bundle, with a fake engine at the port or the real one."""

import contextlib
import itertools
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil

from data_contracts import taxonomy
from data_contracts.artifacts import BundleRef, Calibration, Model, Verdict
from data_contracts.prompt import Prompt, instruct
from deploy import bundle, calibration
from deploy.bundle import Golden, Parts
from deploy.engines import Capabilities, Engine, Scores, choose
from deploy.service.child import Plan
from deploy.store import FolderStore
from deploy.tokenizer import Tokens
from tests import tiny

QUOTED = "my card is 6222 0212 3456 7890"
ROOT = Path(__file__).parent.parent.parent
TAXONOMY = taxonomy.load()
CALIBRATION = Calibration(temperature=1.5, bias=(0.1,) * len(TAXONOMY.keys), threshold=0.2)
PROMPT = Prompt(
    template="qwen3",
    instruction=instruct([(c.code, c.name_zh, "") for c in TAXONOMY.categories], False),
    max_call_tokens=128,
)
TEXTS = ("客户：我的话费多扣了三十元。", "客户：宽带断了两天。\n客服：马上核实。")
WITH_FAKE = """
import sys
from deploy.service.__main__ import main
from tests.deploy.served import load
sys.exit(main(sys.argv[1:], load))
"""


class FakeEngine:
    """Scores that depend on the ids and on `shift` alone.

    `fake.json` in the model folder: `delay_s` a batch takes, `load_s` to load, `shift`, `memory_mb` it says it holds, and
    `token_mb` it really takes for each token of a batch.
    """

    name = "fake"
    capabilities = Capabilities(True, 1000, 100_000, True, False, False)

    def __init__(
        self, delay_s: float = 0.0, shift: float = 0.0, memory_mb: float = 12.5, token_mb: float = 0.0
    ) -> None:
        self.delay_s, self.shift, self.held_mb, self.token_mb = delay_s, shift, memory_mb, token_mb

    def healthy(self) -> bool:
        return True

    def score(self, prompts: Sequence[Sequence[int]], category_ids: Sequence[int], head_tokens: int) -> Scores:
        time.sleep(self.delay_s)
        held = b"1" * int(self.token_mb * 2**20 * sum(map(len, prompts)))
        del held
        rows = [[((sum(p) * (i + 3) + self.shift) % 17) / 4.0 for i in range(len(category_ids))] for p in prompts]
        raw = np.array(rows, np.float32)
        logprobs = (raw - np.logaddexp.reduce(raw, axis=1, keepdims=True) - 0.01).astype(np.float32)
        return Scores(logprobs, np.exp(logprobs).sum(axis=1))

    def memory_mb(self) -> float:
        return self.held_mb

    def close(self) -> None:
        pass


def load(plan: Plan) -> Engine:
    """The loader handed to the child process."""
    behaviour = json.loads((plan.model / "fake.json").read_text())
    time.sleep(behaviour.pop("load_s", 0.0))
    return FakeEngine(**behaviour)


def load_scarce(plan: Plan) -> Engine:
    """The real engine, with `TEST_ROOM_MB` of address space left to its process; from the batch numbered `TEST_ROOM_FROM` on."""
    engine = choose.load(plan.engine, plan.model, plan.serve, plan.longest_tokens)
    score, batches = engine.score, itertools.count()
    first = int(os.environ.get("TEST_ROOM_FROM", "1"))

    def counted(prompts: Sequence[Sequence[int]], category_ids: Sequence[int], head_tokens: int) -> Scores:
        if next(batches) == first:
            limit = psutil.Process().memory_info().vms + int(os.environ["TEST_ROOM_MB"]) * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        return score(prompts, category_ids, head_tokens)

    engine.score = counted  # type: ignore[method-assign]
    engine.score([(1, 2, 3)], plan.category_ids, 0)
    return engine


def load_quoting(plan: Plan) -> Engine:
    """The fake engine, which fails over the third batch with an error of its own that quotes it, as libraries do."""
    engine, batches = load(plan), itertools.count(1)
    score = engine.score

    def failing(prompts: Sequence[Sequence[int]], category_ids: Sequence[int], head_tokens: int) -> Scores:
        if next(batches) == 3:
            raise KeyError(QUOTED)
        return score(prompts, category_ids, head_tokens)

    engine.score = failing  # type: ignore[method-assign]
    return engine


def fake_model(store: FolderStore, **behaviour: float) -> Model:
    """A model folder that only the fake engine can load."""
    key = f"stages/merge/{len(list(store.root.rglob('*')))}/model"
    folder = store.root / key
    tiny.write_tokenizer(folder)
    (folder / "fake.json").write_text(json.dumps(behaviour))
    (folder / "model.safetensors").write_bytes(b"w" * 1000)
    return Model(key=key, form="merged", digest="0" * 64, size_mb=0.001)


def golden(model: Path, engine: Engine) -> tuple[Golden, ...]:
    """What this engine answers to two calls."""
    tokens = Tokens.load(model)
    head, _ = PROMPT.frame(tokens)
    prompts = [PROMPT.encode(text, tokens).ids for text in TEXTS]
    rows = calibration.apply(CALIBRATION, engine.score(prompts, TAXONOMY.code_ids(tokens), len(head)).logprobs)
    return tuple(
        Golden(text=t, probabilities=dict(zip(TAXONOMY.keys, row.tolist(), strict=True)))
        for t, row in zip(TEXTS, rows, strict=True)
    )


def parts(model: Model, expected: tuple[Golden, ...], prompt: Prompt = PROMPT) -> Parts:
    return Parts(
        model=model,
        prompt=prompt,
        taxonomy=TAXONOMY,
        calibration=CALIBRATION,
        golden=expected,
        engine="llamacpp" if model.form == "gguf-q8_0" else "transformers",
        synthetic=True,
    )


def fake_bundle(store: FolderStore, **behaviour: float) -> BundleRef:
    model = fake_model(store, **behaviour)
    expected = golden(store.root / model.key, FakeEngine(shift=behaviour.get("shift", 0.0)))
    return bundle.assemble(parts(model, expected), store)


def real_bundle(store: FolderStore, seed: int = 0, prompt: Prompt = PROMPT, **config: int) -> BundleRef:
    """A random Qwen3 of thirty thousand parameters and what the real engine answers with it. `prompt` differs in its length only."""
    from deploy.engines.transformers import TransformersEngine

    key = f"stages/merge/real-{seed}/model"
    path = tiny.write_base(store.root / key, seed=seed, **config)
    engine = TransformersEngine.load(path, precision="fp32", threads=1)
    model = Model(key=key, form="merged", digest="1" * 64, size_mb=0.1)
    return bundle.assemble(parts(model, golden(path, engine), prompt), store)


def verdict(digest: str, decision: str = "PROMOTE") -> Verdict:
    fields = ("dataset_id", "gold_digest", "taxonomy_digest", "prompt_digest", "report_digest", "thresholds_digest")
    return Verdict.model_validate(
        {
            **dict.fromkeys(fields, "d"),
            "decision": decision,
            "bundle_digest": digest,
            "champion_bundle": None,
            "engine": "transformers",
            "quantization": "merged",
            "profile": "tiny",
            "synthetic": True,
            "gold_looks": 1,
            "bounds": (),
            "created_at": "2026-11-22T00:00:00+00:00",
        }
    )


def promote(store: FolderStore, ref: BundleRef, home: Path, decision: str = "PROMOTE") -> Path:
    """Attach a signed verdict; the folder to serve."""
    signed = bundle.sign(verdict(ref.digest, decision), bundle.keypair(home))
    bundle.attest(store, ref, "verdict.json", signed.model_dump_json().encode())
    return bundle.place(store, ref)


@dataclass
class Served:
    """A running service process."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path
    started_s: float

    def ready(self, limit_s: float = 60.0) -> "Served":
        until = time.monotonic() + limit_s
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/ready").status_code == 200:
                    return self
            time.sleep(0.02)
        raise AssertionError(f"not ready: {self.log.read_text()[-3000:]}")


def argv(folder: Path | None, home: Path, port: int, *more: str, fake: bool = True, loader: str = "load") -> list[str]:
    program = WITH_FAKE.replace("import load", f"import {loader} as load")
    start = ["-c", program] if fake else ["-m", "deploy.service"]
    bundle = [] if folder is None else [f"--bundle={folder}"]
    return [sys.executable, "-P", *start, *bundle, f"--home={home}", f"--port={port}", *more]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def refused(folder: Path | None, home: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    """A start that is expected to fail."""
    return subprocess.run(
        argv(folder, home, free_port(), *more), env=environment(), capture_output=True, text=True, timeout=60
    )


@contextlib.contextmanager
def serving(
    folder: Path | None, home: Path, *more: str, fake: bool = True, loader: str = "load", before: Sequence[str] = ()
) -> Iterator[Served]:
    """Start, wait until HTTP answers at all, and stop at the end.

    `loader`: of this module, makes the engine in its process; `before`: a program that becomes the service, as prlimit does.
    """
    port = free_port()
    log = home / f"logs/service-{port}.log"
    log.parent.mkdir(exist_ok=True)
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*before, *argv(folder, home, port, *more, fake=fake, loader=loader)],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stderr=out,
            stdout=out,
        )
    served = Served(f"http://127.0.0.1:{port}", process, log, 0.0)
    try:
        while process.poll() is None and time.monotonic() < began + 30:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{served.url}/health")
                break
            time.sleep(0.02)
        served.started_s = time.monotonic() - began
        yield served
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
