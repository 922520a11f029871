"""A model folder as one GGUF file with its tokenizer, matrices in Q8_0, by the official `gguf` package.

`tensors.json` beside it says which Hugging Face weight each tensor is, for reading it back.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.errors import ConfigurationError, ModelLoadError
from deploy.chat_template import ChatTemplate
from deploy.engines import weights
from deploy.tokenizer import FILE as TOKENIZER

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter
    from numpy.typing import NDArray

PRE_TOKENIZER = {"qwen2": "qwen2", "qwen3": "qwen2", "llama": "llama-bpe"}
"""Architectures that can be written, and llama.cpp's name for how their tokenizers cut text before merging."""
ROW = 64
"""Rows of a multiple of this are quantized. In a row of one block of 32, llama.cpp's AMX kernel computes nonsense (build 10434: a
log-probability was off by 4, without that kernel by 0.09); no real model has one."""


def write(source: Path, folder: Path) -> None:
    """Write `model.gguf` and `tensors.json`.

    Raises:
        ConfigurationError: an architecture or tokenizer that cannot be written.
    """
    import gguf

    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((source / TOKENIZER).read_text(encoding="utf-8"))
    _refuse_unknown(config, tokenizer)
    writer = gguf.GGUFWriter(folder / weights.GGUF_FILE, config["model_type"])
    _shape(writer, config)
    _vocabulary(writer, config, tokenizer)
    _template(writer, source)
    names: dict[str, dict[str, Any]] = {}
    for name, values in _tensors(source, config):
        names[_add(writer, config, name, values)] = {"name": name, "heads": _interleaved_heads(config, name)}
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / weights.GGUF_NAMES).write_text(json.dumps(names, indent=0), encoding="utf-8")


def _refuse_unknown(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> None:
    without = "leave 'gguf-q8_0' out of quantize.forms"
    if config["model_type"] not in PRE_TOKENIZER:
        raise ConfigurationError(
            f"GGUF of a {config['model_type']!r} model cannot be written; allowed: {', '.join(PRE_TOKENIZER)}. "
            f"Otherwise {without}"
        )
    if _rope(config).get("rope_type", "default") != "default":
        raise ConfigurationError(f"GGUF with rope scaling {_rope(config)['rope_type']!r} cannot be written; {without}")
    if tokenizer["model"]["type"] != "BPE" or tokenizer["model"].get("byte_fallback"):
        raise ConfigurationError(f"GGUF with a tokenizer that is no byte-level BPE cannot be written; {without}")


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def _shape(writer: "GGUFWriter", config: Mapping[str, Any]) -> None:
    import gguf

    heads = config["num_attention_heads"]
    head_size = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_name(config["model_type"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(_rope(config).get("rope_theta") or config.get("rope_theta") or 10_000.0)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def _vocabulary(writer: "GGUFWriter", config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> None:
    import gguf

    size = config["vocab_size"]
    tokens = [f"[PAD{i}]" for i in range(size)]
    kinds = [gguf.TokenType.UNUSED] * size
    for text, i in tokenizer["model"]["vocab"].items():
        tokens[i], kinds[i] = text, gguf.TokenType.NORMAL
    for added in tokenizer.get("added_tokens") or []:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER[config["model_type"]])
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    eos, pad = config.get("eos_token_id"), config.get("pad_token_id")
    if eos is not None:
        writer.add_eos_token_id(eos[0] if isinstance(eos, list) else eos)
    if pad is not None:
        writer.add_pad_token_id(pad)
    writer.add_add_bos_token(False)


def _template(writer: "GGUFWriter", source: Path) -> None:
    """How the model is asked, if the checkpoint says."""
    with suppress(ModelLoadError):
        writer.add_chat_template(ChatTemplate.load(source).source)


def _tensors(source: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, "NDArray[np.float32]"]]:
    import torch
    from safetensors import safe_open

    for path in sorted(source.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                if name != "lm_head.weight" or not config.get("tie_word_embeddings"):
                    yield name, file.get_tensor(name).to(torch.float32).numpy()


def _add(writer: "GGUFWriter", config: Mapping[str, Any], name: str, values: "NDArray[np.float32]") -> str:
    """Write one tensor; returns its GGUF name."""
    import gguf

    architecture = {"qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3, "llama": gguf.MODEL_ARCH.LLAMA}
    table = gguf.get_tensor_name_map(architecture[config["model_type"]], config["num_hidden_layers"])
    target: str | None = table.get_name(name, try_suffixes=(".weight", ".bias"))
    if target is None:
        raise ConfigurationError(
            f"weight {name!r} has no place in a GGUF file; leave 'gguf-q8_0' out of quantize.forms"
        )
    values = weights.interleave(values, _interleaved_heads(config, name))
    if values.ndim > 1 and values.shape[-1] % ROW == 0:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(target, gguf.quants.quantize(values, kind), raw_dtype=kind)
    else:
        writer.add_tensor(target, values)
    return target


def _interleaved_heads(config: Mapping[str, Any], name: str) -> int:
    """llama.cpp's llama rotates neighbouring rows where Hugging Face rotates halves; 0 where rows stay in place."""
    if config["model_type"] != "llama":
        return 0
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config.get("num_key_value_heads")}
    return next((int(n or heads["q_proj"]) for part, n in heads.items() if part in name), 0)
