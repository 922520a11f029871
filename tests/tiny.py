"""A random Qwen3-shaped base of a hundred thousand parameters, made in a second: for tests of plumbing, never of quality."""

from pathlib import Path
from typing import Any

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
