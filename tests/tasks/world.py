"""Gold sets and pairs of models of known quality, as a call centre would give them: customers who call again, about the
same thing more often than chance, and two fine-tunes of one base that err on the same calls.

N calls, C categories. The rates are exact in the population: macro-F1 and its difference are known, not estimated.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_contracts.samples.material import load_material
from data_contracts.taxonomy import load
from tasks.answered import Answers, Floats, costs

TAXONOMY = load()
C = len(TAXONOMY.keys)
SHARES = np.array([load_material().categories[key].share for key in TAXONOMY.keys])  # of the sample calls
SHARES = SHARES / SHARES.sum()
SAME_MATTER = 0.5  # of a customer's calls are about what that customer mostly calls about
BY_CUSTOMER, BY_CALL = 0.15, 0.7  # of what makes a call hard: who calls, what is said; the rest is each model's own
SAME_MISTAKE = 0.8  # of the calls that both get wrong, they answer alike at least
ERROR = 0.16  # of a category with an average share; rarer ones err more


@dataclass(frozen=True)
class Model:
    """`error` (C,): how often a call of each category is answered wrongly."""

    error: Floats

    @property
    def macro_f1(self) -> float:
        """In the population."""
        confusion = np.diag(SHARES * (1 - self.error)) + (SHARES * self.error)[:, None] * WRONG
        return float(np.mean(2 * np.diag(confusion) / (confusion.sum(axis=0) + confusion.sum(axis=1))))


def _wrong() -> Floats:
    """(C, C) what a wrong answer says instead: the more frequent categories more often, some pairs far more often."""
    taste = np.random.default_rng(7).lognormal(0, 1, (C, C)) * SHARES[None, :]
    np.fill_diagonal(taste, 0)
    return np.asarray(taste / taste.sum(axis=1, keepdims=True))


WRONG = _wrong()


def champion(rng: np.random.Generator) -> Model:
    """A model of about 0.8 macro-F1; the rare categories are its worst."""
    typical = ERROR * (SHARES * C) ** -0.25
    return Model(np.clip(typical * rng.lognormal(0, 0.2, C), 0.01, 0.6))


def rival(of: Model, by: float, rng: np.random.Generator) -> Model:
    """A model whose macro-F1 is `by` above that of another, better at some categories and worse at others."""
    return moved(Model(of.error * rng.lognormal(0, 0.15, C)), of.macro_f1 + by)


def moved(model: Model, to: float) -> Model:
    """A model as good and as bad at each category in proportion, whose macro-F1 is `to`."""
    low, high = 0.0, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        is_better = _scaled(model.error, middle).macro_f1 > to
        low, high = (middle, high) if is_better else (low, middle)
    return _scaled(model.error, low)


def _scaled(error: Floats, by: float) -> Model:
    return Model(np.clip(error * by, 0, 0.95))


def _customers(calls: int, rng: np.random.Generator, tail: float, most: int) -> NDArray[np.intp]:
    """The customer (N,) of each call; P(k calls) falls as k to the -tail, the last customer cut to fit."""
    k = np.arange(1, most + 1)
    p = k**-tail / (k**-tail).sum()
    counts = rng.choice(k, size=calls, p=p)
    return np.repeat(np.arange(calls), counts)[:calls]


def pair(
    calls: int, models: tuple[Model, Model], rng: np.random.Generator, tail: float = 2.2, most: int = 20
) -> tuple[Answers, Answers]:
    """How two models answer the same calls; customers as those of the sample calls unless told otherwise."""
    from scipy.special import ndtr

    customer = _customers(calls, rng, tail, most)
    customers = int(customer[-1]) + 1
    main = rng.choice(C, size=customers, p=SHARES)
    truth = np.where(rng.random(calls) < SAME_MATTER, main[customer], rng.choice(C, size=calls, p=SHARES))
    hard = BY_CUSTOMER**0.5 * rng.standard_normal(customers)[customer] + BY_CALL**0.5 * rng.standard_normal(calls)
    mistake = rng.random(calls)
    own = (1 - BY_CUSTOMER - BY_CALL) ** 0.5
    answers = []
    for model in models:
        is_wrong = ndtr(hard + own * rng.standard_normal(calls)) < model.error[truth]
        said = np.where(rng.random(calls) < SAME_MISTAKE, mistake, rng.random(calls))
        instead = np.minimum((WRONG.cumsum(axis=1)[truth] < said[:, None]).sum(axis=1), C - 1)
        answers.append(_answer(customer, truth, np.where(is_wrong, instead, truth)))
    return answers[0], answers[1]


def _answer(customer: NDArray[np.intp], truth: NDArray[np.intp], predicted: NDArray[np.intp]) -> Answers:
    """Every call answered automatically, with the same confidence."""
    n = len(truth)
    is_auto, sure = np.ones(n, bool), np.full(n, 0.85)
    return Answers(
        ids=tuple(map(str, range(n))),
        groups=customer,  # type: ignore[arg-type]
        truth=truth,
        predicted=predicted,
        probabilities=np.full((n, C), 1 / C),
        confidence=sure,
        is_auto=is_auto,
        cost=costs(truth, predicted, is_auto, TAXONOMY),
        label_mass=np.ones(n),
        truncated=np.zeros(n, bool),
    )


def joined(first: Answers, then: Answers) -> Answers:
    """The same gold set with more calls, of other customers."""
    moved = then.groups + first.groups.max() + 1  # type: ignore[operator]
    arrays = {
        k: np.concatenate([v, moved if k == "groups" else getattr(then, k)])
        for k, v in vars(first).items()
        if isinstance(v, np.ndarray)
    }
    return replace(first, ids=tuple(map(str, range(len(first.ids) + len(then.ids)))), **arrays)
