"""Near-duplicate texts: Jaccard of character 5-grams, found by MinHash and confirmed exactly.

Punctuation and speaker names do not count: two transcripts of the same words are near whatever the recogniser put
between them.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

GRAM = 5
BANDS, BAND_ROWS = 20, 5  # a pair at Jaccard 0.9 is missed once in 10⁸, one at 0.6 is looked at four times in five
SEED = 20
_NOT_WORDS = re.compile(r"(?m)^(?:客户|客服)：|[^\w〔〕]+")

Shingles = NDArray[np.uint64]


def jaccard(one: str, other: str) -> float:
    """Shared over all character 5-grams of two texts; 1 for equal words."""
    a, b = _shingles(one), _shingles(other)
    return _jaccard(a, b)


def clusters(texts: "pl.Series", threshold: float) -> list[int]:
    """For each text the index of its cluster's first text; texts at the threshold or above share one, by chains too."""
    finder = _Finder(threshold)
    parent = list(range(len(texts)))
    for at, (shingles, bands) in enumerate(_sketches(texts)):
        for other in finder.near(shingles, bands):
            a, b = _root(parent, at), _root(parent, other)
            parent[max(a, b)] = min(a, b)
        finder.add(at, shingles, bands)
    return [_root(parent, at) for at in range(len(texts))]


def any_near(texts: "pl.Series", against: "pl.Series", threshold: float) -> list[bool]:
    """For each text, whether one of `against` is at or above the threshold."""
    finder = _Finder(threshold)
    for at, (shingles, bands) in enumerate(_sketches(against)):
        finder.add(at, shingles, bands)
    return [next(finder.near(shingles, bands), None) is not None for shingles, bands in _sketches(texts)]


class _Finder:
    """An index of sketches by band. Equal texts are kept once: a bucket of them would be searched over and over."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.shingles: dict[int, Shingles] = {}
        self.buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
        self.same: dict[bytes, int] = {}

    def add(self, at: int, shingles: Shingles, bands: Sequence[bytes]) -> None:
        if self.same.setdefault(shingles.tobytes(), at) != at:
            return
        self.shingles[at] = shingles
        for band, key in enumerate(bands):
            self.buckets[band, key].append(at)

    def near(self, shingles: Shingles, bands: Sequence[bytes]) -> Iterator[int]:
        """Those at or above the threshold; one with equal shingles alone, for it stands for all near it."""
        equal = self.same.get(shingles.tobytes())
        if equal is not None:
            yield equal
            return
        seen: set[int] = set()
        for band, key in enumerate(bands):
            for at in self.buckets.get((band, key), ()):
                if at not in seen:
                    seen.add(at)
                    if _jaccard(shingles, self.shingles[at]) >= self.threshold:
                        yield at


def _sketches(texts: "pl.Series") -> Iterator[tuple[Shingles, list[bytes]]]:
    """Of each text its sorted distinct shingles and the keys of its bands, a thousand texts at a time."""
    from rensa import RMinHash

    for start in range(0, len(texts), 1000):
        sets = [_shingles(text) for text in texts[start : start + 1000].to_list()]
        offsets = np.cumsum([0, *map(len, sets)], dtype=np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(sets), offsets, BANDS * BAND_ROWS, SEED)
        for shingles, row in zip(sets, np.asarray(matrix.to_rows(), dtype=np.uint32), strict=True):
            keys = row.reshape(BANDS, BAND_ROWS)
            yield shingles, [key.tobytes() for key in keys]


def _shingles(text: str) -> Shingles:
    """Sorted distinct hashes of the 5-grams; a shorter text is one shingle, padded."""
    words = _NOT_WORDS.sub("", text).lower().ljust(GRAM, "\0")
    codes = np.frombuffer(words.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    grams = np.zeros(len(codes) - GRAM + 1, dtype=np.uint64)
    for at in range(GRAM):
        grams = grams * np.uint64(0x9E3779B97F4A7C15) + codes[at : at + len(grams)]
    return np.unique(grams)


def _jaccard(a: Shingles, b: Shingles) -> float:
    if min(len(a), len(b)) == 0:
        return 0.0
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def _root(parent: list[int], at: int) -> int:
    while parent[at] != at:
        parent[at] = parent[parent[at]]
        at = parent[at]
    return at
