"""LoRA training beside TRL's SFTTrainer: tokens/s, peak memory, and the share of what matrix products alone allow.

Same model (Qwen3-0.6B's shape, random weights), LoRA, calls, batches, order, schedule and bf16 on both sides; each side is
a process of its own, and the order of the sides turns round every round, so that a drifting machine favours none. TRL has
its loss and its output embedding at the completion only (`chunked_nll`), no packing and no padding (all prompts are equally
long, so neither would bring anything) and adapters in bf16; it is shown with its gradient checkpointing, as it is by default,
and without. Tokens are those of whole prompts on every side, however few of them a side really runs.

At full depth it exits 1 unless ours has 2.5 times the tokens/s of TRL's default, and less peak memory than either TRL.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import _process

SHAPE = {
    "vocab_size": 151936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 4096,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "tie_word_embeddings": True,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "bos_token_id": None,
}
SIDES = {
    "ours": "ours",
    "whole": "ours, nothing shared",
    "trl": "TRL, no checkpointing",
    "trl-recompute": "TRL, gradient checkpointing",
}


def main() -> None:
    """Measure, print the table, and write everything to `--out`."""
    args = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        job = {"base": args.base, "shape": {**SHAPE, "num_hidden_layers": args.layers}} | {
            name: getattr(args, name) for name in ("rows", "tokens", "tells", "steps", "seconds", "threads")
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        run("prepare", folder)
        if args.profile:
            print(table(run("profile", folder)["profile"]))
            return
        rounds = [measure(folder, args.sides, turned=i % 2 == 1) for i in range(args.rounds)]
    found = summary(rounds, args.sides)
    print(report(found))
    if args.out:
        args.out.write_text(json.dumps({"job": job, "rounds": rounds, **found}, indent=1), encoding="utf-8")
    if args.layers == 28 and set(args.sides) == set(SIDES):
        sys.exit("\n".join(broken(found["sides"])) or 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./tingsu bench train", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=0, help="measured steps a side and round; default: by --seconds")
    parser.add_argument("--seconds", type=float, default=40, help="measured time a side and round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--layers", type=int, default=28, help="fewer for a quick check")
    parser.add_argument("--rows", type=int, default=8, help="calls a batch")
    parser.add_argument("--tokens", type=int, default=200, help="tokens a prompt, instruction included")
    parser.add_argument(
        "--tells", default="codes", help="prompt.tells: codes, names, definitions (a longer instruction)"
    )
    parser.add_argument("--threads", type=int, default=0, help="default: torch's own choice")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--base", help="the folder of a real model instead of random weights")
    parser.add_argument("--profile", action="store_true", help="where the time of our side goes")
    parser.add_argument("--out", type=Path, help="everything as JSON")
    return parser.parse_args()


def measure(folder: Path, sides: list[str], turned: bool) -> dict[str, Any]:
    """One round: every side and the ceiling, each in its own process."""
    order = ["ceiling", *sides]
    return {side: run(side, folder) for side in (reversed(order) if turned else order)}


def run(side: str, folder: Path) -> dict[str, Any]:
    """What `tests.bench._train_side` answers in a fresh process: its last line."""
    print(f"… {SIDES.get(side, side)}", file=sys.stderr, flush=True)
    found = _process.run("tests.bench._train_side", side, folder, env={"HF_DATASETS_CACHE": str(folder / "cache")})
    shutil.rmtree(folder / "scratch", ignore_errors=True)
    return found


def summary(rounds: list[dict[str, Any]], sides: list[str]) -> dict[str, Any]:
    """Over all measured steps of all rounds; the ratios and shares are of medians."""
    ceiling = statistics.median(r["ceiling"]["gflops"] for r in rounds)
    found: dict[str, Any] = {"ceiling_gflops": ceiling, "sides": {}}
    for side in sides:
        first = rounds[0][side]
        steps = sorted(s for r in rounds for s in r[side]["steps_s"])
        rates = [first["calls"] / s for s in (steps[-1], statistics.median(steps), steps[0])]
        found["sides"][side] = {
            "calls_per_s": rates,
            "tokens_per_s": [r * first["prompt_tokens"] for r in rates],
            "call_tokens_per_s": [r * (first["prompt_tokens"] - first["head_tokens"]) for r in rates],
            "peak_mb": max(r[side]["peak_mb"] for r in rounds),
            "ceiling_share": rates[1] * first["gflop_a_call"] / ceiling,
            "losses": first["losses"],
        }
    return found


def broken(sides: dict[str, Any]) -> list[str]:
    """The promises that this measurement does not bear out."""
    ours, default = sides["ours"], sides["trl-recompute"]
    times = ours["tokens_per_s"][1] / default["tokens_per_s"][1]
    least = min(sides[side]["peak_mb"] for side in ("trl", "trl-recompute"))
    slow = [f"ours is {times:.2f} times as fast as TRL's default; promised are 2.5"] if times < 2.5 else []
    large = [f"ours peaks at {ours['peak_mb']:,.0f} MB, TRL at {least:,.0f} MB"] if ours["peak_mb"] >= least else []
    return slow + large


def report(found: dict[str, Any]) -> str:
    lines = [
        f"{'':<28} {'calls/s':>8} {'tokens/s (min–max)':>20} {'without instruction':>20} {'peak MB':>8} {'of ceiling':>10}"
        f" {'x best TRL':>10}   loss of the first steps"
    ]
    best = max((of["tokens_per_s"][1] for side, of in found["sides"].items() if side.startswith("trl")), default=None)
    for side, of in found["sides"].items():
        low, middle, high = of["tokens_per_s"]
        times = f"{middle / best:.2f}" if best else ""
        lines.append(
            f"{SIDES[side]:<28} {of['calls_per_s'][1]:>8.2f} {f'{middle:,.0f} ({low:,.0f}–{high:,.0f})':>20}"
            f" {of['call_tokens_per_s'][1]:>20,.0f} {of['peak_mb']:>8,.0f} {of['ceiling_share']:>10.0%} {times:>10}   "
            + " ".join(f"{loss:.4f}" for loss in of["losses"][:4])
        )
    return "\n".join([*lines, f"ceiling: {found['ceiling_gflops']:,.0f} GFLOP/s in the model's own products, bf16"])


def table(shares: dict[str, float]) -> str:
    return "\n".join(f"{kind:<24} {share:6.1%}" for kind, share in sorted(shares.items(), key=lambda x: -x[1]))


if __name__ == "__main__":
    main()
