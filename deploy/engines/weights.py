"""Weights from a folder, whatever form they have: safetensors, int8 or AWQ safetensors, or GGUF. Nothing is ever unpickled."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data_contracts.artifacts import Form
from data_contracts.errors import ModelLoadError
from deploy.tokenizer import conversion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, dtype

GGUF_FILE = "model.gguf"
GGUF_NAMES = "tensors.json"
INT8_FILE = "int8.safetensors"
AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Where in an int32, counted in fours of bits, each of eight neighbouring outputs lies."""
Precision = Literal["auto", "fp32", "bf16"]
NOISY = ("torchao", "torch.utils._pytree", "transformers", "accelerate")


def form_of(folder: Path) -> Form:
    """Which form a model folder has, by its files.

    Raises:
        ModelLoadError: no weights that can be read without unpickling; says how to convert.
    """
    if (folder / GGUF_FILE).is_file():
        return "gguf-q8_0"
    if (folder / INT8_FILE).is_file():
        return "int8"
    if any(folder.glob("*.safetensors")):
        return "awq" if _awq_group(folder) else "merged"
    if any(folder.glob("*.bin")):
        raise ModelLoadError(
            f"{folder} has only pickled .bin weights, which are never loaded. Convert: {conversion(folder)}"
        )
    raise ModelLoadError(f"{folder} has no *.safetensors, {INT8_FILE} or {GGUF_FILE}; give the folder of a whole model")


def load_model(folder: Path, precision: Precision) -> Any:
    """The causal language model of a folder, for inference or as a frozen base, on the GPU if there is one.

    Raises:
        ModelLoadError: files are missing, damaged, or of an architecture transformers does not know.
    """
    from safetensors import SafetensorError

    form = form_of(folder)
    try:
        with quiet():
            return _LOADERS[form](folder, choose_dtype(precision)).eval().to(device())
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelLoadError(
            f"{folder} cannot be loaded as {form} weights: {error}. Copy or make the folder again"
        ) from error


def load_4bit(folder: Path) -> Any:
    """The model of a folder with its linear layers in bitsandbytes' NF4, on the GPU: a frozen base for QLoRA.

    Raises:
        ModelLoadError: files are missing or damaged.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    try:
        with quiet():
            return AutoModelForCausalLM.from_pretrained(
                folder, quantization_config=how, use_safetensors=True, local_files_only=True, dtype=torch.bfloat16
            ).eval()
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{folder} cannot be loaded in 4 bits: {error}. Copy or make the folder again") from error


def choose_dtype(precision: Precision) -> "dtype":
    """bf16 where the hardware multiplies it (on AMX 1.7 times as fast as fp32 even at hidden size 192), else fp32."""
    import torch

    if precision != "auto":
        return torch.bfloat16 if precision == "bf16" else torch.float32
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    cpu = torch.cpu.get_capabilities()
    return torch.bfloat16 if cpu.get("amx_bf16") or cpu.get("avx512_bf16") else torch.float32


def device() -> str:
    """Where the model runs."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what transformers, peft and torchao print while they load: progress bars and notes on CUDA extensions."""
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    bars = transformers_logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()


def empty_model(folder: Path, dtype: "dtype") -> Any:
    """The architecture of `folder/config.json`, its weights not yet set."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    config = AutoConfig.from_pretrained(folder)
    with no_init_weights():
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def fill(model: Any, weights: dict[str, Any]) -> Any:
    """Set a model's weights by name; tied ones may be absent.

    Raises:
        ValueError: a weight is missing or belongs nowhere.
    """
    found = model.load_state_dict(weights, strict=False, assign=False)
    model.tie_weights()
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    wrong = [*(k for k in found.missing_keys if k not in tied), *found.unexpected_keys]
    if wrong:
        raise ValueError(f"weight {wrong[0]!r} is missing or belongs nowhere ({len(wrong)} such)")
    return model


def _safetensors(folder: Path, dtype: "dtype") -> Any:
    from transformers import AutoModelForCausalLM

    model, found = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    lacking = sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]]))
    if lacking:  # the library makes them up and goes on
        raise ValueError(f"weight {lacking[0]!r} is missing or of another shape ({len(lacking)} such)")
    return model


def _int8(folder: Path, dtype: "dtype") -> Any:
    """torchao's own tensors around the stored int8 rows and scales; the other weights as they are."""
    from safetensors.torch import load_file
    from torch import nn
    from torchao.quantization import Int8Tensor

    stored = load_file(folder / INT8_FILE)
    rows = {k.removesuffix(".int8"): t for k, t in stored.items() if k.endswith(".int8")}
    model = empty_model(folder, dtype)
    plain = {k: t for k, t in stored.items() if not k.endswith((".int8", ".int8_scale"))}
    quantized = {f"{name}.weight" for name in rows}
    kept = {k: t for k, t in model.state_dict().items() if k in quantized}
    fill(model, {**kept, **plain})
    for name, q in rows.items():
        weight = Int8Tensor(q, stored[f"{name}.int8_scale"], [1, q.shape[1]], dtype)
        model.get_submodule(name).weight = nn.Parameter(weight, requires_grad=False)
    return model


def _awq(folder: Path, dtype: "dtype") -> Any:
    """LMDeploy's packed int4, unpacked: no kernel here multiplies it, but what is computed is what its engine computes."""
    from safetensors.torch import load_file

    stored = {k: t for file in sorted(folder.glob("*.safetensors")) for k, t in load_file(file).items()}
    packed = [k.removesuffix(".qweight") for k in stored if k.endswith(".qweight")]
    plain = {k: t for k, t in stored.items() if not k.endswith((".qweight", ".qzeros", ".scales"))}
    for name in packed:
        values, zeros, scales = (stored[f"{name}.{part}"] for part in ("qweight", "qzeros", "scales"))
        plain[f"{name}.weight"] = unpack_awq(values, zeros, scales, _awq_group(folder))
    return fill(empty_model(folder, dtype), plain)


def unpack_awq(values: "Tensor", zeros: "Tensor", scales: "Tensor", group: int) -> "Tensor":
    """(value − zero) x scale of each weight, fp32, in the layout of a linear layer: (O, I).

    values (I, O / 8) and zeros (I / group, O / 8): eight outputs an int32, in AWQ's order; scales (I / group, O).
    """

    def each(packed: "Tensor") -> "Tensor":
        import torch

        nibbles = torch.stack([packed >> 4 * at & 15 for at in AWQ_ORDER], dim=-1)
        return nibbles.reshape(len(packed), -1).float()

    def wide(grouped: "Tensor") -> "Tensor":
        return grouped.float().repeat_interleave(group, 0)

    return ((each(values) - wide(each(zeros))) * wide(scales)).t()


def _awq_group(folder: Path) -> int:
    """How many inputs share a scale; 0 if the weights are not AWQ's."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0
    how = config.get("quantization_config") or {}
    return int(how["group_size"]) if how.get("quant_method") == "awq" else 0


def _gguf(folder: Path, dtype: "dtype") -> Any:
    """Dequantised; the names file, written with it, says which Hugging Face weight each GGUF tensor is."""
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize

    names = json.loads((folder / GGUF_NAMES).read_text(encoding="utf-8"))
    found = {}
    for tensor in GGUFReader(folder / GGUF_FILE).tensors:
        values = interleave(dequantize(tensor.data, tensor.tensor_type), names[tensor.name]["heads"], back=True)
        found[names[tensor.name]["name"]] = torch.from_numpy(values.copy())
    return fill(empty_model(folder, dtype), found)


def interleave(values: "NDArray[np.float32]", heads: int, back: bool = False) -> "NDArray[np.float32]":
    """Rows of each head from halves to neighbouring pairs, or `back`; without heads as they are."""
    if not heads:
        return values
    rows = len(values) // heads
    pairs = (heads, rows // 2, 2) if back else (heads, 2, rows // 2)
    return values.reshape(*pairs, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


_LOADERS = {"merged": _safetensors, "int8": _int8, "gguf-q8_0": _gguf, "awq": _awq}
