"""What training reads: encoded calls in a memory-mapped Arrow file, in token-budget batches of similar length."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.prompt import Prompt
from data_contracts.taxonomy import Taxonomy
from deploy.engines import prefill
from deploy.tokenizer import Tokens
from tasks.ranks import ALONE, Group

if TYPE_CHECKING:
    from torch import Tensor

ROUND_TOKENS = 16
"""Calls whose lengths agree up to this many tokens may change places from epoch to epoch."""


class Batches:
    """A batch sampler: rows x longest row within the token budget, another order each epoch, always as many batches.

    The lengths, rounded up, are the same multiset in every epoch, so the cuts between batches are too. That keeps `len`
    right and lets a resumed run find its place. Each process of a group gets its share of every batch, maybe no row.
    """

    def __init__(self, lengths: Sequence[int], budget_tokens: int, seed: int, group: Group = ALONE) -> None:
        self._rounded = [-(-n // ROUND_TOKENS) * ROUND_TOKENS for n in lengths]
        self._sizes = [len(b) for b in prefill.by_length(self._rounded, budget_tokens)]
        self._seed = seed
        self._share = slice(group.rank, None, group.size)
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[list[int]]:
        import numpy as np

        random = np.random.default_rng((self._seed, self._epoch))
        order = sorted(random.permutation(len(self._rounded)).tolist(), key=lambda i: -self._rounded[i])
        cuts = np.cumsum([0, *self._sizes])
        yield from (order[cuts[b] : cuts[b + 1]][self._share] for b in random.permutation(len(self._sizes)).tolist())


def encode_side(parquet: Path, prompt: Prompt, taxonomy: Taxonomy, tokens: Tokens, cache: Path) -> Any:
    """A side as a `datasets` table with columns `ids`, `category` and `tokens`; Arrow files go to `cache`."""
    import datasets
    import numpy as np

    datasets.disable_progress_bars()

    def encode(rows: Mapping[str, list[str]]) -> dict[str, list[Any]]:
        ids = [np.array(e.ids, dtype=np.int32) for e in prompt.encode_all(rows["input_text"], tokens)]
        categories = [taxonomy.index[key] for key in rows["complaint_category"]]
        return {"ids": ids, "category": categories, "tokens": [len(i) for i in ids]}

    cache.mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_parquet(
        str(parquet), cache_dir=str(cache), columns=["input_text", "complaint_category"]
    )
    return table.map(
        encode,
        batched=True,
        remove_columns=table.column_names,
        new_fingerprint=parquet.stem,  # the cache is of one stage only, whose key covers all inputs
        cache_file_name=str(cache / f"{parquet.stem}-encoded.arrow"),
    )


def collate(rows: Sequence[Mapping[str, Any]], head_tokens: int) -> dict[str, "Tensor"]:
    """Rows as a block without the shared head: ids (N, T), answer_at and category (N,), tokens () of whole prompts."""
    import torch

    block = prefill.pad([row["ids"] for row in rows], head_tokens)
    return {
        "ids": block.ids,
        "answer_at": block.answer_at,
        "category": torch.tensor([row["category"] for row in rows]),
        "tokens": torch.tensor(sum(row["tokens"] for row in rows)),
    }


def category_weights(counts: Sequence[int], power: float) -> list[float]:
    """Inverse frequency to a power, scaled so that the mean over rows is 1; a category without rows weighs nothing."""
    raw = [n**-power if n else 0.0 for n in counts]
    mean = sum(w * n for w, n in zip(raw, counts, strict=True)) / max(sum(counts), 1)
    return [w / mean if mean else 0.0 for w in raw]
