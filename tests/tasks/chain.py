"""The steps of the pipeline that need no server, in order, each kept by its stage key, on a bench of random weights."""

from pathlib import Path
from types import ModuleType
from typing import Any

from configs.serving import ServeSettings
from configs.training import BaselineSettings, TrainSettings
from data_contracts.artifacts import Adapter, BundleRef, Calibration, Model
from deploy.store import FolderStore
from tasks import baseline, merge, pack, quantize, score, stages, train
from tasks.score import ScoredSides
from tests.tiny import Bench

STAGES = ("baseline", "train", "merge", "quantize", "score", "pack")
TRAIN = TrainSettings(epochs=2, learning_rate=5e-3, rank=4, batch_tokens=256, checkpoint_steps=3, precision="fp32")
SERVE = ServeSettings(threads=1, precision="fp32")


def chain(bench: Bench, root: Path) -> None:
    """Do it all, or what is left of it, in the store `root`, which starts as a copy of the bench's."""
    store = FolderStore(root)

    def stage(module: ModuleType, step: Any, kind: Any, *inputs: Any) -> Any:
        values = {str(i): value for i, value in enumerate(inputs)}
        key = stages.stage_key(module.__name__.split(".")[-1], values, module)
        return stages.run(store, key, kind, lambda work: step(*inputs, work=work)).result

    stage(baseline, baseline.fit, ScoredSides, bench.splits, bench.taxonomy, BaselineSettings())
    words = (bench.prompt, bench.taxonomy)
    adapter = stage(train, train.fit, Adapter, bench.splits, bench.base, *words, TRAIN)
    merged = stage(merge, merge.merge, Model, adapter)
    int8 = stage(quantize, quantize.quantize, Model, merged, "int8")
    stage(score, score.score, ScoredSides, int8, "int8", bench.splits, ("gold",), *words, SERVE)
    stage(pack, pack.pack, BundleRef, int8, *words, Calibration(bias=(0.0,) * 3), SERVE, True)
