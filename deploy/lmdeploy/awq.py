"""Run by LMDeploy's own interpreter, `python -I awq.py MODEL OUT BLOCKS`: AWQ of a model, calibrated with blocks of token ids.

It imports nothing of ours. LMDeploy's command line knows only calibration texts that it downloads, and asks a GPU whether
a CPU may compute in bf16: both are answered here.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

BITS, GROUP = 4, 128


def main(model: str, out: str, blocks: str) -> None:
    """Write int4 safetensors and config.json to `out`.

    Args:
        model: folder of a Hugging Face model, bf16 or fp16.
        blocks: JSON file, lists of token ids, all of one length.
    """
    import torch
    from lmdeploy.lite.apis.auto_awq import auto_awq
    from transformers import AutoConfig

    rows = json.loads(Path(blocks).read_text(encoding="utf-8"))
    loaded = [torch.tensor([row]) for row in rows]
    calibration = import_module("lmdeploy.lite.apis.calibrate")
    vars(calibration)["get_calib_loaders"] = lambda *_, **__: loaded
    torch.cuda.is_bf16_supported = lambda *_, **__: True
    half = AutoConfig.from_pretrained(model).dtype == torch.float16
    auto_awq(
        model,
        work_dir=out,
        calib_samples=len(rows),
        calib_seqlen=len(rows[0]),
        w_bits=BITS,
        w_group_size=GROUP,
        search_scale=True,
        device="cpu",
        dtype="float16" if half else "bfloat16",  # a bf16 model tuned further may overflow in fp16
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
