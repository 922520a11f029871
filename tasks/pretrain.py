"""Make the tiny base: a Qwen3-architecture language model of a few million parameters, pretrained on generated calls.

LoRA on a random transformer learns nothing, so the shipped `configs/tiny-base` was made once by this script, from generator
text of a seed of its own. It sees calls only, as a language model does: never a category, never an answer.

    ./.venv/bin/python -P -m tasks.pretrain --out configs/tiny-base
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
# Qwen2/Qwen3's own pre-tokenizer: digits one by one, letters and other marks in runs.
SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""


@dataclass(frozen=True)
class Recipe:
    """How the base is made. `row` is tokens a training row; `seed` must differ from any seed data are made with."""

    calls: int = 200_000
    seed: int = 900_001
    vocabulary: int = 4096
    hidden: int = 192
    layers: int = 6
    heads: int = 6
    kv_heads: int = 2
    intermediate: int = 512
    row: int = 256
    batch: int = 8
    learning_rate: float = 3e-3
    steps: int = 6000


def texts(recipe: Recipe, calls: int) -> Iterator[str]:
    """Cleaned, masked calls, each as the user's part of a chat."""
    from data_contracts.samples import generate
    from data_contracts.schema import Turn, flatten
    from tasks.clean import clean, mask

    for record in generate(calls, recipe.seed, labelled=False):
        turns: Any = record["turns"]
        yield mask(clean(flatten(tuple(Turn(**t) for t in turns)))).text


def train_tokenizer(recipe: Recipe) -> Any:
    """A byte-level BPE with Qwen3's control tokens, from the first tenth of the calls."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=12,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(recipe, recipe.calls // 10), trainer)
    return tokenizer


def build_model(recipe: Recipe, tokenizer: Any) -> Any:
    """A random Qwen3 of the recipe's shape, tied embeddings."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(recipe.seed)
    end = tokenizer.token_to_id("<|im_end|>")
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=recipe.hidden,
            intermediate_size=recipe.intermediate,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.kv_heads,
            head_dim=recipe.hidden // recipe.heads,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            eos_token_id=end,
            bos_token_id=None,
            pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
        )
    )


def rows(recipe: Recipe, tokenizer: Any) -> Any:
    """All calls as one stream of ids, cut into rows: (R, row) uint16."""
    import numpy as np

    start, stop, end = (tokenizer.token_to_id(t) for t in ("<|im_start|>", "<|im_end|>", "<|endoftext|>"))
    user = tokenizer.encode("user\n").ids
    stream: list[Any] = []
    batch: list[str] = []
    for text in texts(recipe, recipe.calls):
        batch.append(text)
        if len(batch) == 2000:
            stream.append(
                np.concatenate([[start, *user, *e.ids, stop, end] for e in tokenizer.encode_batch(batch)]).astype(
                    np.uint16
                )
            )
            batch = []
    ids = np.concatenate(stream)
    return ids[: len(ids) // recipe.row * recipe.row].reshape(-1, recipe.row)


def pretrain(recipe: Recipe, model: Any, data: Any) -> list[float]:
    """Next-token training, warm-up then cosine, bf16 autocast. Returns the losses."""
    import torch

    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.05, betas=(0.9, 0.98))
    losses: list[float] = []
    started = time.monotonic()
    for step in range(1, recipe.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = (
                recipe.learning_rate * min(1.0, step / 200) * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps))
            )
        at = torch.randint(len(data), (recipe.batch,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            loss = _loss(model, torch.from_numpy(data[at.numpy()].astype("int64")))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step % 50 == 0:
            rate = step * recipe.batch * recipe.row / (time.monotonic() - started)
            print(
                f"step {step} loss {sum(losses[-50:]) / 50:.3f} {rate:.0f} tokens/s {step / recipe.steps:.0%}",
                flush=True,
            )
    return losses


def _loss(model: Any, ids: Any) -> Any:
    import torch

    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    logits = model.lm_head(hidden).float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def save(recipe: Recipe, model: Any, tokenizer: Any, out: Path, losses: list[float]) -> None:
    """bf16 safetensors, tokenizer and the recipe, so that anyone can see how the base was made."""
    import torch
    from transformers import PreTrainedTokenizerFast

    model.to(torch.bfloat16).save_pretrained(out)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL[1:]),
    ).save_pretrained(out)
    facts = {
        "recipe": vars(recipe),
        "steps": len(losses),
        "loss": round(sum(losses[-100:]) / len(losses[-100:]), 4),
        "data": "synthetic",
    }
    (out / "recipe.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Make the base from the command line; every recipe field is an option."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    for name, value in vars(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = vars(parser.parse_args())
    out = options.pop("out")
    recipe = Recipe(**options)
    tokenizer = train_tokenizer(recipe)
    model = build_model(recipe, tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    save(recipe, model, tokenizer, out, pretrain(recipe, model, rows(recipe, tokenizer)))


if __name__ == "__main__":
    main()
