"""Draws a token from logits, with transformers' own warpers and a source of chance that belongs to one text alone."""

from collections.abc import Mapping, Set
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
        return int(logits.argmax()) if self._is_greedy else self._drawn(self._chances(logits))

    def choose_part(self, logprobs: Mapping[int, float], parts: Set[int], size: int) -> int:
        """A token id of a vocabulary of `size`, known to be one of `parts`; if none of those has a chance, they count for nothing."""
        import torch

        logits, is_part = torch.full((size,), -float("inf")), torch.zeros(size, dtype=torch.bool)
        logits[list(logprobs)] = torch.tensor(list(logprobs.values()))
        is_part[list(parts)] = True
        chances = self._chances(logits)
        return self._drawn(of_parts if (of_parts := chances * is_part).sum() > 0 else chances)

    def _chances(self, logits: "Tensor") -> "Tensor":
        import torch

        warped = self._warpers(torch.empty(1, 0, dtype=torch.long), logits.float().cpu()[None])
        chances: Tensor = warped.softmax(dim=-1)[0]
        return chances

    def _drawn(self, chances: "Tensor") -> int:
        import torch

        return int(torch.multinomial(chances, 1, generator=self._chance))
