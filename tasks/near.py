"""Near-duplicate texts: Jaccard of character 5-grams, found by MinHash and confirmed exactly.

Punctuation and speaker names do not count: two transcripts of the same words are near whatever the recogniser put
between them. `N` texts, `B` bands. A text costs the same however many there are: what it is compared with is bounded, and
of a text 268 bytes are kept.
"""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

GRAM = 5
BANDS, BAND_ROWS = 20, 5  # a pair at Jaccard 0.9 is missed once in 10⁸, one at 0.6 is looked at four times in five
SEED = 20
BUCKET = 50  # texts of one band that are looked at; thousands share one only where they are made from one template
COMPARED = 16  # texts that one text is compared with, the likeliest first
DOUBT = 0.2  # below the threshold; five standard deviations of the estimate by 100 minima
AT_ONCE = 2000
LOOKED_UP = 20_000  # texts looked up at a time
BLOCK = 200  # texts compared at a time: each shares bands with up to B x BUCKET others
SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")
MIX = 0x9E3779B97F4A7C15
_NOT_WORDS = re.compile(r"(?m)^(?:客户|客服)：|[^\w〔〕]+")

Shingles = NDArray[np.uint64]
Indices = NDArray[np.int64]


class Sketches(NamedTuple):
    """Texts with what finds those near them.

    words (N,): digests, equal for equal words. bands (N, B): keys. minima (N, B x 5): a byte of each minimum; two texts
    agree in about as many as their Jaccard says.
    """

    texts: "pl.Series"
    words: NDArray[np.uint64]
    bands: NDArray[np.uint64]
    minima: NDArray[np.uint8]

    def take(self, at: Indices) -> "Sketches":
        """The sketches at these indices."""
        return Sketches(self.texts.gather(at), self.words[at], self.bands[at], self.minima[at])


class Sketched:
    """Sketches of calls by their rows, so that a call that is looked at twice is sketched once."""

    def __init__(self) -> None:
        self._rows: Indices = np.empty(0, np.int64)
        self._kept: Sketches | None = None

    def keep(self, rows: "pl.Series", sketches: Sketches) -> None:
        """Remember these, one a row, the rows in order."""
        self._rows, self._kept = rows.to_numpy(), sketches

    def of(self, calls: "pl.DataFrame") -> Sketches:
        """The sketches of these calls' texts: those that were kept, if all of them were."""
        wanted = calls["row"].to_numpy()
        at = np.searchsorted(self._rows, wanted).clip(0, max(len(self._rows) - 1, 0))
        if self._kept is None or not len(self._rows) or not np.array_equal(self._rows[at], wanted):
            return sketch(calls["input_text"])
        return self._kept.take(at)


def sketch(texts: "pl.Series") -> Sketches:
    """Sketches of texts, `AT_ONCE` at a time."""
    starts = range(0, max(len(texts), 1), AT_ONCE)
    words, bands, minima = zip(*(_sketch(texts.slice(start, AT_ONCE)) for start in starts), strict=True)
    return Sketches(texts, np.concatenate(words), np.concatenate(bands), np.concatenate(minima))


def shingles(texts: Iterable[str]) -> Iterator[Shingles]:
    """Of each text its words' sorted distinct 5-grams, as hashes; a text of fewer characters is padded."""
    return (np.unique(_gram_hashes(_words(text))) for text in texts)


def jaccard(one: Shingles, other: Shingles) -> float:
    """Shared over all 5-grams of two texts; 1 for equal words."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


def clusters(own: Sketches, threshold: float) -> list[int]:
    """For each text the index of its cluster's first text; texts at the threshold or above share one, by chains too."""
    _, first, same = np.unique(own.words, return_index=True, return_inverse=True)
    parent: list[int] = first[same].tolist()  # equal words are looked up once
    heads = np.sort(first)
    distinct = own.take(heads)
    for at, others in Index(distinct).candidates(distinct, threshold, earlier=True):
        mine, *theirs = shingles(distinct.texts.gather([at, *others]))
        for other, its in zip(others, theirs, strict=True):
            a, b = _root(parent, int(heads[at])), _root(parent, int(heads[other]))
            if a != b and jaccard(mine, its) >= threshold:
                parent[max(a, b)] = min(a, b)
    return [_root(parent, at) for at in range(len(parent))]


def any_near(own: Sketches, against: Sketches, threshold: float) -> NDArray[np.bool_]:
    """For each text, whether one of `against` is at or above the threshold: (N,)."""
    found = np.isin(own.words, against.words)
    left = np.flatnonzero(~found)
    _, first = np.unique(against.words, return_index=True)
    distinct, rest = against.take(np.sort(first)), own.take(left)
    for at, others in Index(distinct).candidates(rest, threshold):
        (mine,) = shingles(rest.texts.slice(at, 1))
        theirs = shingles(distinct.texts.gather(others))
        found[left[at]] = any(jaccard(mine, its) >= threshold for its in theirs)
    return found


class Index:
    """Distinct texts by band: of each band the keys in order, and whose they are; (B, N) each."""

    def __init__(self, distinct: Sketches) -> None:
        self._minima = distinct.minima
        self._order = np.stack([np.argsort(keys, kind="stable").astype(np.int32) for keys in distinct.bands.T])
        self._keys = np.take_along_axis(distinct.bands.T, self._order, axis=1)

    def candidates(self, own: Sketches, threshold: float, earlier: bool = False) -> Iterator[tuple[int, list[int]]]:
        """Those of `own` that may be near a text here, each with at most `COMPARED` such texts, the likeliest first.

        earlier: `own` are the texts here; each is shown only those before it.
        """
        for start, first, counts in self._buckets(own.bands):
            mine, theirs = self._sharing(first, counts)
            alike = (self._minima[theirs] == own.minima[start + mine]).mean(axis=1)
            likely = np.flatnonzero((alike >= threshold - DOUBT) & ((theirs < start + mine) | (not earlier)))
            whose, split = np.unique(mine[likely], return_index=True)
            for at, found in zip(whose.tolist(), np.split(likely, split[1:]), strict=len(whose) > 0):
                likeliest = found[np.argsort(-alike[found], kind="stable")[:COMPARED]]
                yield start + at, theirs[likeliest].tolist()

    def _buckets(self, bands: NDArray[np.uint64]) -> Iterator[tuple[int, Indices, Indices]]:
        """`BLOCK` texts at a time: which is the first, and where in each band's order the texts that share it begin, and how many
        are looked at, (n, B) each. Found for many texts at once, in order, which is several times as fast as text by text."""
        for outer in range(0, len(bands), LOOKED_UP):
            first = np.empty(bands[outer : outer + LOOKED_UP].shape, np.int64)
            counts = np.empty_like(first)
            for band, wanted in enumerate(bands[outer : outer + LOOKED_UP].T):
                by_key = np.argsort(wanted)
                begins, ends = (np.searchsorted(self._keys[band], wanted[by_key], side) for side in SIDES)
                first[by_key, band], counts[by_key, band] = begins, np.minimum(ends - begins, BUCKET)
            for start in range(0, len(first), BLOCK):
                yield outer + start, first[start : start + BLOCK], counts[start : start + BLOCK]

    def _sharing(self, first: Indices, counts: Indices) -> tuple[Indices, Indices]:
        """Pairs that share a band, each once: indices into `first` (n, B), ascending, and into the texts here."""
        texts = self._order.shape[1]
        places = (first + np.arange(len(self._order)) * texts).ravel()
        whose, each = np.repeat(np.arange(len(first)), counts.sum(axis=1)), counts.ravel()
        within = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
        theirs = self._order.ravel()[np.repeat(places, each) + within]
        mine, other = np.divmod(np.unique(whose * texts + theirs), max(texts, 1))
        return mine, other


def _sketch(texts: "pl.Series") -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint8]]:
    """words, bands and minima of some texts."""
    import polars as pl
    from rensa import RMinHash

    words = [_words(text) for text in texts]
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    hashes = _gram_hashes("".join(words)) if words else np.empty(0, np.uint64)
    inside = np.ones(len(hashes) + GRAM, dtype=bool)
    for before in range(1, GRAM):  # a gram that begins here ends in the next text
        inside[np.cumsum(lengths) - before] = False
    offsets = np.cumsum([0, *(lengths - (GRAM - 1))]).astype(np.uint64)
    own = hashes[inside[: len(hashes)]]
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(own, offsets, BANDS * BAND_ROWS, SEED)
    rows = np.asarray(matrix.to_rows(), dtype=np.uint64).reshape(-1, BANDS, BAND_ROWS)
    keys = np.zeros(rows.shape[:2], dtype=np.uint64)
    for at in range(BAND_ROWS):
        keys = (keys ^ (keys >> np.uint64(29))) * np.uint64(MIX) + rows[:, :, at] + np.uint64(1)
    return (
        pl.Series(words, dtype=pl.String).hash(SEED).to_numpy(),
        keys,
        rows.reshape(-1, BANDS * BAND_ROWS).astype(np.uint8),
    )


def _words(text: str) -> str:
    """The words alone, at least `GRAM` characters."""
    return _NOT_WORDS.sub("", text).lower().ljust(GRAM, "\0")


def _gram_hashes(words: str) -> Shingles:
    codes = np.frombuffer(words.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    grams = np.zeros(len(codes) - GRAM + 1, dtype=np.uint64)
    for at in range(GRAM):
        grams = grams * np.uint64(MIX) + codes[at : at + len(grams)]
    return grams


def _root(parent: list[int], at: int) -> int:
    while parent[at] != at:
        parent[at] = parent[parent[at]]
        at = parent[at]
    return at
