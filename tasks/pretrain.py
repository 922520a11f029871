"""Make the tiny base: a Qwen3-architecture language model of a few million parameters, pretrained on generated calls.

LoRA on a random transformer learns nothing, so the shipped `configs/tiny-base` was made once by this script, from generator
text of a seed of its own. It reads calls as a language model does, and names after each the topic it falls into when
calls are clustered by their words (k-means): so its answer place and the letters used there are alive, as they are in any
base model. It never sees a category.

    ./.venv/bin/python -P -m tasks.pretrain --out configs/tiny-base
"""

import argparse
import json
import math
import random
import string
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data_contracts.prompt import Prompt

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
TOPICS = string.ascii_letters + string.digits
INSTRUCTION = "判断这通电话的话题，只回答代号。"
# Qwen2/Qwen3's own pre-tokenizer: digits one by one, letters and other marks in runs.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Recipe:
    """How the base is made. `batch` is calls a step; `seed` must differ from any seed data are made with."""

    calls: int = 60_000
    seed: int = 900_001
    vocabulary: int = 4096
    hidden: int = 192
    layers: int = 6
    heads: int = 6
    kv_heads: int = 2
    intermediate: int = 512
    batch: int = 16
    steps: int = 4000
    learning_rate: float = 3e-3
    topic_weight: float = 0.5


class Lesson(NamedTuple):
    """One call: its ids with the topic's last, and where the call itself begins and ends."""

    ids: list[int]
    begin: int
    end: int


def texts(recipe: Recipe, calls: int) -> Iterator[str]:
    """Cleaned, masked calls as they are kept after a submission."""
    from data_contracts.personal import mask
    from data_contracts.samples import generate
    from data_contracts.schema import Turn, flatten
    from data_contracts.transcript import clean

    for record in generate(calls, recipe.seed, labelled=False):
        turns: Any = record["turns"]
        yield mask(clean(flatten(tuple(Turn(**t) for t in turns)))).text


def topics(calls: list[str], seed: int) -> list[int]:
    """The cluster of each call, by the words of its customer: TF-IDF, 64 components, k-means."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    spoken = ["".join(line[3:] for line in call.splitlines() if line.startswith("客户")) for call in calls]
    steps = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(2, 3), max_features=30_000, min_df=5, max_df=0.2),
        TruncatedSVD(64, random_state=seed),
        Normalizer(),
        MiniBatchKMeans(len(TOPICS), random_state=seed, n_init=3, batch_size=4096),
    )
    steps.fit(spoken[:20_000])
    return [int(topic) for topic in steps.predict(spoken)]


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
    model = model.to(torch.bfloat16)
    attention.use(model)
    return model


def lessons(recipe: Recipe, tokenizer: Any, folder: Path) -> list[Lesson]:
    """Every call in the prompt's frame, with its topic as the answer."""
    from deploy.tokenizer import Tokens

    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = Tokens.load(folder)
    prompt = Prompt(template="qwen3", instruction=INSTRUCTION)
    calls = list(texts(recipe, recipe.calls))
    answers = [tokens.text_ids(letter)[0] for letter in TOPICS]
    after = len(prompt.frame(tokens)[1])
    found = []
    for call, topic in zip(calls, topics(calls, recipe.seed), strict=True):
        encoded = prompt.encode(call, tokens)
        found.append(Lesson([*encoded.ids, answers[topic]], encoded.head_tokens, len(encoded.ids) - after))
    return found


def batches(recipe: Recipe, found: list[Lesson]) -> Iterator[list[Lesson]]:
    """Endless batches of calls of similar length, in random order."""
    order = random.Random(recipe.seed)
    while True:
        order.shuffle(found)
        for start in range(0, len(found) - 50 * recipe.batch, 50 * recipe.batch):
            near = sorted(found[start : start + 50 * recipe.batch], key=lambda one: len(one.ids))
            chunks = [near[i : i + recipe.batch] for i in range(0, len(near), recipe.batch)]
            order.shuffle(chunks)
            yield from chunks


def pretrain(recipe: Recipe, model: Any, found: list[Lesson]) -> list[tuple[float, float]]:
    """Warm-up then cosine; bf16 weights with fp32 masters. Returns the losses of each step: next token, and topic."""
    import torch

    weights = list(model.parameters())
    masters = [w.detach().float().clone() for w in weights]
    optimizer = torch.optim.AdamW(masters, lr=recipe.learning_rate, weight_decay=0.05, betas=(0.9, 0.98))
    losses: list[tuple[float, float]] = []
    started, seen = time.monotonic(), 0
    for step, batch in zip(range(1, recipe.steps + 1), batches(recipe, found), strict=False):
        rate = min(1.0, step / 200) * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps))
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * rate
        text, topic = _losses(model, batch)
        (text + recipe.topic_weight * topic).backward()
        for master, weight in zip(masters, weights, strict=True):
            master.grad, weight.grad = weight.grad.float(), None
        torch.nn.utils.clip_grad_norm_(masters, 1.0)
        optimizer.step()
        with torch.no_grad():
            for master, weight in zip(masters, weights, strict=True):
                weight.copy_(master)
        losses.append((text.item(), topic.item()))
        seen += sum(len(one.ids) for one in batch)
        if step % 50 == 0:
            text_loss, topic_loss = (sum(pair[i] for pair in losses[-50:]) / 50 for i in (0, 1))
            speed = seen / (time.monotonic() - started)
            print(f"step {step} text {text_loss:.3f} topic {topic_loss:.3f} {speed:.0f} tokens/s", flush=True)
    return losses


def _losses(model: Any, batch: list[Lesson]) -> tuple[Any, Any]:
    """Mean loss of the calls' tokens, and of their topics."""
    import torch

    longest = max(len(one.ids) for one in batch) - 1
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    target = torch.full((len(batch), longest), -100)
    for row, one in enumerate(batch):
        ids[row, : len(one.ids) - 1] = torch.tensor(one.ids[:-1])
        target[row, one.begin : one.end - 1] = torch.tensor(one.ids[one.begin + 1 : one.end])
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    kept = target >= 0
    loss = torch.nn.functional.cross_entropy
    last = torch.tensor([len(one.ids) - 2 for one in batch])
    topic = model.lm_head(hidden[torch.arange(len(batch)), last]).float()
    text = model.lm_head(hidden[kept]).float()
    return loss(text, target[kept]), loss(topic, torch.tensor([one.ids[-1] for one in batch]))


def save(recipe: Recipe, model: Any, tokenizer: Any, out: Path, losses: list[tuple[float, float]]) -> None:
    """bf16 safetensors, tokenizer and the recipe, so that anyone can see how the base was made."""
    from transformers import PreTrainedTokenizerFast

    model.save_pretrained(out)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL[1:]),
    ).save_pretrained(out)
    text, topic = (round(sum(pair[i] for pair in losses[-100:]) / 100, 4) for i in (0, 1))
    facts = {"recipe": vars(recipe), "loss": {"text": text, "topic": topic}, "data": "synthetic"}
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
    save(recipe, model, tokenizer, out, pretrain(recipe, model, lessons(recipe, tokenizer, out)))


if __name__ == "__main__":
    main()
