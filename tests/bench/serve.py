"""The classification service beside llama.cpp, transformers' `generate` and its plain forward, and under load.

Same weights (Qwen3-0.6B's shape, random), same calls (prompts of `--tokens` ids, the instruction's included), same cores, as many
callers, or rows a batch, on every side; llama.cpp has them in Q8_0, all others in bf16. Both servers keep the
instruction's prefix. Each side is a process of its own, and the order of the sides turns round every round, so that a drifting
machine favours none. Then the service alone: latency at 70 % of the capacity just measured, and what ten times the capacity does to it.
Calls arrive evenly for the promise on latency; a Poisson process is shown beside it: of any single server that takes about equally
long for every call, its queue alone puts p95 beyond twice p50 at this load.

At full depth it exits 1 where a promise of the table is broken.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from deploy.engines import llama_server
from deploy.operate import load
from tests.bench import _serve_side
from tests.bench._process import run
from tests.bench.train import SHAPE, table

SIDE = "tests.bench._serve_side"
SIDES = {
    "ours": "Tingsu service",
    "compiled": "Tingsu service, serve.compile",
    "llama": "llama.cpp server, Q8_0",
    "generate": "transformers, generate the category's name",
    "forward": "transformers, logits at every position",
}
TIMES = {"llama": 4.0, "generate": 3.0, "forward": 1.5}
"""What is promised: so many times the calls a second of each."""
CEILING_SHARE, WEB_MB, UP_S, TAIL = 0.6, 400, 2.0, 2.0
BUSY, FLOOD = 0.7, 10.0
GROWTH_MB = 100
DEADLINE_S = 10.0


def main() -> None:
    """Measure, print the tables, and write everything to `--out`."""
    args = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        job = {"shape": {**SHAPE, "num_hidden_layers": args.layers}, "serve": {"deadline_s": DEADLINE_S}} | {
            name: getattr(args, name) for name in ("tokens", "tells", "clients", "seconds", "llama")
        }
        write(folder, job)
        job |= run(SIDE, "prepare", folder)
        write(folder, job)
        if args.profile:
            print(table(run(SIDE, "profile", folder)))
            return
        sides = ["ceiling", *args.sides]
        rounds = [
            {side: run(SIDE, side, folder) for side in (reversed(sides) if i % 2 else sides)}
            for i in range(args.rounds)
        ]
        found = summary(rounds, args.sides)
        print(report(found), flush=True)
        found["load"] = under_load(job, folder, found["sides"]["ours"]["calls_per_s"][1])
    print(told(found["load"]))
    if args.out:
        args.out.write_text(json.dumps({"job": job, "rounds": rounds, **found}, indent=1), encoding="utf-8")
    if args.layers == 28:
        sys.exit("\n".join(broken(found)) or 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./tingsu bench serve", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30, help="measured time a side and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--clients", type=int, default=8, help="callers at a time; rows a batch where there is no server"
    )
    parser.add_argument("--layers", type=int, default=28, help="fewer for a quick check")
    parser.add_argument("--tokens", type=int, default=200, help="tokens a prompt, instruction included")
    parser.add_argument(
        "--tells", default="codes", help="prompt.tells: codes, names, definitions (a longer instruction)"
    )
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--llama", default="", help="the llama-server program; default: the one installed")
    parser.add_argument("--profile", action="store_true", help="where the time of the service's engine goes")
    parser.add_argument("--out", type=Path, help="everything as JSON")
    args = parser.parse_args()
    args.llama = llama_server.find(args.llama) if "llama" in args.sides else ""
    if "ours" not in args.sides:
        parser.error("--sides needs ours: the others are beside it")
    return args


def write(folder: Path, job: dict[str, Any]) -> None:
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")


def summary(rounds: list[dict[str, Any]], sides: list[str]) -> dict[str, Any]:
    """Medians over the rounds, with the least and the most."""
    ceiling = statistics.median(r["ceiling"]["gflops"] for r in rounds)
    call = rounds[0]["ceiling"]["gflop_a_call"]
    found: dict[str, Any] = {"ceiling_gflops": ceiling, "gflop_a_call": call, "sides": {}}
    for side in sides:
        rates = sorted(r[side]["calls_per_s"] for r in rounds)
        memory = [r[side]["memory_mb"] for r in rounds if "memory_mb" in r[side]]
        found["sides"][side] = {
            "calls_per_s": [rates[0], statistics.median(rates), rates[-1]],
            "memory_mb": max(memory, default=None),
        }
    middle = found["sides"]["ours"]["calls_per_s"][1]
    found["ceiling_share"] = middle * call / ceiling
    found["up_s"] = max(r["ours"]["up_s"] for r in rounds)
    found["web_mb"] = max(r["ours"]["web_mb"] for r in rounds)
    return found


def report(found: dict[str, Any]) -> str:
    ours = found["sides"]["ours"]["calls_per_s"][1]
    lines = [
        "| | calls/s (min–max) | the service's, times this | promised | MB of the engine |",
        "| --- | --- | --- | --- | --- |",
    ]
    for side, of in found["sides"].items():
        low, middle, high = of["calls_per_s"]
        memory = "–" if of["memory_mb"] is None else f"{of['memory_mb']:,.0f}"
        promised = f"{TIMES[side]:g}" if side in TIMES else ""
        lines.append(
            f"| {SIDES[side]} | {middle:.2f} ({low:.2f}–{high:.2f}) | {ours / middle:.2f} | {promised} | {memory} |"
        )
    lines += [
        "",
        f"ceiling: {found['ceiling_gflops']:,.0f} GFLOP/s in the model's products, bf16; {found['gflop_a_call']:.0f} GFLOP run a call: "
        f"the service reaches {found['ceiling_share']:.0%}",
        f"the service answers after {found['up_s']:.1f} s, without its engine; its own process holds {found['web_mb']:.0f} MB",
    ]
    return "\n".join(lines)


def under_load(job: dict[str, Any], folder: Path, capacity: float) -> dict[str, Any]:
    """Latency at `BUSY` of the capacity, evenly and as a Poisson process, then `FLOOD` times the capacity."""
    texts = json.loads((folder / "data.json").read_text(encoding="utf-8"))["texts"]
    bodies = [json.dumps({"text": text}) for text in texts]
    with _serve_side.serving(job, folder) as up:
        found: dict[str, Any] = {}
        for arrivals in ("constant", "poisson"):
            sends = load.schedule(BUSY * capacity, 2 * job["seconds"], 1, arrivals)
            sent = flood(load.Plan(up["url"], _serve_side.CLASSIFY, sends, bodies, 120.0), folder)
            latencies = [s["latency_s"] for s in sent if not s["error"]]
            in_flight = BUSY * capacity * sum(latencies) / max(len(latencies), 1)  # Little's law
            found[arrivals] = quantiles(latencies, len(sent)) | {"in_flight": in_flight}
        before = memory_mb(up)
        sends = load.schedule(FLOOD * capacity, job["seconds"], 2)
        sent = flood(load.Plan(up["url"], _serve_side.CLASSIFY, sends, bodies, 120.0), folder)
        accepted = [s["latency_s"] for s in sent if not s["error"]]
        refused = [s["latency_s"] for s in sent if s["error"] in ("HTTP 429", "HTTP 503")]
        found["flood"] = {
            **quantiles(accepted, len(sent)),
            "late": sum(latency > DEADLINE_S + 1 for latency in accepted),
            "refused": len(refused),
            "refused_p95_s": quantiles(refused, len(sent))["p95_s"],
            "other": len(sent) - len(accepted) - len(refused),
            "growth_mb": memory_mb(up) - before,
        }
    return found


def flood(plan: load.Plan, folder: Path) -> list[dict[str, Any]]:
    """What Locust sent, from a process of its own."""
    (folder / "plan.json").write_text(json.dumps(plan._asdict()), encoding="utf-8")
    run(load.__name__, folder / "plan.json", folder / "sent.json")
    return list(json.loads((folder / "sent.json").read_text(encoding="utf-8")))


def quantiles(latencies_s: list[float], sent: int) -> dict[str, Any]:
    ordered = sorted(latencies_s)
    at = lambda share: ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")  # noqa: E731
    return {"sent": sent, "answered": len(ordered), "p50_s": at(0.5), "p95_s": at(0.95)}


def memory_mb(up: dict[str, Any]) -> float:
    """Of the service's process and its engine's."""
    import psutil

    web = psutil.Process(up["pid"])
    return float(sum(p.memory_info().rss for p in (web, *web.children(recursive=True))) / 2**20)


def told(found: dict[str, Any]) -> str:
    lines = [
        f"at {BUSY:.0%} of the capacity, {name} arrivals: p50 {of['p50_s'] * 1000:.0f} ms, p95 {of['p95_s'] * 1000:.0f} ms "
        f"({of['p95_s'] / of['p50_s']:.1f} times), {of['answered']} of {of['sent']} answered, {of['in_flight']:.1f} in flight on average"
        for name, of in found.items()
        if name != "flood"
    ]
    lines.append(
        f"autoscaling.perPod of the chart, for pods with the cores of this machine: {max(1, round(found['poisson']['in_flight']))}"
    )
    of = found["flood"]
    lines.append(
        f"at {FLOOD:.0f} times the capacity: {of['sent']} sent, {of['answered']} answered (p95 {of['p95_s']:.1f} s, {of['late']} past the "
        f"deadline of {DEADLINE_S:.0f} s), {of['refused']} refused (p95 {of['refused_p95_s'] * 1000:.0f} ms), {of['other']} otherwise; "
        f"memory grew by {of['growth_mb']:.0f} MB"
    )
    return "\n".join(lines)


def broken(found: dict[str, Any]) -> list[str]:
    """The promises that this measurement does not bear out."""
    ours = found["sides"]["ours"]["calls_per_s"][1]
    wrong = [
        f"{ours / of['calls_per_s'][1]:.2f} times {SIDES[side]}; promised are {TIMES[side]:g}"
        for side, of in found["sides"].items()
        if side in TIMES and ours / of["calls_per_s"][1] < TIMES[side]
    ]
    busy, flooded = found["load"]["constant"], found["load"]["flood"]
    limits = [
        (
            found["ceiling_share"] >= CEILING_SHARE,
            f"{found['ceiling_share']:.0%} of the ceiling; promised are {CEILING_SHARE:.0%}",
        ),
        (found["up_s"] < UP_S, f"the service takes {found['up_s']:.1f} s to answer; promised are {UP_S:g}"),
        (found["web_mb"] < WEB_MB, f"the service's process holds {found['web_mb']:.0f} MB; promised are {WEB_MB}"),
        (
            busy["p95_s"] < TAIL * busy["p50_s"],
            f"p95 is {busy['p95_s'] / busy['p50_s']:.1f} times p50; promised are {TAIL:g}",
        ),
        (
            not flooded["late"] and not flooded["other"],
            f"{flooded['late']} answers late, {flooded['other']} neither answered nor refused",
        ),
        (flooded["growth_mb"] < GROWTH_MB, f"memory grew by {flooded['growth_mb']:.0f} MB"),
    ]
    return wrong + [said for holds, said in limits if not holds]


if __name__ == "__main__":
    main()
