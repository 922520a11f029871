"""One side of the training benchmark, alone in its process so that its peak memory is its own. Prints one JSON line."""

import json
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from configs.training import PromptSettings, TrainSettings
from data_contracts import samples, taxonomy
from deploy.engines import heap, weights
from deploy.tokenizer import Tokens
from tasks.base import BUILTIN, resolve
from tasks.batches import ROUND_TOKENS, Batches
from tasks.prompting import compose

WARM_STEPS = 2
POOL = 1200
"""Prompts to train on; more than any side gets through in its time."""
KINDS = {
    "products": ("aten::mm", "aten::addmm"),
    "attention": ("aten::bmm", "aten::baddbmm", "aten::_softmax", "aten::_scaled_dot", "aten::scaled_dot"),
    "copies and casts": ("aten::copy_", "aten::cat", "aten::index"),
    "elementwise": tuple(
        f"aten::{n}" for n in ("mul", "add", "pow", "rsqrt", "mean", "sum", "silu", "neg", "sub", "div")
    ),
}
LAYOUT = {"dropout": 0.0, "class_weight_power": 0.0, "epochs": 1, "precision": "bf16", "checkpoint_steps": 10**9}


def prepare(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The base model and the prompts: all of `tokens` ids, cut from generated calls that are at least that long."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    base = Path(job["base"] or folder / "base")
    if not job["base"]:
        torch.manual_seed(0)
        torch.set_default_dtype(torch.bfloat16)
        Qwen3ForCausalLM(Qwen3Config(**job["shape"])).save_pretrained(base)
        for file in BUILTIN["builtin:tiny"].glob("tokenizer*"):
            shutil.copy(file, base)
    tokens, known = Tokens.load(base), taxonomy.load()
    settings = PromptSettings(tells=job["tells"])
    bare = compose(resolve(str(base)), known, settings)
    head, tail = bare.frame(tokens)
    room = job["tokens"] - len(head) - len(tail)
    prompt = bare.model_copy(update={"max_call_tokens": room})
    rows = []
    for record in samples.generate(20 * POOL, seed=3):
        encoded = prompt.encode("\n".join(str(turn["text"]) for turn in record["turns"]), tokens)
        if len(encoded.ids) == job["tokens"]:
            rows.append((encoded.ids, known.index[str(record["complaint_category"])]))
        if len(rows) == POOL:
            break
    data = {"rows": rows, "head": head, "codes": known.code_ids(tokens)}
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    return {"rows": len(rows)}


def ours(job: dict[str, Any], folder: Path, shared: bool = True) -> Any:
    """The product's own Trainer."""
    import datasets

    from tasks.progress import Meter
    from tasks.ranks import ALONE
    from tasks.train import with_lora
    from tasks.trainer import Lesson, trainer

    data = read(folder)
    rows = [{"ids": ids, "category": category, "tokens": len(ids)} for ids, category in data["rows"]]
    known = datasets.Dataset.from_list(rows)
    head = tuple(data["head"]) if shared else ()
    lesson = Lesson(known, known.select(range(2)), tuple(data["codes"]), (1.0,) * len(data["codes"]), head)
    settings = TrainSettings(batch_tokens=budget(job, len(head)), **LAYOUT)
    return trainer(with_lora(base_of(job, folder), settings), lesson, settings, folder / "scratch", Meter(), ALONE)


def trl(job: dict[str, Any], folder: Path, recompute: bool = False) -> Any:
    """TRL's SFTTrainer on the same calls in the same order, with the same schedule."""
    import datasets
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    data, settings, base = read(folder), TrainSettings(**LAYOUT), base_of(job, folder)
    order = [i for batch in Batches([job["tokens"]] * len(data["rows"]), budget(job, 0), settings.seed) for i in batch]
    rows = [{"input_ids": [*ids, data["codes"][c]], "completion_mask": [0] * len(ids) + [1]} for ids, c in data["rows"]]
    torch.manual_seed(settings.seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    steps = len(order) // job["rows"]
    config = SFTConfig(
        output_dir=str(folder / "scratch"),
        per_device_train_batch_size=job["rows"],
        train_sampling_strategy="sequential",
        num_train_epochs=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=-(-steps // 10),
        completion_only_loss=True,
        loss_type="chunked_nll",
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=recompute,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    low_rank = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return SFTTrainer(
        model=model,
        args=config,
        train_dataset=datasets.Dataset.from_list([rows[i] for i in order]),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=low_rank,
    )


def timed(made: Any, job: dict[str, Any], head_tokens: int, run_tokens: float) -> dict[str, Any]:
    """Train until the measured steps or seconds are over: seconds of each step, loss of each, peak memory.

    Args:
        head_tokens: of each prompt, the same in all.
        run_tokens: run a call, a shared head divided by the batch's rows.
    """
    from transformers import TrainerCallback

    marks: list[float] = []
    losses: list[float] = []
    plain = made.compute_loss

    def noted(*args: Any, **options: Any) -> Any:
        loss = plain(*args, **options)
        losses.append(float(loss.detach()))
        return loss

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            marks.append(time.perf_counter())
            seen, spent = len(marks) - WARM_STEPS, marks[-1] - marks[min(len(marks), WARM_STEPS) - 1]
            control.should_training_stop = seen >= job["steps"] if job["steps"] else spent >= job["seconds"]

    made.compute_loss = noted
    made.add_callback(Clock())
    made.train()
    return {
        "steps_s": [b - a for a, b in zip(marks[WARM_STEPS - 1 :], marks[WARM_STEPS:], strict=False)],
        "calls": job["rows"],
        "prompt_tokens": job["tokens"],
        "head_tokens": head_tokens,
        "gflop_a_call": run_tokens * flop_a_token(made.model) / 1e9,
        "losses": losses,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def flop_a_token(model: Any) -> float:
    """Forward and the gradient of the inputs for frozen weights, and of the weights too for adapters; no attention."""
    layers = [m for m in model.modules() if hasattr(m, "lora_A") and hasattr(m, "base_layer")]
    frozen = sum(m.base_layer.weight.numel() for m in layers)
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return 4.0 * frozen + 6.0 * learned


def products(shape: dict[str, Any]) -> list[tuple[int, int]]:
    """(inputs, outputs) of a layer's linear layers: query, key, value, out, gate, up, down."""
    hidden, wide = shape["hidden_size"], shape["intermediate_size"]
    query, key = (shape[name] * shape["head_dim"] for name in ("num_attention_heads", "num_key_value_heads"))
    return [
        (hidden, query),
        (hidden, key),
        (hidden, key),
        (query, hidden),
        (hidden, wide),
        (hidden, wide),
        (wide, hidden),
    ]


def ceiling(job: dict[str, Any]) -> dict[str, float]:
    """GFLOP/s of nothing but a layer's frozen products, forward and gradient of the inputs, at a batch's size."""
    import torch

    sizes = products(job["shape"])
    count = job["rows"] * job["tokens"]
    made = [tuple(torch.randn(s, dtype=torch.bfloat16) for s in ((count, i), (o, i), (count, o))) for i, o in sizes]
    work = sum(4 * count * i * o for i, o in sizes)

    def once() -> float:
        start = time.perf_counter()
        for x, weight, grad in made:
            torch.nn.functional.linear(x, weight)
            grad @ weight
        return time.perf_counter() - start

    until = time.perf_counter() + min(job["seconds"], 10)
    seconds = [once()]
    while time.perf_counter() < until:
        seconds.append(once())
    return {"gflops": work / sorted(seconds)[len(seconds) // 2] / 1e9}


def profile(made: Any, job: dict[str, Any]) -> dict[str, Any]:
    """Each kind of operation's share of the time of one step."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as Watch
    from transformers import TrainerCallback

    watch = Watch(activities=[ProfilerActivity.CPU])

    class Window(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == WARM_STEPS:
                watch.start()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == WARM_STEPS + 1:
                watch.stop()

    made.add_callback(Window())
    timed(made, {**job, "steps": 2}, 0, 0)
    spent: dict[str, float] = {}
    for event in watch.events():
        spent[kind_of(event)] = spent.get(kind_of(event), 0) + event.self_cpu_time_total
    whole = sum(spent.values())
    return {"profile": {kind: time / whole for kind, time in spent.items()}}


def kind_of(event: Any) -> str:
    above = []
    while event is not None:
        above.append(event.name)
        event = event.cpu_parent
    if any(name.startswith("Optimizer.step") for name in above):
        return "optimizer"
    kind = next((kind for kind, names in KINDS.items() if above[0].startswith(names)), "other")
    return f"{kind}, backward" if any(name.startswith("autograd::engine") for name in above) else kind


def base_of(job: dict[str, Any], folder: Path) -> Path:
    return Path(job["base"] or folder / "base")


def read(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "data.json").read_text(encoding="utf-8")))


def budget(job: dict[str, Any], head_tokens: int) -> int:
    """The token budget that makes batches of `rows`."""
    return int(job["rows"]) * -(-(job["tokens"] - head_tokens) // ROUND_TOKENS) * ROUND_TOKENS


def main(side: str, folder: Path) -> dict[str, Any]:
    import torch

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    if side == "prepare":
        return prepare(job, folder)
    if side == "ceiling":
        return ceiling(job)
    head, length = len(read(folder)["head"]), job["tokens"]
    shared = length - head + head / job["rows"]
    if side.startswith("trl"):
        with weights.quiet():
            return timed(trl(job, folder, recompute=side == "trl-recompute"), job, head, length)
    with weights.quiet(), heap.kept():
        made = ours(job, folder, shared=side != "whole")
        return (
            profile(made, job) if side == "profile" else timed(made, job, head, length if side == "whole" else shared)
        )


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
