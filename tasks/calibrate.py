"""Calibration of one engine and form: temperature, a bias per category, the review threshold."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from configs.training import CalibrateSettings
from data_contracts.artifacts import Calibration, Predictions
from data_contracts.errors import ConfigurationError
from data_contracts.taxonomy import Taxonomy
from deploy import calibration as calibrated
from deploy.store import Store
from tasks.answered import Answers, Floats, answer

FLOOR = -60.0  # log-probability below which one category is as unlikely as another
TEMPERATURES = (0.05, 20.0)
PRIOR = 0.5  # x the sum of squares, in nats over the whole side: biases beyond about 1 need evidence


def fit(predictions: Predictions, taxonomy: Taxonomy, settings: CalibrateSettings, store: Store) -> Calibration:
    """The calibration that lowers the negative log-likelihood most, and the threshold the settings ask for.

    Raises:
        ConfigurationError: the predictions have no rows.
    """
    raw = answer(predictions, calibrated.identity(len(taxonomy.keys)), taxonomy, store)
    if not raw.ids:
        raise ConfigurationError(
            f"the {predictions.side} side has 0 calls; calibration needs some: raise split.calibration_share"
        )
    with np.errstate(divide="ignore"):
        logprobs = np.maximum(np.log(raw.probabilities), FLOOR)
    temperature, bias = _minimise(logprobs, raw.truth)
    fitted = Calibration(temperature=temperature, bias=bias, rows=len(raw.ids), loss_before=_loss(raw), loss_after=0.0)
    after = replace(raw, probabilities=calibrated.apply(fitted, logprobs))
    threshold = choose_threshold(after, taxonomy, settings)
    return fitted.model_copy(update={"loss_after": _loss(after), "threshold": threshold})


def choose_threshold(answers: Answers, taxonomy: Taxonomy, settings: CalibrateSettings) -> float:
    """The confidence below which calls go to a person; calls with a low label mass go there anyway and have no say.

    `cost`: least expected cost. A call answered automatically with category j is expected to cost the sum over every
    other category t of p(t) x (cost_of_missing(t) + cost_of_false_alarm(j)); a reviewed one costs `review_cost`. The
    probabilities, not the labels, weigh the costs: one mislabelled expensive call must not move the threshold.
    `accuracy`: the lowest threshold at which the automatic answers reach `target_accuracy`; 1 if none does.
    """
    counted = answers.label_mass >= calibrated.LOW_LABEL_MASS
    p = answers.probabilities[counted]
    if not len(p):
        return 1.0
    order = np.argsort(p.max(axis=1), kind="stable")
    p, confidence = p[order], p.max(axis=1)[order]
    starts = np.flatnonzero(
        np.diff(confidence, prepend=-1.0) > 0
    )  # first call answered automatically; equal ones together
    if settings.threshold_from == "cost":
        automatic = _sums_from(_expected_cost(p, taxonomy))
        costs = automatic[np.append(starts, len(p))] + taxonomy.review_cost * np.append(starts, len(p))
        best = int(np.append(starts, len(p))[costs.argmin()])
    else:
        right = _sums_from((p.argmax(axis=1) == answers.truth[counted][order]).astype(np.float64))
        reached = [int(s) for s in starts if right[s] >= settings.target_accuracy * (len(p) - s)]
        best = reached[0] if reached else len(p)
    return _between(confidence, best)


def _between(confidence: Floats, first_auto: int) -> float:
    """A threshold midway between the last reviewed call and the first automatic one."""
    if first_auto == 0:
        return 0.0
    above = confidence[first_auto] if first_auto < len(confidence) else 1.0
    return float((confidence[first_auto - 1] + above) / 2) if first_auto < len(confidence) else 1.0


def _sums_from(x: Floats) -> Floats:
    """Sum of x[i:] for i = 0 … N."""
    return np.append(x[::-1].cumsum()[::-1], 0.0)


def _expected_cost(p: Floats, taxonomy: Taxonomy) -> Floats:
    missing = np.array([c.cost_of_missing for c in taxonomy.categories])
    false_alarm = np.array([c.cost_of_false_alarm for c in taxonomy.categories])
    j = p.argmax(axis=1)
    top = p.max(axis=1)
    return np.asarray(p @ missing - top * missing[j] + (1 - top) * false_alarm[j], dtype=np.float64)


def _loss(answers: Answers) -> float:
    """Mean negative log-likelihood, nats a call."""
    p = answers.probabilities[np.arange(len(answers.ids)), answers.truth]
    return float(-np.log(np.maximum(p, np.exp(FLOOR))).mean())


def _minimise(logprobs: Floats, truth: NDArray[np.intp]) -> tuple[float, tuple[float, ...]]:
    """Penalised maximum likelihood of 1 / temperature and the biases (mean 0), from the identity downhill."""
    from scipy import optimize

    n, c = logprobs.shape
    observed = np.zeros((n, c))
    observed[np.arange(n), truth] = 1.0

    def objective(x: Floats) -> tuple[float, Floats]:
        z = logprobs * np.exp(x[0]) + x[1:]
        z -= z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        residual = np.exp(log_p) - observed
        loss = -(log_p * observed).sum() + PRIOR * (x**2).sum()
        gradient = np.append((residual * logprobs).sum() * np.exp(x[0]), residual.sum(axis=0)) + 2 * PRIOR * x
        return float(loss / n), gradient / n

    limits = [(-np.log(TEMPERATURES[1]), -np.log(TEMPERATURES[0])), *[(-10.0, 10.0)] * c]
    x = optimize.minimize(objective, np.zeros(c + 1), jac=True, method="L-BFGS-B", bounds=limits).x
    bias = x[1:] - x[1:].mean()
    return float(np.exp(-x[0])), tuple(float(b) for b in bias)
