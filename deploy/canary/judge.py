"""The sequential judge of a canary: fed by windows, it says continue, breach or pass, and on which evidence.

    state = judge.begin(settings.rollout.canary, categories)
    state = judge.feed(state, window)                 # every few seconds; the state is JSON and may be kept and read back
    found = judge.decide(state, now)                  # continue, breach (undo) or pass (judge.advance(state), or go live)

The share of healthy candidates that are ever called a breach, over all steps and all signals together, is at most `alpha`; how often
one looks, how long it takes and how the traffic changes do not matter. It needs calls sent to a side at random, each by itself (or
`together` calls of one request). The claim tested is "within tolerance"; a difference below half the way from `tolerated` to `detected`
is hardly ever found, however long one looks.
"""

from math import exp, log, sqrt
from typing import Literal

import numpy as np
from pydantic import Field

from configs.rollout import CanarySettings
from data_contracts.schema import Frozen
from deploy.canary import bets
from deploy.canary.bets import Array, Bets
from deploy.canary.signals import QUANTILES, SIGNALS, Signal
from deploy.canary.window import Histogram, Side, Window

MOST_LOG = 300.0  # of an evidence that is written down: e^300 says enough
TYPICAL_CALLS = 100  # at the variance of what is tolerated: there an interval is narrowest
LEAST_VARIANCE = 0.001


class Ledger(Frozen):
    """One signal. `wealth`: of each bet, by the step it was laid in; the others make the intervals. All by bet."""

    wealth: tuple[tuple[float, ...], ...]
    moved: tuple[float, ...]
    spread: tuple[float, ...]
    weight: float = 0.0


class State(Frozen):
    """Everything the judge knows. `pending`: not judged yet; `judged`: of all steps; `calls`, `seconds`: of this step."""

    settings: CanarySettings
    categories: tuple[str, ...]
    step: int = 0
    pending: Window = Window()
    judged: Window = Window()
    calls: int = 0
    seconds: float = 0.0
    ledgers: dict[str, Ledger] = Field(default_factory=dict)


class Evidence(Frozen):
    """What one signal says. `about`: its strongest bet.

    champion, candidate: what that bet compares: a share, a mean, seconds; "a becomes b": share of b less share of a; champion is null
    where there is none. excess: by how much the candidate is further that way, within the same blocks (latency: share of the blocks in
    which it was slower); low and high: its interval, at all times together and for all bets of the signal.
    e_value: wealth from 1; at `breach_at` it is a breach.
    """

    signal: str
    about: str
    champion: float | None
    candidate: float
    excess: float
    low: float
    high: float
    tolerated: float
    e_value: float
    breach_at: float


class Judgement(Frozen):
    """What to do, and why. `signals` are those in breach; `step` counts from 1; `calls`, requests the candidate answered, and `seconds`
    are this step's; `champion` and `candidate` are the counts behind the evidence, of all steps."""

    decision: Literal["continue", "breach", "pass"]
    signals: tuple[str, ...]
    at: str
    step: int
    steps: int
    weight: float
    calls: int
    seconds: float
    evidence: tuple[Evidence, ...]
    not_measured: tuple[str, ...]
    champion: Side
    candidate: Side


def begin(settings: CanarySettings, categories: tuple[str, ...]) -> State:
    """Before the first call. `categories`: keys of both sides' taxonomies; a call of any other is not counted."""
    return State(settings=settings, categories=categories)


def advance(state: State) -> State:
    """The next step: bets are laid afresh, those of earlier steps run on."""
    return state.model_copy(update={"step": state.step + 1, "calls": 0, "seconds": 0.0})


def feed(state: State, window: Window) -> State:
    """Take in what both sides answered since the last time. Judged as soon as both have a block of requests.

    Raises:
        ConfigurationError: the sides count in other buckets.
    """
    pending = state.pending + window
    for one, other in zip(_compared(pending.champion), _compared(pending.candidate), strict=True):
        _ = one + other  # refuses other edges, as of services of two releases
    state = state.model_copy(update={"pending": pending, "seconds": state.seconds + window.seconds})
    if min(pending.champion.requests, pending.candidate.requests) < state.settings.block_requests:
        return state
    ledgers = {signal.name: _enter(state, signal) for signal in SIGNALS}
    return state.model_copy(
        update={
            "pending": Window(),
            "judged": state.judged + pending,
            "calls": state.calls + pending.candidate.requests,
            "ledgers": {name: ledger for name, ledger in ledgers.items() if ledger is not None},
        }
    )


def decide(state: State, at: str) -> Judgement:
    """What the evidence so far asks for. Asking changes nothing; the first breach is final, evidence may fade again.

    A candidate that answers no request at all is never judged: how long to wait for it is for the caller to say.
    """
    found = tuple(_told(state, signal) for signal in SIGNALS if signal.name in state.ledgers)
    wrong = tuple(one.signal for one in found if one.e_value >= one.breach_at)
    step = state.settings.steps[state.step]
    is_baked = state.calls >= step.calls and state.seconds >= step.seconds
    return Judgement(
        decision="breach" if wrong else "pass" if is_baked else "continue",
        signals=wrong,
        at=at,
        step=state.step + 1,
        steps=len(state.settings.steps),
        weight=step.weight,
        calls=state.calls,
        seconds=state.seconds,
        evidence=found,
        not_measured=tuple(signal.name for signal in SIGNALS if signal.name not in state.ledgers),
        champion=state.judged.champion,
        candidate=state.judged.candidate,
    )


def _compared(side: Side) -> tuple[Histogram, ...]:
    """What is compared bucket by bucket."""
    return side.confidence, side.label_mass


def _enter(state: State, signal: Signal) -> Ledger | None:
    """The signal's ledger with the pending block in it."""
    known = state.ledgers.get(signal.name)
    counts = signal.count(state.pending, state.settings, state.categories)
    past = signal.count(state.judged, state.settings, state.categories)
    if counts is None:
        return known
    laid = signal.bets(state.settings, state.categories, state.pending)
    known = known or _opened(laid)
    before = np.zeros_like(counts[1]) if past is None else past[0] + past[1]
    gained = bets.gains(laid, *counts, before)
    begun = [np.array(w) for w in known.wealth]
    begun += [np.zeros(len(gained))] * (state.step + 1 - len(begun))
    moved, spread, weight = _moved(laid, *counts, before)
    return Ledger(
        wealth=tuple(tuple((one + gained).tolist()) for one in begun),
        moved=tuple((known.moved + moved).tolist()),
        spread=tuple((known.spread + spread).tolist()),
        weight=known.weight + weight,
    )


def _opened(laid: Bets) -> Ledger:
    nothing = (0.0,) * len(laid.names)
    return Ledger(wealth=(), moved=nothing, spread=nothing)


def _moved(laid: Bets, champion: Array, candidate: Array, past: Array) -> tuple[Array, Array, float]:
    """Sum of differences, their variance and their weight, of one block; the weight is a block's harmonic size."""
    n, m = champion.sum(), candidate.sum()
    weight = m if laid.is_one_sample else n * m / (n + m)
    share = bets.shares(champion + candidate + (0 if laid.is_one_sample else past))
    variance = laid.scores**2 @ share - (laid.scores @ share) ** 2
    base = 0.0 if laid.is_one_sample else champion / n
    return weight * (laid.scores @ (candidate / m - base)), weight * variance, float(weight)


def _told(state: State, signal: Signal) -> Evidence:
    """One signal in words and numbers."""
    ledger, settings = state.ledgers[signal.name], state.settings
    laid = signal.bets(settings, state.categories, state.judged)
    wealth = _wealth(ledger, len(settings.steps)) + laid.log_prior
    alpha = settings.alpha * signal.alpha_share
    best = int(np.argmax(wealth))
    low, mid, high = _interval(laid, ledger, best, alpha / len(laid.names))
    champion, candidate = _levels(state, signal, laid, best)
    return Evidence(
        signal=signal.name,
        about=laid.names[best],
        champion=champion,
        candidate=candidate,
        excess=mid,
        low=low,
        high=high,
        tolerated=float(laid.tolerated[best]),
        e_value=exp(min(float(np.logaddexp.reduce(wealth)), MOST_LOG)),
        breach_at=1 / alpha,
    )


def _wealth(ledger: Ledger, steps: int) -> Array:
    """Logarithm of what each bet has (H,): half was laid in the first step, the rest in even parts later; what is not laid is kept."""
    parts = np.array([1.0] if steps == 1 else [0.5] + [0.5 / (steps - 1)] * (steps - 1))
    laid = np.zeros((steps, len(ledger.moved)))
    laid[: len(ledger.wealth)] = ledger.wealth
    return np.asarray(np.logaddexp.reduce(laid + np.log(parts)[:, None], axis=0))


def _interval(laid: Bets, ledger: Ledger, bet: int, alpha: float) -> tuple[float, float, float]:
    """Low end, estimate, high end: the normal mixture's confidence sequence (asymptotic; only the e-value decides)."""
    scale = TYPICAL_CALLS * max(laid.tolerated[bet] * (1 - laid.tolerated[bet]), LEAST_VARIANCE)
    spread = ledger.spread[bet] + scale
    half = sqrt(spread * log(spread / (scale * alpha**2))) / ledger.weight
    middle, reach = ledger.moved[bet] / ledger.weight, float(np.ptp(laid.scores[bet]))
    return max(middle - half, 0.0 if laid.is_one_sample else -reach), middle, min(middle + half, reach)


def _levels(state: State, signal: Signal, laid: Bets, bet: int) -> tuple[float | None, float]:
    """What the bet compares, over everything judged: champion's and candidate's."""
    if signal.name == "latency":
        sides = state.judged.champion.latency_s, state.judged.candidate.latency_s
        return sides[0].quantile(QUANTILES[laid.names[bet]]), sides[1].quantile(QUANTILES[laid.names[bet]])
    counts = signal.count(state.judged, state.settings, state.categories)
    assert counts is not None  # there is a ledger
    score = laid.scores[bet] if laid.scores[bet].max() > 0 else -laid.scores[bet]  # less of something: the thing itself
    champion, candidate = (float(score @ side / max(side.sum(), 1)) for side in counts)
    return None if laid.is_one_sample else champion, candidate
