"""Draws a token from logits, with transformers' own warpers and a source of chance that belongs to one text alone."""

from typing import TYPE_CHECKING

from deploy.engines import Sampling

if TYPE_CHECKING:
    from torch import Tensor


class Sampler:
    """One text's draws, or those from its token `at` on."""

    def __init__(self, sampling: Sampling, at: int = 0) -> None:
        import torch
        from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

        self._is_greedy = sampling.temperature == 0
        self._chance = torch.Generator().manual_seed(sampling.seed + at)
        self._warpers = LogitsProcessorList()
        if not self._is_greedy:
            self._warpers += [TemperatureLogitsWarper(sampling.temperature), TopPLogitsWarper(sampling.top_p)]

    def choose(self, logits: "Tensor") -> int:
        """A token id; logits (V,)."""
        import torch

        if self._is_greedy:
            return int(logits.argmax())
        warped = self._warpers(torch.empty(1, 0, dtype=torch.long), logits.float().cpu()[None])
        return int(torch.multinomial(warped.softmax(dim=-1)[0], 1, generator=self._chance))
