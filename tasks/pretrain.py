"""Make the tiny base: a Qwen3-architecture language model of a few million parameters, pretrained on generated calls.

LoRA on a random transformer learns nothing, so the shipped `configs/tiny-base` was made once by this script, from generator
text of a seed of its own, by three self-supervised lessons; it never sees a category:

- text: the next token of every call;
- gist: some clauses of the customer are left out, and their words are to be told in the answer's place;
- letters: which letter follows another in the alphabet, so that the letters used as codes are alive and apart.

    ./.venv/bin/python -P -m tasks.pretrain --out configs/tiny-base
"""

import argparse
import json
import math
import random
import re
import string
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data_contracts.prompt import Prompt

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
LETTERS = string.ascii_uppercase
GIST = "这通电话里客户还说了什么？"
NEXT_LETTER = "字母表里后面的字母是哪个？"
CLAUSE = re.compile(r"[，。？！,\n]")
# Qwen2/Qwen3's own pre-tokenizer: digits one by one, letters and other marks in runs.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Recipe:
    """How the base is made. `batch` is calls a step; `seed` must differ from any seed data are made with; `start` is a
    base to go on from."""

    calls: int = 40_000
    seed: int = 900_001
    vocabulary: int = 4096
    hidden: int = 192
    layers: int = 6
    heads: int = 6
    kv_heads: int = 2
    intermediate: int = 512
    batch: int = 16
    steps: int = 2400
    learning_rate: float = 3e-3
    gist_weight: float = 1.0
    letter_weight: float = 0.3
    start: str = ""


class Lesson(NamedTuple):
    """One rendered prompt. `text`: the part of it whose tokens are learned; `answers`: what may stand in the answer's place."""

    ids: list[int]
    text: slice
    answers: list[int]


def texts(recipe: Recipe, calls: int) -> Iterator[str]:
    """Cleaned, masked calls as they are kept after a submission."""
    from data_contracts.personal import mask
    from data_contracts.samples import generate
    from data_contracts.schema import Turn, flatten
    from data_contracts.transcript import clean

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
    """A Qwen3 of the recipe's shape, tied embeddings; random, or the one to go on from."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from tasks import attention

    torch.manual_seed(recipe.seed)
    end = tokenizer.token_to_id("<|im_end|>")
    model = Qwen3ForCausalLM(
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
    if recipe.start:
        model = Qwen3ForCausalLM.from_pretrained(recipe.start)
    model = model.to(torch.bfloat16)
    attention.use(model)
    return model


class Teacher:
    """Renders lessons in the prompt's frame."""

    def __init__(self, tokenizer: Any, folder: Path, seed: int) -> None:
        from deploy.tokenizer import Tokens

        tokenizer.save(str(folder / "tokenizer.json"))
        self.tokens = Tokens.load(folder)
        self.random = random.Random(seed)

    def gist(self, call: str) -> Lesson:
        """A call without one to three of the customer's clauses, whose tokens are the answers."""
        left_out: list[str] = []
        lines = call.split("\n")
        spoken = [i for i, line in enumerate(lines) if line.startswith("客户：")]
        for i in self.random.sample(spoken, min(len(spoken), self.random.randint(1, 3))):
            clauses = CLAUSE.split(lines[i][3:])
            left_out.append(clauses.pop(self.random.randrange(len(clauses))))
            lines[i] = "客户：" + "，".join(clauses)
        answers = [token for clause in left_out for token in self.tokens.text_ids(clause)]
        return self._lesson(GIST, "\n".join(lines), answers)

    def letter(self) -> Lesson:
        """Which letter comes next."""
        at = self.random.randrange(len(LETTERS))
        return self._lesson(NEXT_LETTER, LETTERS[at], self.tokens.text_ids(LETTERS[(at + 1) % len(LETTERS)]))

    def _lesson(self, instruction: str, text: str, answers: list[int]) -> Lesson:
        prompt = Prompt(template="qwen3", instruction=instruction)
        encoded = prompt.encode(text, self.tokens)
        end = len(encoded.ids) - len(prompt.frame(self.tokens)[1])
        return Lesson(list(encoded.ids), slice(encoded.head_tokens, end), answers)


def batches(recipe: Recipe, calls: list[str], teacher: Teacher) -> Iterator[list[Lesson]]:
    """Endless batches of calls of similar length, in random order."""
    order = random.Random(recipe.seed)
    pool = 50 * recipe.batch
    while True:
        order.shuffle(calls)
        for start in range(0, len(calls) - pool + 1, pool):
            near = sorted(calls[start : start + pool], key=len)
            chunks = [near[i : i + recipe.batch] for i in range(0, pool, recipe.batch)]
            order.shuffle(chunks)
            yield from ([teacher.gist(call) for call in chunk] for chunk in chunks)


def pretrain(recipe: Recipe, model: Any, calls: list[str], teacher: Teacher) -> list[tuple[float, ...]]:
    """Warm-up then cosine; bf16 weights with fp32 masters. Returns each step's losses: text, gist, letters."""
    import torch

    weights = list(model.parameters())
    masters = [w.detach().float().clone() for w in weights]
    optimizer = torch.optim.AdamW(masters, lr=recipe.learning_rate, weight_decay=0.05, betas=(0.9, 0.98))
    losses: list[tuple[float, ...]] = []
    started, seen = time.monotonic(), 0
    for step, batch in zip(range(1, recipe.steps + 1), batches(recipe, calls, teacher), strict=False):
        rate = min(1.0, step / 200) * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps))
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate
        text, gist = _losses(model, batch)
        _, letters = _losses(model, [teacher.letter() for _ in range(8)])
        (text + recipe.gist_weight * gist + recipe.letter_weight * letters).backward()
        for master, weight in zip(masters, weights, strict=True):
            master.grad, weight.grad = weight.grad.float(), None
        torch.nn.utils.clip_grad_norm_(masters, 1.0)
        optimizer.step()
        with torch.no_grad():
            for master, weight in zip(masters, weights, strict=True):
                weight.copy_(master)
        losses.append((text.item(), gist.item(), letters.item()))
        seen += sum(len(one.ids) for one in batch)
        if step % 50 == 0:
            _tell(losses, seen / (time.monotonic() - started))
    return losses


def _tell(losses: list[tuple[float, ...]], speed: float) -> None:
    text, gist, letters = mean(losses[-50:])
    line = f"step {len(losses)} text {text:.3f} gist {gist:.3f} letters {letters:.3f} {speed:.0f} tokens/s"
    print(line, flush=True)


def mean(rows: list[tuple[float, ...]]) -> list[float]:
    """Column means."""
    return [round(sum(column) / len(rows), 4) for column in zip(*rows, strict=True)]


def _losses(model: Any, batch: list[Lesson]) -> tuple[Any, Any]:
    """Mean loss of the texts' tokens, and of the answers in the answer's place."""
    import torch

    longest = max(len(one.ids) for one in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    target = torch.full((len(batch), longest), -100)
    for row, one in enumerate(batch):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
        target[row, one.text.start : one.text.stop - 1] = torch.tensor(one.ids[one.text.start + 1 : one.text.stop])
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    kept = target >= 0
    text = torch.nn.functional.cross_entropy(model.lm_head(hidden[kept]).float(), target[kept])
    last = hidden[torch.arange(len(batch)), torch.tensor([len(one.ids) - 1 for one in batch])]
    told = torch.log_softmax(model.lm_head(last).float(), dim=-1)
    rows = torch.tensor([row for row, one in enumerate(batch) for _ in one.answers], dtype=torch.long)
    answers = torch.tensor([token for one in batch for token in one.answers], dtype=torch.long)
    return text, -told[rows, answers].mean()


def save(recipe: Recipe, model: Any, tokenizer: Any, out: Path, losses: list[tuple[float, ...]]) -> None:
    """bf16 safetensors, tokenizer and the recipe, so that anyone can see how the base was made."""
    from transformers import PreTrainedTokenizerFast

    model.save_pretrained(out)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL[1:]),
    ).save_pretrained(out)
    learned = dict(zip(("text", "gist", "letters"), mean(losses[-100:]), strict=True))
    facts = {"recipe": vars(recipe), "loss": learned, "data": "synthetic calls"}
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
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(recipe)
    model = build_model(recipe, tokenizer)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    calls = list(texts(recipe, recipe.calls))
    save(recipe, model, tokenizer, out, pretrain(recipe, model, calls, Teacher(tokenizer, out, recipe.seed)))


if __name__ == "__main__":
    main()
