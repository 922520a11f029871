"""Fine-tunes a base model by LoRA to answer a call with its category's code."""

import importlib.util
import logging
import shutil
import sys
from collections import Counter
from itertools import takewhile
from pathlib import Path
from typing import Any

from configs.training import TrainSettings
from data_contracts.artifacts import Adapter, Base, Side, Splits
from data_contracts.errors import ConfigurationError
from data_contracts.prompt import Prompt
from data_contracts.schema import Frozen
from data_contracts.taxonomy import Taxonomy
from deploy.engines import heap, weights
from deploy.store import folder_digest, sha256_file
from deploy.tokenizer import Tokens
from tasks import attention, ranks, stages
from tasks.batches import category_weights, encode_side
from tasks.progress import Meter
from tasks.ranks import Group
from tasks.stages import Work
from tasks.trainer import Lesson, checkpoints, evaluations, exhausted, history_of, last_checkpoint, trainer

log = logging.getLogger("tingsu")


class Plan(Frozen):
    """What a training process is told. `scratch` takes checkpoints; `checkpoint` is the one to go on from."""

    train: Path
    validation: Path
    base: Path
    prompt: Prompt
    taxonomy: Taxonomy
    settings: TrainSettings
    scratch: Path
    checkpoint: Path | None


def check(settings: TrainSettings) -> None:
    """Return if this machine can train that way.

    Raises:
        ConfigurationError: QLoRA without CUDA and bitsandbytes, or more processes than GPUs.
    """
    if settings.method == "lora" and settings.processes == 1:
        return
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    missing = "" if gpus else "an NVIDIA GPU"
    if gpus and importlib.util.find_spec("bitsandbytes") is None:
        missing = "the package bitsandbytes (`pip install -c constraints.txt --group gpu`)"
    if settings.method == "qlora" and missing:
        raise ConfigurationError(
            f"train.method 'qlora' needs {missing}, which is missing here; use --set train.method=lora"
        )
    if gpus and settings.processes > gpus:
        raise ConfigurationError(
            f"train.processes {settings.processes} is more than the {gpus} GPUs here; one process a GPU, so at most {gpus}"
        )


def fit(splits: Splits, base: Base, prompt: Prompt, taxonomy: Taxonomy, settings: TrainSettings, work: Work) -> Adapter:
    """Train on the train side, stop early on the validation side, keep the best epoch's adapter.

    A run that was killed goes on from the last whole checkpoint in `work.scratch` and ends as if it had not been.

    Raises:
        ConfigurationError: as `check`.
        ModelLoadError: the base cannot be loaded.
        ResourceInsufficient: one of several training processes was killed.
    """
    check(settings)
    trained_on = _digests(splits, work)  # before it is read: what is swapped afterwards does not match
    plan = Plan(
        train=work.store.local(splits.file("train")),
        validation=work.store.local(splits.file("validation")),
        base=Path(base.path),
        prompt=prompt,
        taxonomy=taxonomy,
        settings=settings,
        scratch=work.scratch,
        checkpoint=_resumed(work.scratch / "checkpoints"),
    )
    done = _logged(plan.checkpoint)
    pace = {"tokens_per_s": 0.0, "steps": 0.0}
    if not exhausted(done, settings.patience):
        pace = _train(plan, settings.processes)
        done = _logged(last_checkpoint(work.scratch / "checkpoints"))
    adapter = Path(shutil.copytree(work.scratch / "best", work.out / "adapter"))
    f1 = evaluations(done)
    return Adapter(
        key=f"{work.key}/adapter",
        base=base,
        digest=folder_digest(adapter),
        prompt_digest=prompt.digest,
        settings=settings.model_dump(mode="json"),
        metrics={"validation_macro_f1": max(f1), "epochs": float(len(f1)), **pace},
        history=tuple(_history(done)),
        created_at=stages.now(),
        trained_on=trained_on,
    )


def _resumed(folder: Path) -> Path | None:
    """The checkpoint to go on from; those passed over are named."""
    whole = last_checkpoint(folder)
    skipped = [c.name for c in takewhile(lambda c: c != whole, checkpoints(folder))]
    if skipped:
        goes_on = f"goes on from {whole.name}" if whole else "starts again"
        log.warning("%s: not whole (killed while saving, or damaged since); training %s", ", ".join(skipped), goes_on)
    return whole


def _digests(splits: Splits, work: Work) -> dict[Side, str]:
    sides: tuple[Side, ...] = ("train", "validation")
    return {side: sha256_file(work.store.local(splits.file(side))) for side in sides}


def _train(plan: Plan, processes: int) -> dict[str, float]:
    """In this process, or in several that cut every batch between them."""
    if processes == 1:
        return learn(plan, ranks.ALONE)
    _lesson(plan)  # encoded once, here; the others find it
    return ranks.run("tasks.train", plan.model_dump_json(), processes, plan.scratch)


def learn(plan: Plan, group: Group) -> dict[str, float]:
    """Train to the end: tokens a second and steps of this run, over the whole group."""
    meter = Meter()
    with weights.quiet(), heap.kept():
        lesson = _lesson(plan)
        model = with_lora(plan.base, plan.settings)
        run = trainer(model, lesson, plan.settings, plan.scratch, meter, group)
        run.train(resume_from_checkpoint=str(plan.checkpoint) if plan.checkpoint else None)
    return {"tokens_per_s": meter.rate(), "steps": float(meter.steps), "processes": float(group.size)}


def _lesson(plan: Plan) -> Lesson:
    tokens = Tokens.load(plan.base)
    taxonomy = plan.taxonomy
    train, validation = (
        encode_side(file, plan.prompt, taxonomy, tokens, plan.scratch / "arrow" / file.stem)
        for file in (plan.train, plan.validation)
    )
    counts = Counter(train["category"][:])
    power = plan.settings.class_weight_power
    return Lesson(
        train=train,
        validation=validation,
        code_ids=taxonomy.code_ids(tokens),
        weights=tuple(category_weights([counts[i] for i in range(len(taxonomy.keys))], power)),
        head=plan.prompt.frame(tokens)[0],
    )


def with_lora(folder: Path, settings: TrainSettings) -> Any:
    """The frozen base with fresh adapters on every linear layer but the output embedding; only they learn, in fp32."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(settings.seed)
    model = weights.load_4bit(folder) if settings.method == "qlora" else weights.load_model(folder, settings.precision)
    attention.use(model)
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type, unused-ignore]
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    tuned = get_peft_model(model, config)
    for module in tuned.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = (
                False  # autocast does it; peft's own cast reads and writes every activation
            )
    return tuned


def _logged(checkpoint: Path | None) -> list[dict[str, float]]:
    return history_of(checkpoint) if checkpoint else []


def _history(log: list[dict[str, float]]) -> list[dict[str, float]]:
    """One entry an epoch: mean loss since the last note, validation macro-F1."""
    epochs: list[dict[str, float]] = []
    loss = 0.0
    for entry in log:
        loss = entry.get("loss", loss)
        if "eval_macro_f1" in entry:
            epochs.append(
                {"epoch": round(entry["epoch"], 4), "loss": loss, "validation_macro_f1": entry["eval_macro_f1"]}
            )
    return epochs


if __name__ == "__main__":  # one of several training processes
    sys.exit(ranks.take_part(lambda plan, group: learn(Plan.model_validate_json(plan), group), sys.argv[1:]))
