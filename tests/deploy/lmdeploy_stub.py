"""LMDeploy's real api_server without a GPU: its engines answered by transformers on the CPU.

Copied as `sitecustomize.py` into an environment laid over LMDeploy's own, so that what is started there is started as always, and
only the two methods that build an engine are others. What a backend does to log-probabilities is kept: PyTorch's are raw, and
a token of the prompt can be scored; TurboMind's are of what temperature, top-k and top-p leave, at most 1024 of them.
"""

import importlib.util
import os
import sys
from collections.abc import AsyncIterator
from importlib.abc import MetaPathFinder
from typing import Any

MOST = 1024
COOKED = "STUB_COOKED"
"""Set, PyTorch's log-probabilities are those that are drawn from, as if --logprobs-mode were another."""


class Handle:
    """One request's view of the engine."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    async def async_cancel(self, session_id: int) -> None:
        pass

    async def async_stream_infer(
        self, session_id: int, input_ids: Any, gen_config: Any, **_: Any
    ) -> AsyncIterator[Any]:
        import torch
        from lmdeploy.messages import EngineOutput, ResponseType

        ids, g = list(input_ids), gen_config
        with torch.inference_mode():
            logits = self.engine.model(torch.tensor([ids])).logits[0].float()
        if g.logprob_start_len >= 0:
            at = range(g.logprob_start_len, len(ids) - 1)
            rows = [_row(torch.log_softmax(logits[k], -1), ids[k + 1], g.logprobs) for k in at]
            yield EngineOutput(ResponseType.FINISH, [], logprobs=rows)
            return
        drawn = _tempered(logits[-1], g)
        token = int(drawn.exp().multinomial(1))
        shown = drawn if self.engine.turbomind or COOKED in os.environ else torch.log_softmax(logits[-1], -1)
        rows = (
            [_row(shown, token, min(g.logprobs, MOST) if self.engine.turbomind else g.logprobs)] if g.logprobs else None
        )
        yield EngineOutput(ResponseType.FINISH, [token], logprobs=rows)


def _tempered(logits: Any, g: Any) -> Any:
    """Log-probabilities of what sampling may draw."""
    import torch

    logits = logits / (g.temperature or 1e-6)
    if g.top_k:
        logits = logits.masked_fill(logits < logits.topk(min(g.top_k, len(logits))).values[-1], -torch.inf)
    if g.top_p < 1:
        sorted_, at = torch.log_softmax(logits, -1).sort(descending=True)
        logits[at[sorted_.exp().cumsum(0) - sorted_.exp() >= g.top_p]] = -torch.inf
    return torch.log_softmax(logits, -1)


def _row(logprobs: Any, token: int, top: int) -> dict[int, float]:
    import torch

    values, ids = logprobs.topk(min(top, len(logprobs)))
    row = {int(i): float(p) for i, p in zip(ids, values, strict=True) if p > -torch.inf}
    return {**row, token: float(logprobs[token])}


class Engine:
    """Stands where LMDeploy's engine stands."""

    def __init__(self, path: str, config: Any, turbomind: bool) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self.engine_config = config
        self.turbomind = turbomind

    def create_instance(self) -> Handle:
        return Handle(self)

    def start_loop(self, *_: Any, **__: Any) -> bool:
        return True

    def close(self) -> None:
        pass

    def end_session(self, session_id: int) -> bool:
        return True

    def get_schedule_metrics(self) -> Any:
        from lmdeploy.messages import ScheduleMetrics

        return ScheduleMetrics()

    async def get_health_status(self) -> dict[str, Any]:
        return {"alive": True, "message": "stub", "schedule_metrics": self.get_schedule_metrics()}


def _engines(module: Any) -> None:
    def building(turbomind: bool) -> Any:
        return lambda self, model_path, backend_config=None, **_: Engine(model_path, backend_config, turbomind)

    module.AsyncEngine._build_pytorch = building(False)
    module.AsyncEngine._build_turbomind = building(True)


def _backends(module: Any) -> None:
    module.autoget_backend = lambda *_, **__: "turbomind"


class Replacing(MetaPathFinder):
    """Changes a module the moment it has been imported."""

    AFTER = {"lmdeploy.serve.core.async_engine": _engines, "lmdeploy.archs": _backends}  # noqa: RUF012

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name not in self.AFTER:
            return None
        change = self.AFTER.pop(name)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def loading(module: Any) -> None:
            load(module)
            change(module)

        spec.loader.exec_module = loading  # type: ignore[method-assign]
        return spec


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, Replacing())
