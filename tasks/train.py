"""Fine-tunes a base model by LoRA to answer a call with its category's code."""

import importlib.util
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from configs.settings import TrainSettings
from data_contracts.artifacts import Adapter, Base, Splits
from data_contracts.errors import ConfigurationError
from data_contracts.prompt import Prompt
from data_contracts.taxonomy import Taxonomy
from deploy.engines import weights
from deploy.store import folder_digest
from deploy.tokenizer import Tokens
from tasks import attention, lora, stages
from tasks.batches import category_weights, encode_side
from tasks.stages import Work
from tasks.trainer import Lesson, Meter, evaluations, exhausted, history_of, last_checkpoint, trainer


def fit(splits: Splits, base: Base, prompt: Prompt, taxonomy: Taxonomy, settings: TrainSettings, work: Work) -> Adapter:
    """Train on the train side, stop early on the validation side, keep the best epoch's adapter.

    A run that was killed goes on from the last whole checkpoint in `work.scratch` and ends as if it had not been.

    Raises:
        ConfigurationError: QLoRA without CUDA and bitsandbytes.
        ModelLoadError: the base cannot be loaded.
    """
    lesson = _lesson(splits, Path(base.path), prompt, taxonomy, settings, work)
    meter = Meter()
    checkpoint = last_checkpoint(work.scratch / "checkpoints")
    done = history_of(checkpoint) if checkpoint else None
    if done is None or not exhausted(done, settings.patience):
        with weights.quiet():
            run = trainer(with_lora(Path(base.path), settings), lesson, settings, work.scratch, meter)
            run.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        done = run.state.log_history
    adapter = work.out / "adapter"
    shutil.copytree(work.scratch / "best", adapter)
    f1 = evaluations(done or [])
    return Adapter(
        key=f"{work.key}/adapter",
        base=base,
        digest=folder_digest(adapter),
        prompt_digest=prompt.digest,
        settings=settings.model_dump(mode="json"),
        metrics={
            "validation_macro_f1": max(f1),
            "epochs": float(len(f1)),
            "tokens_per_s": meter.rate(),
            "steps": float(meter.steps),
        },
        history=tuple(_history(done or [])),
        created_at=stages.now(),
    )


def _lesson(
    splits: Splits, base: Path, prompt: Prompt, taxonomy: Taxonomy, settings: TrainSettings, work: Work
) -> Lesson:
    tokens = Tokens.load(base)
    cache = work.scratch / "arrow"
    train, validation = (
        encode_side(work.store.local(splits.file(side)), prompt, taxonomy, tokens, cache / side)
        for side in ("train", "validation")
    )
    counts = Counter(train["category"][:])
    return Lesson(
        train=train,
        validation=validation,
        code_ids=taxonomy.code_ids(tokens),
        weights=tuple(category_weights([counts[i] for i in range(len(taxonomy.keys))], settings.class_weight_power)),
        head=prompt.frame(tokens)[0],
    )


def with_lora(folder: Path, settings: TrainSettings) -> Any:
    """The frozen base with fresh adapters on every linear layer but the output embedding; only they learn, in fp32."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(settings.seed)
    model = _load_4bit(folder) if settings.method == "qlora" else weights.load_model(folder, settings.precision)
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
    lora.fuse(tuned)
    for module in tuned.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = (
                False  # autocast does it; peft's own cast reads and writes every activation
            )
    return tuned


def _load_4bit(folder: Path) -> Any:
    import torch

    if not torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigurationError(
            "train.method 'qlora' needs an NVIDIA GPU and the package bitsandbytes, and one is missing here; "
            "use train.method=lora"
        )
    from peft import prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=how, use_safetensors=True, dtype=torch.bfloat16
    )
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


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
