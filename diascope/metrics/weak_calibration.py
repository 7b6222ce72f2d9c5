"""Weak calibration of each class: calibration-in-the-large, slope, and observed over expected.

Van Calster et al. 2019, "Calibration: the Achilles heel of predictive analytics", BMC Medicine
17:230, say which figures a study should give. All three have Student's interval with a standard
error that lets the images of a group be alike (Liang & Zeger 1986, Biometrika 73:13-22).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

from diascope.metrics.bootstrap import CARE_BELOW_GROUPS, FEWEST_GROUPS, Basis
from diascope.metrics.estimate import Estimate
from diascope.metrics.scored import ScoredImages

CERTAIN = 1e-7  # probabilities are kept this far from 0 and 1 where a logarithm is taken
MOST_STEPS = 50
FIGURES = {"in_the_large": 0.0, "slope": 1.0, "observed_expected": 1.0}  # and their ideal values
METHOD = "t interval, cluster-robust standard error"
INSEPARABLE = "one class only, or told apart without an error"


@dataclass(frozen=True)
class _Class:
    """The probability of one class, and which images are of it."""

    happened: NDArray[np.bool_]  # (N,)
    expected: NDArray[np.float64]  # (N,), inside 0-1
    sums: Callable[[NDArray[np.float64]], NDArray[np.float64]]  # of images, by group
    basis: Basis
    level: float

    def estimate(
        self,
        value: float,
        influence: NDArray[np.float64],
        to_shown: Callable[[float], float] = float,
    ) -> Estimate:
        """Return a value with its interval, from the influence of each image on it: (N,)."""
        basis, n = self.basis, self.basis.n_independent
        none = Estimate(to_shown(value), None, None, basis.n_images, basis.n_groups, "none")
        if n < FEWEST_GROUPS:
            note = f"only {n} groups with the class that limits it: too few for an interval"
            return replace(none, note=note)
        freedom = max(FEWEST_GROUPS - 1.0, basis.n_effective - 1)
        variance = float((self.sums(influence) ** 2).sum()) * (freedom + 1) / freedom
        reach = float(stdtrit(freedom, 0.5 + self.level / 2)) * variance**0.5
        few = f"only {n} groups with the class that limits it: read with care"
        return replace(
            none,
            low=to_shown(value - reach),
            high=to_shown(value + reach),
            method=METHOD,
            note=few if n < CARE_BELOW_GROUPS else "",
        )

    def undefined(self) -> Estimate:
        """Return the estimate of what cannot be computed."""
        basis = self.basis
        return Estimate(None, None, None, basis.n_images, basis.n_groups, "none", INSEPARABLE)


def weak_calibration(images: ScoredImages, *, level: float) -> list[dict[str, Any]]:
    """Return how the probability of each class agrees with its frequency.

    Calibration-in-the-large is the intercept of a logistic regression of the outcome on the logit
    of the probability, the slope fixed at 1: above 0 the class is more frequent than predicted.
    The slope is that of the same regression with both free (Cox 1958, Biometrika 45:562-565):
    below 1 the probabilities are too extreme. Observed over expected (O:E) is the number of images
    of the class over the sum of its probabilities.

    Parameters
    ----------
    images : ScoredImages
        With the calibrated probabilities.
    level : float
        Of the intervals, 0-1.

    Returns
    -------
    list of dict
        A row for the positive class or, without one, for each class: ``class``, its index;
        ``n_images`` of it; ``expected``, the sum of its probabilities; and the estimates
        `FIGURES`.
    """
    positive = images.positive_index
    judged = range(images.task.n_classes) if positive is None else (positive,)
    return [_of_class(images, index, level) for index in judged]


def _of_class(images: ScoredImages, index: int, level: float) -> dict[str, Any]:
    happened = images.labels == index
    own, others = images.count_by_group(happened), images.count_by_group(~happened)
    one = _Class(
        happened=happened,
        expected=np.clip(images.probabilities[:, index], CERTAIN, 1 - CERTAIN),
        sums=images.count_by_group,
        basis=Basis.of_classes(np.stack([own, others], axis=1)),
        level=level,
    )
    return {
        "class": index,
        "n_images": int(happened.sum()),
        "expected": float(images.probabilities[:, index].sum()),
        "in_the_large": _in_the_large(one).to_dict(),
        "slope": _slope(one).to_dict(),
        "observed_expected": _observed_expected(one).to_dict(),
    }


def _in_the_large(one: _Class) -> Estimate:
    if one.happened.all() or not one.happened.any():
        return one.undefined()
    constant = np.ones((one.happened.size, 1))
    fit = _logistic(constant, one.happened, offset=logit(one.expected))
    return one.undefined() if fit is None else one.estimate(float(fit[0][0]), fit[1][:, 0])


def _slope(one: _Class) -> Estimate:
    both = np.stack([np.ones(one.happened.size), logit(one.expected)], axis=1)
    fit = _logistic(both, one.happened, offset=0.0)
    return one.undefined() if fit is None else one.estimate(float(fit[0][1]), fit[1][:, 1])


def _observed_expected(one: _Class) -> Estimate:
    """Return the ratio, with an interval that is made on the scale of its logarithm."""
    n_observed, n_expected = float(one.happened.sum()), float(one.expected.sum())
    if not n_observed:
        return one.undefined()
    influence = one.happened / n_observed - one.expected / n_expected
    return one.estimate(math.log(n_observed / n_expected), influence, math.exp)


def _logistic(
    x: NDArray[np.float64], y: NDArray[np.bool_], *, offset: NDArray[np.float64] | float
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Fit a logistic regression by Newton's method, with steps halved until they are a gain.

    Returns
    -------
    tuple or None
        The weights (P,), and the influence of each image on them (N, P); None where the fit does
        not converge, as with classes that are told apart without an error.
    """
    sign = np.where(y, -1.0, 1.0)

    def loss(weights: NDArray[np.float64]) -> float:
        return float(np.logaddexp(0, sign * (x @ weights + offset)).sum())

    weights = np.zeros(x.shape[1])
    for _ in range(MOST_STEPS):
        chance = expit(x @ weights + offset)
        information = (x * (chance * (1 - chance))[:, None]).T @ x
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e10:
            return None
        step = np.linalg.solve(information, x.T @ (y - chance))
        if np.abs(step).max() < 1e-9:
            return weights, ((y - chance)[:, None] * x) @ np.linalg.inv(information)
        now = loss(weights)
        while loss(weights + step) > now and np.abs(step).max() > 1e-9:
            step = step / 2
        weights = weights + step
    return None
