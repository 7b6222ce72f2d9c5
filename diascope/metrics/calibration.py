"""Calibration: how far probabilities are from what happens, and one number to bring them nearer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit, stdtrit

from diascope.metrics.bootstrap import FEWEST_GROUPS, Basis, Resampling, effective_number
from diascope.metrics.confusion import divide
from diascope.metrics.estimate import Estimate
from diascope.metrics.replicates import estimates_of, replicates_of, squared_errors
from diascope.metrics.scored import ScoredImages

N_BINS = 10
CERTAIN = 1e-7  # probabilities are kept this far from 0 and 1 where a logarithm is taken
MOST_STEPS = 50
TEMPERATURES = (1 / 20, 20.0)


def fit_temperature(labels: NDArray[np.integer], logits: NDArray[np.floating]) -> float:
    """Return what logits are divided by so that their probabilities are most likely.

    Guo, Pleiss, Sun & Weinberger 2017, "On Calibration of Modern Neural Networks", ICML. Each image
    counts as if it were of its class in all but one of N + 2 cases, in the manner of Platt 1999,
    so that images that are told apart without an error do not make every probability 0 or 1.

    Parameters
    ----------
    labels : int (N,)
        Class indices, 0 to K - 1.
    logits : float (N, K)
        Of images that the network did not learn from.

    Returns
    -------
    float
        Within `TEMPERATURES`; 1.0 where there are no images.

    Examples
    --------
    >>> logits = np.array([[4.0, 0.0]] * 3 + [[0.0, 4.0]])  # says 98 %, and is right in 3 of 4
    >>> round(fit_temperature(np.zeros(4, int), logits), 1)
    5.8
    """
    n_images, n_classes = logits.shape
    if not n_images:
        return 1.0
    wrong = 1 / (n_images + 2)
    targets = np.full(logits.shape, wrong / (n_classes - 1))
    targets[np.arange(n_images), labels] = 1 - wrong
    exact = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        return -float((targets * log_softmax(exact / math.exp(log_temperature), axis=1)).mean())

    found = minimize_scalar(loss, bounds=[math.log(end) for end in TEMPERATURES], method="bounded")
    return float(math.exp(found.x))


def reliability(
    images: ScoredImages, before: NDArray[np.float64], resampling: Resampling
) -> dict[str, Any]:
    """Return the calibration of probabilities, each figure with its interval by group.

    What is judged is the probability of the positive class or, without one, that of the most
    probable class, which should be right as often as it says. The bins hold equally many images.
    The calibration error is the mean distance between the probability and the frequency over the
    bins (Naeini, Cooper & Hauskrecht 2015, "Obtaining Well Calibrated Probabilities Using Bayesian
    Binning", AAAI); with few images it is above 0 by chance. Slope and intercept are those of a
    logistic regression of the outcome on the logit of the probability (Cox 1958, "Two Further
    Applications of a Model for Binary Regression", Biometrika 45:562-565): 1 and 0 are ideal.

    Parameters
    ----------
    images : ScoredImages
        With the calibrated probabilities.
    before : float64 (N, K), 0-1
        The probabilities before calibration.

    Returns
    -------
    dict
        ``judged``; ``before`` and ``after``, each ``nll, brier, ece`` as estimates and ``bins`` of
        ``predicted, observed, n_images``, the second an estimate; ``slope, intercept`` after.
    """
    fit = _recalibration(images, resampling)
    return {
        "judged": "positive" if images.positive_index is not None else "most_probable",
        "before": _judge(images.with_answers(before, images.predicted), resampling),
        "after": _judge(images, resampling),
        **{name: value.to_dict() for name, value in fit.items()},
    }


def _outcomes(images: ScoredImages) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the probability that is judged, float64 (N,), and whether it happened, bool (N,)."""
    positive = images.positive_index
    if positive is not None:
        return images.probabilities[:, positive], images.labels == positive
    return images.probabilities.max(axis=1), images.probabilities.argmax(axis=1) == images.labels


def _judge(images: ScoredImages, resampling: Resampling) -> dict[str, Any]:
    chance, happened = _outcomes(images)
    bin_of = _bins(chance)
    n_bins = int(bin_of.max()) + 1

    def sums_by_bin(values: NDArray[np.floating]) -> NDArray[np.float64]:
        cell = images.group_of * n_bins + bin_of
        flat = np.bincount(cell, values, minlength=images.n_groups * n_bins)
        return flat.reshape(-1, n_bins).astype(np.float64)

    own = images.probabilities[np.arange(images.n_images), images.labels]
    sizes = images.count_by_group()
    losses = images.count_by_group(-np.log(np.maximum(own, CERTAIN)))
    errors = images.count_by_group(squared_errors(images))
    counts = sums_by_bin(np.ones(images.n_images))
    hits, chances = sums_by_bin(happened.astype(float)), sums_by_bin(chance)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        total = weights @ sizes
        gaps = np.abs(weights @ hits - weights @ chances).sum(axis=1)
        observed = divide(weights @ hits, weights @ counts)
        return {
            "nll": divide(weights @ losses, total),
            "brier": divide(weights @ errors, total),
            "ece": divide(gaps, total),
            **{f"bin {number}": observed[:, number] for number in range(n_bins)},
        }

    greatest = {
        "nll": -math.log(CERTAIN),
        "brier": 2.0 if images.positive_index is None else 1.0,
        "ece": 1.0,
    }
    of_all = replace(Basis.of_images(sizes), is_mean_of_fractions=False)
    bases = {name: replace(of_all, bounds=(0.0, most)) for name, most in greatest.items()}
    bases |= {f"bin {number}": Basis.of_images(counts[:, number]) for number in range(n_bins)}
    found = estimates_of(replicates_of(images, statistic, bases, resampling))
    predicted = chances.sum(axis=0) / counts.sum(axis=0)
    return {
        **{name: found[name].to_dict() for name in greatest},
        "bins": [
            {
                "predicted": float(predicted[number]),
                "observed": found[f"bin {number}"].to_dict(),
                "n_images": int(counts[:, number].sum()),
            }
            for number in range(n_bins)
        ],
    }


def _bins(chance: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the bin of each image: equally many in each, equal probabilities together."""
    cuts = np.unique(np.quantile(chance, np.linspace(0, 1, N_BINS + 1)[1:-1]))
    number = np.searchsorted(cuts, chance, side="right")
    return np.unique(number, return_inverse=True)[1].astype(np.intp)


def _recalibration(images: ScoredImages, resampling: Resampling) -> dict[str, Estimate]:
    """Fit slope and intercept; the variance is that of groups (Liang & Zeger 1986)."""
    n_images, n_groups = images.n_images, images.n_groups
    chance, happened = _outcomes(images)
    x = np.stack([np.ones(n_images), logit(np.clip(chance, CERTAIN, 1 - CERTAIN))], axis=1)
    fit = _logistic(x, happened)
    names = ("intercept", "slope")
    if fit is None:
        why = "one class only, or told apart without an error"
        return {name: Estimate(None, None, None, n_images, n_groups, "none", why) for name in names}
    weights, bread = fit
    scores = (happened - expit(x @ weights))[:, None] * x
    of_group = np.stack([images.count_by_group(column) for column in scores.T], axis=1)
    variance = bread @ (of_group.T @ of_group) @ bread * n_groups / max(1, n_groups - 1)
    freedom = effective_number(images.count_by_group()) - 1
    found = {}
    for name, value, error in zip(names, weights, np.sqrt(np.diag(variance)), strict=True):
        if n_groups < FEWEST_GROUPS or freedom < 1:
            note = f"only {n_groups} groups: too few for an interval"
            found[name] = Estimate(float(value), None, None, n_images, n_groups, "none", note)
            continue
        reach = float(stdtrit(freedom, 0.5 + resampling.level / 2) * error)
        method = "Student interval, cluster-robust standard error"
        low, high = float(value) - reach, float(value) + reach
        found[name] = Estimate(float(value), low, high, n_images, n_groups, method)
    return found


def _logistic(
    x: NDArray[np.float64], y: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the weights and the inverse of the information, by Newton's method; None without."""
    weights = np.array([0.0, 1.0])
    for _ in range(MOST_STEPS):
        chance = expit(x @ weights)
        information = (x * (chance * (1 - chance))[:, None]).T @ x
        if np.linalg.cond(information) > 1e10:
            return None
        step = np.linalg.solve(information, x.T @ (y - chance))
        weights = weights + np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-9:
            return weights, np.linalg.inv(information)
    return None
