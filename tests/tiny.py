"""A random base of thirty thousand parameters and a few calls, made in a second, for tests of plumbing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.training import PromptSettings
from data_contracts.artifacts import SIDES, Base, Splits
from data_contracts.prompt import Prompt
from data_contracts.taxonomy import Taxonomy
from data_contracts.taxonomy import load as load_taxonomy
from deploy.store import FolderStore
from tasks.base import resolve
from tasks.prompting import compose
from tasks.stages import Work

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
LINES = [
    "客服：您好，请问有什么可以帮您？",
    "客户：我的话费多扣了三十元，我要投诉。",
    "客户：宽带断了两天，师傅一直没有上门。",
    "客服：非常抱歉，我马上为您核实退款进度。",
    "客户：你们的营业员态度很差，我要找监管部门。",
    "判断这通电话的投诉类别，只回答代号。",
]


def write_base(folder: Path, kind: str = "Qwen3", tied: bool = True, seed: int = 0, **config: Any) -> Path:
    """Write model, tokenizer and config; `kind` is the prefix of a transformers class (Qwen3, Qwen2, Llama)."""
    import torch
    import transformers

    vocabulary = write_tokenizer(folder)
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": tied,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "bos_token_id": None,
        "initializer_range": 0.2,
    }
    if kind == "Qwen3":
        shape["head_dim"] = 8
    made = getattr(transformers, f"{kind}Config")(**{**shape, **config})
    getattr(transformers, f"{kind}ForCausalLM")(made).save_pretrained(folder)
    return folder


def write_tokenizer(folder: Path) -> int:
    """Write a byte-level BPE with Qwen3's control tokens; returns the vocabulary's size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=CONTROL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return int(tokenizer.get_vocab_size())


TAXONOMY = """
name: test
none_key: none
categories:
  - {key: money, code: A, name_zh: 扣费}
  - {key: line, code: B, name_zh: 宽带}
  - {key: none, code: C, name_zh: 非投诉}
"""
SAYINGS = {"money": "我的话费多扣了三十元", "line": "宽带断了两天", "none": "您好，请问有什么可以帮您"}


@dataclass(frozen=True)
class Bench:
    """Everything a training step takes."""

    store: FolderStore
    splits: Splits
    base: Base
    prompt: Prompt
    taxonomy: Taxonomy

    def work(self, name: str) -> Work:
        out, scratch = self.store.root / f".out/{name}", self.store.root / f".keep/{name}"
        for folder in (out, scratch):
            folder.mkdir(parents=True, exist_ok=True)
        return Work(store=self.store, key=f"stages/{name}/1", out=out, scratch=scratch)

    def commit(self, work: Work) -> None:
        self.store.commit(work.out, work.key)


def make_bench(folder: Path, rows: int = 24, **base: Any) -> Bench:
    """A store with splits of a few repetitive calls, and a random base."""
    import polars as pl

    (folder / "taxonomy.yaml").write_text(TAXONOMY, encoding="utf-8")
    store = FolderStore(folder / "store")
    sides = folder / "sides"
    sides.mkdir()
    for side in SIDES:
        keys = [list(SAYINGS)[i % 3] for i in range(rows)]
        pl.DataFrame(
            {
                "conversation_id": [f"{side}-{i}" for i in range(rows)],
                "group": [f"g{i:015d}" for i in range(rows)],
                "input_text": [f"客户：{SAYINGS[k]}{'，好的' * (i % 5)}" for i, k in enumerate(keys)],
                "complaint_category": keys,
                "confidence_score": [0.9] * rows,
            }
        ).write_parquet(sides / f"{side}.parquet")
    store.commit(sides, "splits/1")
    taxonomy = load_taxonomy(folder / "taxonomy.yaml")
    model = resolve(str(write_base(folder / "base", **base)))
    return Bench(
        store=store,
        splits=Splits(
            key="splits/1", dataset_id="d", family="f", counts=dict.fromkeys(SIDES, rows), gold_digest="9" * 64
        ),
        base=model,
        prompt=compose(model, taxonomy, PromptSettings()),
        taxonomy=taxonomy,
    )
