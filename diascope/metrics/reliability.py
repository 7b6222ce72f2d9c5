"""Say how far probabilities can be taken at their word, before and after calibration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

from diascope.metrics.bootstrap import (
    FEWEST_GROUPS,
    Basis,
    Resampling,
    effective_number,
    estimate,
    replicate,
)
from diascope.metrics.calibration import squared_errors
from diascope.metrics.confusion import divide
from diascope.metrics.estimate import Estimate
from diascope.metrics.scored import ScoredImages

N_BINS = 10
CERTAIN = 1e-7  # probabilities are kept this far from 0 and 1 where a logarithm is taken
MOST_STEPS = 50


def reliability(
    images: ScoredImages,
    before: NDArray[np.float64],
    *,
    positive_index: int | None,
    resampling: Resampling,
) -> dict[str, Any]:
    """Return the calibration of probabilities, each figure with its interval by group.

    What is judged is the probability of the positive class or, without one, that of the most
    probable class, which should be right as often as it says. The bins hold equally many images.
    The calibration error is the mean distance between what was said and what happened over the
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
    positive_index : int, optional
    resampling : Resampling

    Returns
    -------
    dict
        ``judged``; ``before`` and ``after``, each ``nll, brier, ece`` as estimates and ``bins`` of
        ``predicted, observed, n_images``, the second an estimate; ``slope, intercept`` after.
    """
    found: dict[str, Any] = {
        "judged": "positive" if positive_index is not None else "most_probable",
        "before": _judge(images, before, positive_index, resampling),
        "after": _judge(images, images.probabilities, positive_index, resampling),
    }
    said, happened = _binary(images.labels, images.probabilities, positive_index)
    for name, value in _recalibration(said, happened, images.group_of, resampling).items():
        found[name] = value.to_dict()
    return found


def _binary(
    labels: NDArray[np.intp], probabilities: NDArray[np.float64], positive_index: int | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return what was said of each image, a probability, and whether it happened."""
    if positive_index is not None:
        return probabilities[:, positive_index], labels == positive_index
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def _judge(
    images: ScoredImages,
    probabilities: NDArray[np.float64],
    positive_index: int | None,
    resampling: Resampling,
) -> dict[str, Any]:
    said, happened = _binary(images.labels, probabilities, positive_index)
    bin_of = _bins(said)
    n_bins = int(bin_of.max()) + 1

    def sums(values: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.bincount(images.group_of, values, minlength=images.n_groups).astype(np.float64)

    def sums_by_bin(values: NDArray[np.floating]) -> NDArray[np.float64]:
        cell = images.group_of * n_bins + bin_of
        flat = np.bincount(cell, values, minlength=images.n_groups * n_bins)
        return flat.reshape(-1, n_bins).astype(np.float64)

    own = probabilities[np.arange(images.n_images), images.labels]
    sizes = sums(np.ones(images.n_images))
    losses = sums(-np.log(np.maximum(own, CERTAIN)))
    errors = sums(squared_errors(images.labels, probabilities, positive_index=positive_index))
    counts = sums_by_bin(np.ones(images.n_images))
    hits, sayings = sums_by_bin(happened.astype(float)), sums_by_bin(said)

    def statistic(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        total = weights @ sizes
        gaps = np.abs(weights @ hits - weights @ sayings).sum(axis=1)
        observed = divide(weights @ hits, weights @ counts)
        return {
            "nll": divide(weights @ losses, total),
            "brier": divide(weights @ errors, total),
            "ece": divide(gaps, total),
            **{f"bin {number}": observed[:, number] for number in range(n_bins)},
        }

    points = statistic(np.ones((1, images.n_groups)))
    replicates = replicate(
        statistic,
        np.zeros(images.n_groups, dtype=np.intp),
        n_resamples=resampling.n_resamples,
        seed=resampling.seed,
    )
    greatest = {"nll": -math.log(CERTAIN), "brier": 1.0 if positive_index is not None else 2.0}
    bases = {
        name: _basis(sizes, (0.0, greatest.get(name, 1.0))) for name in ("nll", "brier", "ece")
    } | {f"bin {n}": _basis(counts[:, n], (0.0, 1.0), is_share=True) for n in range(n_bins)}
    found = {
        name: estimate(points[name][0], replicates[name], basis=basis, resampling=resampling)
        for name, basis in bases.items()
    }
    said_in_bin = sayings.sum(axis=0) / counts.sum(axis=0)
    return {
        **{name: found[name].to_dict() for name in ("nll", "brier", "ece")},
        "bins": [
            {
                "predicted": float(said_in_bin[number]),
                "observed": found[f"bin {number}"].to_dict(),
                "n_images": int(counts[:, number].sum()),
            }
            for number in range(n_bins)
        ],
    }


def _bins(said: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the bin of each image: equally many in each, equal probabilities together."""
    cuts = np.unique(np.quantile(said, np.linspace(0, 1, N_BINS + 1)[1:-1]))
    number = np.searchsorted(cuts, said, side="right")
    return np.unique(number, return_inverse=True)[1].astype(np.intp)


def _basis(
    images: NDArray[np.float64], bounds: tuple[float, float], *, is_share: bool = False
) -> Basis:
    n_groups = int(np.count_nonzero(images))
    return Basis(
        n_images=int(images.sum()),
        n_groups=n_groups,
        n_independent=n_groups,
        n_effective=effective_number(images),
        bounds=bounds,
        is_mean_of_fractions=is_share,
    )


def _recalibration(
    said: NDArray[np.float64],
    happened: NDArray[np.bool_],
    group_of: NDArray[np.intp],
    resampling: Resampling,
) -> dict[str, Estimate]:
    """Fit slope and intercept; the variance is that of groups (Liang & Zeger 1986)."""
    n_images, n_groups = len(said), int(group_of.max()) + 1
    x = np.stack([np.ones(n_images), logit(np.clip(said, CERTAIN, 1 - CERTAIN))], axis=1)
    fit = _logistic(x, happened)
    names = ("intercept", "slope")
    if fit is None:
        why = "one class only, or told apart without an error"
        return {name: Estimate(None, None, None, n_images, n_groups, "none", why) for name in names}
    weights, bread = fit
    scores = (happened - expit(x @ weights))[:, None] * x
    of_group = np.stack([np.bincount(group_of, column) for column in scores.T], axis=1)
    variance = bread @ (of_group.T @ of_group) @ bread * n_groups / max(1, n_groups - 1)
    freedom = effective_number(np.bincount(group_of).astype(float)) - 1
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
