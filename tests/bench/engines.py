"""What a second engine process (serve.engines) brings, and what asking a candidate too for every answer costs, on the tiny base.

The same calls, one a request, of many callers and of one alone; callers and engines share this machine's cores. What is mirrored waits
until no engine of either side has work, so that among many callers most of it is dropped: the share that was asked is shown.
"""

import argparse
import statistics
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import httpx

from configs.training import PromptSettings
from deploy.client import Client
from deploy.operate import canary_window
from deploy.store import FolderStore
from deploy.tokenizer import Tokens
from tasks.base import BUILTIN, resolve
from tasks.prompting import compose
from tests.bench import _serve_side
from tests.bench._serve_side import CLASSIFY, KNOWN
from tests.bench.serve import write

CANDIDATE = "/admin/candidate"
TINY = BUILTIN["builtin:tiny"]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="./tingsu bench engines", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6, help="measured time of one number")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        job = {"seconds": args.seconds, "clients": args.clients, **prepare(Path(temporary))}
        write(Path(temporary), job)
        ways = list(product((1, 2), (False, True)))
        rounds = [{way: measured(job, Path(temporary), *way) for way in ways} for _ in range(args.rounds)]
    print(f"| engines | mirrored | {args.clients} callers: calls/s | asked too | 1 caller: calls/s | asked too |")
    print("| --- | --- | --- | --- | --- | --- |")
    for way in ways:
        cells = [cell for many in (True, False) for cell in told([found[way][many] for found in rounds])]
        print(f"| {way[0]} | {'every answer' if way[1] else 'none'} | {' | '.join(cells)} |")


def prepare(folder: Path) -> dict[str, Any]:
    """Two bundles of the base that differ in their golden calls alone."""
    store = FolderStore(folder / "store")
    base = folder / "store/stages/merge/bench/model"
    base.mkdir(parents=True)
    for file in TINY.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    tokens, prompt = Tokens.load(base), compose(resolve(str(base)), KNOWN, PromptSettings(tells="codes"))
    texts = [text for text, _ in zip((call.text for call in _serve_side.calls()), range(400), strict=False)]
    ids = [prompt.encode(str(text), tokens).ids for text in texts]
    data = {"texts": texts, "ids": ids, "head": len(prompt.frame(tokens)[0]), "codes": KNOWN.code_ids(tokens)}
    first, second = (_serve_side.bundled(base, prompt, data, store, golden) for golden in (1, 2))
    places = [str(folder / "store" / ref.key) for ref in (first, second)]
    return {"bundle": places[0], "candidate": places[1], "texts": texts}


def measured(job: dict[str, Any], folder: Path, engines: int, is_mirrored: bool) -> dict[bool, tuple[float, float]]:
    """Calls a second, and the share of them that the candidate was asked too; of many callers (True) and of one."""
    bodies = [{"text": text} for text in job["texts"]]
    with (
        _serve_side.serving({**job, "serve": {"engines": engines}}, folder) as up,
        httpx.Client(base_url=up["url"], timeout=120) as client,
        Client(up["url"]) as service,
    ):
        if is_mirrored:
            client.post(CANDIDATE, json={"bundle": job["candidate"]}).raise_for_status()
            client.put(CANDIDATE, json={"share": 0, "mirror_share": 1}).raise_for_status()
        counted = lambda: canary_window.look_within([service], 0.0).champion[service.url]  # noqa: E731
        found = {}
        for clients in (job["clients"], 1):
            before = counted()
            ask = lambda i: client.post(CLASSIFY, json=bodies[i % len(bodies)]).raise_for_status()  # noqa: E731
            rate = _serve_side.calls_a_second({**job, "clients": clients}, ask)
            now = counted()
            found[clients > 1] = (rate, (now.mirrored - before.mirrored) / (now.side.requests - before.side.requests))
    return found


def told(found: list[tuple[float, float]]) -> tuple[str, str]:
    """Median, least and most of the rates; the mean of the shares."""
    rates = sorted(rate for rate, _ in found)
    share = statistics.mean(share for _, share in found)
    return f"{statistics.median(rates):.1f} ({rates[0]:.1f}–{rates[-1]:.1f})", f"{share:.0%}"


if __name__ == "__main__":
    main()
