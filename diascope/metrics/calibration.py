"""Calibration: how far probabilities are from what happens, and one number to bring them nearer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from diascope.metrics.bootstrap import Basis, Replicates, Resampling
from diascope.metrics.confusion import divide
from diascope.metrics.differences import difference
from diascope.metrics.replicates import estimates_of, replicates_of, squared_errors
from diascope.metrics.scored import ScoredImages
from diascope.metrics.weak_calibration import CERTAIN, weak_calibration

N_BINS = 10
TEMPERATURES = (1 / 20, 20.0)
ERRORS = ("nll", "brier", "ece")


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
    probable class, which should be right as often as it says; it is not always the class that is
    called. The bins hold equally many images. The calibration error is the mean distance between
    the probability and the frequency over the bins (Naeini, Cooper & Hauskrecht 2015, "Obtaining
    Well Calibrated Probabilities Using Bayesian Binning", AAAI); with few images it is above 0 by
    chance. The Brier score is compared with that of a model which gives every image the class
    proportions found here: the scaled score is 1 less their ratio (Steyerberg et al. 2010,
    "Assessing the performance of prediction models", Epidemiology 21:128-138).

    Parameters
    ----------
    images : ScoredImages
        With the calibrated probabilities.
    before : float64 (N, K), 0-1
        The probabilities before calibration.

    Returns
    -------
    dict
        ``judged``; ``before`` and ``after``, each ``nll, brier, scaled_brier, ece`` as estimates
        and ``bins`` of ``predicted, observed, n_images``, the second an estimate; ``changes``, by
        how much calibration moved each of `ERRORS`, as estimates with a ``p``;
        ``brier_reference``, the score of the class proportions; ``by_class``, see
        `weak_calibration`.
    """
    earlier = images.with_answers(before, images.predicted)
    first, second = _errors(earlier, resampling), _errors(images, resampling)
    moved = {name: difference(second[name], first[name]) for name in ERRORS}
    return {
        "judged": "positive" if images.positive_index is not None else "most_probable",
        "before": {**_shown(first), "bins": _bins_of(earlier, resampling)},
        "after": {**_shown(second), "bins": _bins_of(images, resampling)},
        "changes": {name: {**found.to_dict(), "p": p} for name, (found, p) in moved.items()},
        "brier_reference": _reference(images),
        "by_class": weak_calibration(images, level=resampling.level),
    }


def _shown(errors: dict[str, Replicates]) -> dict[str, Any]:
    return {name: found.to_dict() for name, found in estimates_of(errors).items()}


def _outcomes(images: ScoredImages) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the probability that is judged, float64 (N,), and whether it happened, bool (N,)."""
    positive = images.positive_index
    if positive is not None:
        return images.probabilities[:, positive], images.labels == positive
    return images.probabilities.max(axis=1), images.probabilities.argmax(axis=1) == images.labels


def _reference(images: ScoredImages) -> float:
    """Return the Brier score of predicting the class proportions of these images for all."""
    proportions = np.bincount(images.labels, minlength=images.task.n_classes) / images.n_images
    positive = images.positive_index
    spread = proportions * (1 - proportions)
    return float(spread.sum() if positive is None else spread[positive])


def _errors(images: ScoredImages, resampling: Resampling) -> dict[str, Replicates]:
    """Return `ERRORS` and the scaled Brier score."""
    chance, happened = _outcomes(images)
    gaps_of = _sums_by_bin(images, _bins(chance), happened - chance)
    own = images.probabilities[np.arange(images.n_images), images.labels]
    sizes = images.count_by_group()
    losses = images.count_by_group(-np.log(np.maximum(own, CERTAIN)))
    errors = images.count_by_group(squared_errors(images))
    of_class = images.confusion_by_group.sum(axis=2)
    positive = images.positive_index

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        total = weights @ sizes
        proportions = weights @ of_class / total[:, None]
        spread = proportions * (1 - proportions)
        reference = spread.sum(axis=1) if positive is None else spread[:, positive]
        brier = divide(weights @ errors, total)
        return {
            "nll": divide(weights @ losses, total),
            "brier": brier,
            "ece": divide(np.abs(weights @ gaps_of).sum(axis=1), total),
            "scaled_brier": 1 - divide(brier, reference),
        }

    greatest = 2.0 if positive is None else 1.0
    reference = _reference(images)
    bounds = {
        "nll": (0.0, -math.log(CERTAIN)),
        "brier": (0.0, greatest),
        "ece": (0.0, 1.0),
        "scaled_brier": (1 - greatest / reference if reference else 0.0, 1.0),
    }
    of_all = replace(Basis.of_images(sizes), is_mean_of_fractions=False)
    bases = {name: replace(of_all, bounds=ends) for name, ends in bounds.items()}
    bases["scaled_brier"] = replace(bases["scaled_brier"], undefined="one class only")
    return replicates_of(images, statistic, bases, resampling)


def _bins_of(images: ScoredImages, resampling: Resampling) -> list[dict[str, Any]]:
    """Return the bins of the reliability diagram."""
    chance, happened = _outcomes(images)
    bin_of = _bins(chance)
    counts = _sums_by_bin(images, bin_of, np.ones(images.n_images))
    hits = _sums_by_bin(images, bin_of, happened.astype(float))
    chances = _sums_by_bin(images, bin_of, chance).sum(axis=0)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        observed = divide(weights @ hits, weights @ counts)
        return {str(number): column for number, column in enumerate(observed.T)}

    bases = {str(number): Basis.of_images(column) for number, column in enumerate(counts.T)}
    found = estimates_of(replicates_of(images, statistic, bases, resampling))
    sizes = counts.sum(axis=0)
    return [
        {
            "predicted": float(chances[number] / sizes[number]),
            "observed": found[str(number)].to_dict(),
            "n_images": int(sizes[number]),
        }
        for number in range(sizes.size)
    ]


def _sums_by_bin(
    images: ScoredImages, bin_of: NDArray[np.intp], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the sum of a value of each image, by group and bin: (G, B)."""
    n_bins = int(bin_of.max()) + 1
    cell = images.group_of * n_bins + bin_of
    flat = np.bincount(cell, values, minlength=images.n_groups * n_bins)
    return flat.reshape(-1, n_bins).astype(np.float64)


def _bins(chance: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the bin of each image: equally many in each, equal probabilities together."""
    cuts = np.unique(np.quantile(chance, np.linspace(0, 1, N_BINS + 1)[1:-1]))
    number = np.searchsorted(cuts, chance, side="right")
    return np.unique(number, return_inverse=True)[1].astype(np.intp)
