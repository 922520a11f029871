"""The transformers Trainer for calls with one answer: loss at one position, best epoch by macro-F1, a progress line.

Over a group of processes each computes its share of every batch; what it learns from is the sum, so all hold the same
adapter and the same losses after every step, and only the first writes. transformers knows nothing of the group.
"""

import json
import math
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.training import TrainSettings
from deploy.engines import decoder, prefill
from deploy.engines.transformers import TransformersEngine
from deploy.store import LISTING, listing, write_atomically
from tasks import attention, lora
from tasks.batches import Batches, collate
from tasks.progress import Line, Meter
from tasks.ranks import Group

if TYPE_CHECKING:
    from torch import Tensor

WAYS = decoder.Ways(lora.join, attention.causal)
"""How a base with plain LoRA multiplies and attends where gradients are asked for."""


@dataclass(frozen=True)
class Lesson:
    """What is taught: encoded tables, the category tokens with their weights, and the ids every prompt starts with."""

    train: Any
    validation: Any
    code_ids: tuple[int, ...]
    weights: tuple[float, ...]
    head: tuple[int, ...]


def trainer(model: Any, lesson: Lesson, settings: TrainSettings, folder: Path, meter: Meter, group: Group) -> Any:
    """A Trainer over a peft model: checkpoints in `folder/checkpoints`, the best adapter in `folder/best`."""
    from transformers import Trainer
    from transformers.trainer_callback import PrinterCallback

    base = model.get_base_model()
    skip = len(lesson.head) if shares_head(base, lesson, settings) else 0
    batches = Batches([n - skip for n in lesson.train["tokens"]], settings.batch_tokens, settings.seed, group)

    class AnswerTrainer(Trainer):  # type: ignore[misc, unused-ignore]
        def get_train_dataloader(self) -> Any:
            return self.accelerator.prepare(loader(lesson, batches, skip))

        def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any) -> "Tensor":
            group.reseed(settings.seed, self.state.global_step)
            mine = super().training_step(model, inputs, *rest)
            loss, tokens = group.add_up(model.parameters(), mine, inputs["tokens"].to(mine))
            meter.tokens += int(tokens)
            return loss

        def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> "Tensor":
            return answer_loss(base, inputs, lesson, skip, len(lesson.train) / len(batches))

        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            metrics = {"eval_macro_f1": validate(base, lesson, settings.batch_tokens, group)}
            self.log(metrics)
            if group.leads:
                keep_best(model, metrics["eval_macro_f1"], Path(folder) / "best", self.state.log_history)
            self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

        def _save_checkpoint(self, *parts: Any, **_: Any) -> None:
            super()._save_checkpoint(*parts)
            seal(folder / f"checkpoints/checkpoint-{self.state.global_step}")

    made = AnswerTrainer(model=model, args=arguments(settings, folder / "checkpoints", len(batches)))
    made.pop_callback(PrinterCallback)
    made.add_callback(watch(settings, len(batches), meter, Line(sys.stderr, meter) if group.leads else None))
    return made


def loader(lesson: Lesson, batches: Batches, skip: int) -> Any:
    """The train side in these batches, without the first `skip` ids of each prompt."""
    from torch.utils.data import DataLoader

    return DataLoader(lesson.train, batch_sampler=batches, collate_fn=partial(collate, head_tokens=skip))


def shares_head(base: Any, lesson: Lesson, settings: TrainSettings) -> bool:
    """Whether the fixed instruction is run once a batch instead of once a call; recomputed activations exclude it."""
    return not settings.gradient_checkpointing and prefill.shares_head(base, len(lesson.head))


def answer_loss(base: Any, inputs: dict[str, Any], lesson: Lesson, skip: int, rows_a_batch: float) -> "Tensor":
    """Weighted cross-entropy over the whole vocabulary at the answer positions.

    Divided by the mean batch size, not this batch's, so that each call counts the same however long it is.
    """
    import torch

    if not len(inputs["category"]):  # fewer rows in the batch than processes
        return torch.zeros((), device=base.device, requires_grad=True)
    with autocast(base):
        block = prefill.Padded(inputs["ids"], inputs["answer_at"])
        logits = prefill.answer_logits(base, _answer_hidden(base, block, lesson.head[:skip]))
    category = inputs["category"]
    target = torch.tensor(lesson.code_ids, device=logits.device)[category]
    weight = torch.tensor(lesson.weights, device=logits.device)[category]
    losses = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    return (losses * weight).sum() / rows_a_batch


def _answer_hidden(base: Any, block: prefill.Padded, head: Sequence[int]) -> "Tensor":
    import torch

    if lora.suits(base):
        return decoder.answer_hidden(base, block, head, ways=WAYS)
    past = prefill.run_head(base, torch.tensor([head], device=base.device)) if head else ()
    return prefill.answer_hidden(base, block, past)


def autocast(base: Any) -> Any:
    """bf16 products where the frozen weights are bf16; the adapter's own numbers stay fp32."""
    import torch

    return torch.autocast(base.device.type, torch.bfloat16, enabled=base.dtype == torch.bfloat16)


def validate(base: Any, lesson: Lesson, batch_tokens: int, group: Group) -> float:
    """Macro-F1 on the validation side, by the engine that serves; each process of the group scores its share."""
    table = lesson.validation
    with autocast(base):
        engine = TransformersEngine(base, batch_tokens=batch_tokens, ways=WAYS if lora.suits(base) else decoder.SERVING)
        scores = engine.score(table["ids"][group.rank :: group.size], lesson.code_ids, len(lesson.head))
    return macro_f1(table["category"][:], group.interleave(scores.logprobs.argmax(axis=1).tolist()))


def macro_f1(truth: Sequence[int], predicted: Sequence[int]) -> float:
    """Mean F1 over the categories that occur in truth."""
    pairs = list(zip(truth, predicted, strict=True))
    seen = sorted(set(truth))
    both = [
        2 * sum(t == p == c for t, p in pairs) / (sum(t == c for t, _ in pairs) + sum(p == c for _, p in pairs))
        for c in seen
    ]
    return sum(both) / max(len(seen), 1)


def keep_best(model: Any, f1: float, best: Path, history: Sequence[dict[str, float]]) -> None:
    """Save the adapter if no earlier epoch was better; whole or not at all."""
    if any(earlier >= f1 for earlier in evaluations(history)[:-1]):
        return
    fresh = best.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    model.save_pretrained(fresh)
    (fresh / "README.md").unlink(missing_ok=True)
    shutil.rmtree(best, ignore_errors=True)
    fresh.rename(best)


def evaluations(history: Sequence[dict[str, float]]) -> list[float]:
    """Validation macro-F1 of each finished epoch."""
    return [entry["eval_macro_f1"] for entry in history if "eval_macro_f1" in entry]


def exhausted(history: Sequence[dict[str, float]], patience: int) -> bool:
    """Whether the last `patience` epochs brought nothing better."""
    values = evaluations(history)
    return bool(values) and len(values) - 1 - values.index(max(values)) >= patience


def arguments(settings: TrainSettings, folder: Path, batches: int) -> Any:
    """The Trainer's own settings; the callback of `watch` says when to log, evaluate and save."""
    import torch
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup_share * settings.epochs * batches),
        weight_decay=settings.weight_decay,
        logging_strategy="no",
        save_strategy="no",
        save_total_limit=2,
        seed=settings.seed,
        use_cpu=not torch.cuda.is_available(),
        report_to=[],
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
    )


def watch(settings: TrainSettings, batches: int, meter: Meter, line: Line | None) -> Any:
    """The callback that checkpoints inside an epoch, ends it with evaluation and checkpoint, and prints progress.

    Without a line it does neither: another process of the group does.
    """
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc, unused-ignore]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            meter.started = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            meter.steps += 1
            inside = state.global_step % batches != 0
            control.should_log = inside and state.global_step % settings.checkpoint_steps == 0
            control.should_save = control.should_log and line is not None
            if line:
                line.show(state.global_step, state.max_steps, evaluations(state.log_history))

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_log = control.should_evaluate = True
            control.should_save = line is not None

        def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = exhausted(state.log_history, settings.patience)
            if line:
                line.show(state.global_step, state.max_steps, evaluations(state.log_history), now=True)

    return Watch()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end and is as it was written."""
    return next((p for p in checkpoints(folder) if is_whole(p)), None)


def checkpoints(folder: Path) -> list[Path]:
    """Whole or not, the newest first."""
    return sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]), reverse=True)


def is_whole(checkpoint: Path) -> bool:
    """Whether every file is the one that was sealed: a run killed while saving, or a damaged disk, shows here."""
    try:
        return bool(json.loads((checkpoint / LISTING).read_bytes()) == listing(checkpoint))
    except (OSError, ValueError):
        return False


def history_of(checkpoint: Path) -> list[dict[str, float]]:
    """What a whole checkpoint's run had logged."""
    return list(json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["log_history"])


def seal(checkpoint: Path) -> None:
    """List every file with size and SHA-256, last and atomically: transformers writes them one by one, in place."""
    write_atomically(checkpoint / LISTING, json.dumps(listing(checkpoint)).encode())
