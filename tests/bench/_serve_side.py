"""One side of the serving benchmark, alone in its process, on prompts that `prepare` wrote. Prints one JSON line."""

import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from configs.serving import ServeSettings
from configs.training import PromptSettings
from data_contracts import samples, taxonomy
from data_contracts.artifacts import BundleRef, Calibration, Model
from data_contracts.prompt import Prompt
from data_contracts.schema import Call
from deploy import bundle, calibration, service
from deploy.engines import llama_server, weights
from deploy.engines.transformers import TransformersEngine
from deploy.operate import ports, processes
from deploy.service.text import prepare as as_read
from deploy.store import FolderStore
from deploy.tokenizer import Tokens
from tasks import gguf_file
from tasks.base import BUILTIN, resolve
from tasks.prompting import compose
from tests.bench._train_side import KINDS, products

CLASSIFY = "/api/v1/classify"
KNOWN = taxonomy.load()
POOL = 400
"""Different calls; no server is asked the same one twice within its memory of prompts."""
GOLDEN = 2


def prepare(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Random weights, their Q8_0 GGUF, calls whose prompts have exactly `tokens` ids, and a bundle of all."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    base = folder / "store/stages/merge/bench/model"
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    Qwen3ForCausalLM(Qwen3Config(**job["shape"])).save_pretrained(base)
    torch.set_default_dtype(torch.float32)
    for file in BUILTIN["builtin:tiny"].glob("tokenizer*"):
        shutil.copy(file, base)
    if job["llama"]:
        (folder / "gguf").mkdir()
        gguf_file.write(base, folder / "gguf")
    tokens = Tokens.load(base)
    bare = compose(resolve(str(base)), KNOWN, PromptSettings(tells=job["tells"]))
    head, tail = bare.frame(tokens)
    prompt = bare.model_copy(update={"max_call_tokens": job["tokens"] - len(head) - len(tail)})
    data = {"texts": [], "ids": [], "head": len(head), "codes": KNOWN.code_ids(tokens), "names": _names(tokens)}
    for text in (as_read(call, prompt) for call in calls()):
        encoded = prompt.encode(text, tokens)
        if len(encoded.ids) == job["tokens"] and len(data["texts"]) < POOL:
            data["texts"].append(text)
            data["ids"].append(encoded.ids)
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    ref = bundled(base, prompt, data, FolderStore(folder / "store"))
    return {"bundle": str(folder / "store" / ref.key), "calls": len(data["texts"]), "head_tokens": len(head)}


def calls() -> Iterator[Call]:
    for record in samples.generate(20 * POOL, seed=3):
        yield Call(text="\n".join(str(turn["text"]) for turn in record["turns"]))


def _names(tokens: Tokens) -> int:
    """Tokens of a category's name, on average, rounded: what a generated answer is long."""
    return round(statistics.mean(len(tokens.text_ids(c.name_zh)) for c in KNOWN.categories))


def bundled(
    base: Path, prompt: Prompt, data: dict[str, Any], store: FolderStore, golden_calls: int = GOLDEN
) -> BundleRef:
    """A bundle of the base with so many golden calls."""
    plain = Calibration(temperature=1.0, bias=(0.0,) * len(KNOWN.keys), threshold=0.2)
    engine = TransformersEngine.load(base)
    scores = engine.score(data["ids"][:golden_calls], data["codes"], data["head"])
    rows = calibration.apply(plain, scores.logprobs)
    golden = tuple(
        bundle.Golden(text=text, probabilities=dict(zip(KNOWN.keys, row.tolist(), strict=True)))
        for text, row in zip(data["texts"], rows, strict=False)
    )
    model = Model(key=base.relative_to(store.root).as_posix(), form="merged", digest="1" * 64, size_mb=0.1)
    parts = bundle.Parts(
        model=model,
        prompt=prompt,
        taxonomy=KNOWN,
        calibration=plain,
        golden=golden,
        engine="transformers",
        synthetic=True,
    )
    return bundle.assemble(parts, store)


@contextmanager
def serving(job: dict[str, Any], folder: Path) -> Iterator[dict[str, Any]]:
    """The real service on the bundle: its url, seconds until it answered at all, MB of its web process."""
    port = ports.spare(8100, [])
    argv = service.command(Path(job["bundle"]), port, folder / "home", ServeSettings(**job["serve"]), evaluation=True)
    url = f"http://127.0.0.1:{port}"
    began = time.perf_counter()
    command = processes.Command(name="bench", argv=tuple(argv), port=port, url=f"{url}/health", setting="serve.port")
    started = processes.start(folder / "home", command)
    try:
        processes.wait(started, 60)
        up_s = time.perf_counter() - began
        while not processes.answers(f"{url}/ready"):
            time.sleep(0.1)
        yield {"url": url, "up_s": up_s, "pid": started.pid}
    finally:
        processes.stop(folder / "home", "bench")


def ours(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Calls a second that the service answers to so many clients, each with one call at a time."""
    import psutil

    bodies = [{"text": text} for text in read(folder)["texts"]]
    with serving(job, folder) as up:
        with httpx.Client(base_url=up["url"], timeout=120) as client:
            rate = calls_a_second(job, lambda i: client.post(CLASSIFY, json=bodies[i % len(bodies)]).raise_for_status())
            memory_mb = float(client.get("/model_info").json()["memory_mb"])
        web_mb = psutil.Process(up["pid"]).memory_info().rss / 2**20
    return {"calls_per_s": rate, "up_s": up["up_s"], "web_mb": web_mb, "memory_mb": memory_mb}


def compiled(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The service with serve.compile."""
    return ours({**job, "serve": {**job["serve"], "compile": True}}, folder)


def llama(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same prompts, as ids, asked of llama.cpp's own server: one token, its likeliest alternatives."""
    prompts, slots = read(folder)["ids"], job["clients"]
    context = slots * (job["tokens"] + 16)
    words = [
        "-m",
        str(folder / "gguf" / weights.GGUF_FILE),
        "-c",
        str(context),
        "-np",
        str(slots),
        "-t",
        "2",
        "-tb",
        "2",
    ]
    server = llama_server.start(job["llama"], words)
    asked = {"n_predict": 1, "n_probs": len(KNOWN.keys), "temperature": 0, "cache_prompt": True}
    try:
        server.wait(180)
        rate = calls_a_second(
            job, lambda i: server.ask("/completion", {"prompt": list(prompts[i % len(prompts)]), **asked})
        )
        memory_mb = server.memory_mb()
    finally:
        server.close()
    return {"calls_per_s": rate, "memory_mb": memory_mb}


def calls_a_second(job: dict[str, Any], ask: Callable[[int], object]) -> float:
    """Of `clients` callers in turn with the next call; the first seconds are not counted."""
    numbers, done = count(), []
    start = time.perf_counter()
    warm, end = start + job["seconds"] / 4, start + 1.25 * job["seconds"]

    def caller(_: int) -> None:
        while time.perf_counter() < end:
            ask(next(numbers))
            done.append(time.perf_counter())

    with ThreadPoolExecutor(job["clients"]) as pool:
        list(pool.map(caller, range(job["clients"])))
    counted = sorted(at for at in done if at >= warm)
    return (len(counted) - 1) / (counted[-1] - counted[0])


def generate(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """transformers writes the category's name, greedily, equal batches."""
    names = read(folder)["names"]
    options = {"max_new_tokens": names, "min_new_tokens": names, "do_sample": False, "pad_token_id": 0}
    return in_process(job, folder, lambda model, ids: model.generate(input_ids=ids, **options))


def forward(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """transformers' forward with the whole vocabulary at every position, equal batches."""
    return in_process(job, folder, lambda model, ids: model(input_ids=ids).logits[:, -1].float().log_softmax(-1))


def in_process(job: dict[str, Any], folder: Path, run: Callable[[Any, Any], object]) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder / "store/stages/merge/bench/model", dtype=torch.bfloat16).eval()
    ids = torch.tensor(read(folder)["ids"])
    batches = [ids[i : i + job["clients"]] for i in range(0, len(ids) - job["clients"] + 1, job["clients"])]
    seconds: list[float] = []
    with torch.inference_mode():
        run(model, batches[0])
        until = time.perf_counter() + job["seconds"]
        while time.perf_counter() < until:
            start = time.perf_counter()
            run(model, batches[(1 + len(seconds)) % len(batches)])
            seconds.append(time.perf_counter() - start)
    return {"calls_per_s": job["clients"] / statistics.median(seconds)}


def ceiling(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """GFLOP/s of nothing but a layer's products in bf16, at the size of a batch of the clients' calls."""
    import torch

    sizes = products(job["shape"])
    rows = job["clients"] * (job["tokens"] - read(folder)["head"])
    made = [(torch.randn(rows, i, dtype=torch.bfloat16), torch.randn(o, i, dtype=torch.bfloat16)) for i, o in sizes]
    seconds: list[float] = []
    until = time.perf_counter() + job["seconds"] / 2
    while time.perf_counter() < until:
        start = time.perf_counter()
        for x, weight in made:
            torch.nn.functional.linear(x, weight)
        seconds.append(time.perf_counter() - start)
    gflops = 2 * rows * sum(i * o for i, o in sizes) / statistics.median(seconds) / 1e9
    return {"gflops": gflops, "gflop_a_call": flop_a_call(job, read(folder)["head"], sizes) / 1e9}


def flop_a_call(job: dict[str, Any], head: int, sizes: list[tuple[int, int]]) -> float:
    """What our pass runs in matrix products: of the last layer only what leads to its keys and values at every position; of
    attention the keys that a position sees; the vocabulary once."""
    shape, own = job["shape"], job["tokens"] - head
    layers, flop, query = shape["num_hidden_layers"], [2 * i * o for i, o in sizes], sizes[0][1]
    linear = own * ((layers - 1) * sum(flop) + sum(flop[:3])) + sum(flop[3:])
    seen = own * head + own * (own + 1) / 2
    return linear + layers * 4 * seen * query + 2 * shape["vocab_size"] * shape["hidden_size"]


def profile(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Each kind of operation's share of the time of one batch of as many calls as there are clients."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as Watch

    data = read(folder)
    engine = TransformersEngine.load(folder / "store/stages/merge/bench/model")
    batch = data["ids"][: job["clients"]]
    engine.score(batch, data["codes"], data["head"])
    with Watch(activities=[ProfilerActivity.CPU]) as watch:
        engine.score(batch, data["codes"], data["head"])
    spent: dict[str, float] = {}
    for event in watch.events():
        kind = next((kind for kind, names in KINDS.items() if event.name.startswith(names)), "other")
        spent[kind] = spent.get(kind, 0) + event.self_cpu_time_total
    return {kind: time / sum(spent.values()) for kind, time in spent.items()}


def read(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "data.json").read_text(encoding="utf-8")))


SIDES: dict[str, Callable[[dict[str, Any], Path], dict[str, Any]]] = {
    "prepare": prepare,
    "ours": ours,
    "compiled": compiled,
    "llama": llama,
    "generate": generate,
    "forward": forward,
    "ceiling": ceiling,
    "profile": profile,
}

if __name__ == "__main__":
    place = Path(sys.argv[2])
    with weights.quiet():
        found = SIDES[sys.argv[1]](json.loads((place / "job.json").read_text(encoding="utf-8")), place)
    print(json.dumps(found))
