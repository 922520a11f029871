"""What a GGUF file tells of its model besides the weights: tokenizer, chat template and shape, as a checkpoint folder has them."""

import json
from pathlib import Path
from typing import Any

from data_contracts.errors import ModelLoadError
from deploy.chat_template import FILE as TEMPLATE
from deploy.engines import weights
from deploy.tokenizer import FILE as TOKENIZER

MADE = (TOKENIZER, "tokenizer_config.json", "config.json", TEMPLATE)


def write(file: Path, folder: Path) -> str:
    """Write tokenizer.json, config.json and the template, if there is one, into `folder`; returns the kind of quantization.

    Raises:
        ModelLoadError: it is no GGUF file, a damaged one, or of a model that transformers does not know.
    """
    from transformers import AutoConfig, AutoTokenizer

    try:
        quantization, kinds = _read(file)
        with weights.quiet():
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
            config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError) as error:
        raise ModelLoadError(
            f"{file} cannot be read as a GGUF model with its tokenizer: {str(error)[:200]}. Copy it again, or import the "
            "checkpoint it was made from"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config.save_pretrained(folder)
    _mark_control(folder / TOKENIZER, kinds)
    return quantization


def _read(file: Path) -> tuple[str, list[int]]:
    """The kind of quantization, and of every token."""
    from gguf import GGUFReader, LlamaFileType

    fields = GGUFReader(file).fields
    kind = fields.get("general.file_type")
    name = "" if kind is None else LlamaFileType(int(kind.contents())).name.lower()
    types = fields.get("tokenizer.ggml.token_type")
    return f"gguf-{name.removeprefix('mostly_').removeprefix('all_')}".rstrip(
        "-"
    ), [] if types is None else types.contents()


def _mark_control(path: Path, kinds: list[int]) -> None:
    """Tokens that the file calls control or user-defined are single tokens, whether or not their names look like it."""
    from gguf import TokenType

    tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    words = {i: word for word, i in tree["model"]["vocab"].items()}
    known = {token["id"] for token in tree["added_tokens"]}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    for i, kind in enumerate(kinds):
        if kind in (TokenType.CONTROL, TokenType.USER_DEFINED) and i not in known and i in words:
            tree["added_tokens"].append({"id": i, "content": words[i], **flags, "special": kind == TokenType.CONTROL})
    path.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")
