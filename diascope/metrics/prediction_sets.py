"""Sets of classes that hold the true one as often as promised, also in groups never seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COVERAGE = 0.9


@dataclass(frozen=True)
class PredictionSets:
    """From which probability on a class is in the set.

    Parameters
    ----------
    coverage : float
        What is promised for the images of each class, 0-1.
    least : tuple of float (K,)
        A class is in the set from this probability on, by the softmax before calibration; 0 where
        it always is.
    n_groups : tuple of int (K,)
        The groups with the class that this was chosen on.
    """

    coverage: float
    least: tuple[float, ...]
    n_groups: tuple[int, ...]

    def contains(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which classes are in the set of each image: bool (N, K).

        Parameters
        ----------
        probabilities : float64 (N, K), 0-1
            The softmax before calibration.
        """
        return probabilities >= np.array(self.least)


def fewest_groups_for_sets(coverage: float) -> int:
    """Return how many groups a class needs, so that it can ever be left out of a set.

    Examples
    --------
    >>> fewest_groups_for_sets(0.9), fewest_groups_for_sets(0.95)
    (9, 19)
    """
    return int(np.ceil(1 / (1 - coverage) - 1 - 1e-9))


def choose_sets(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.float64],
    groups: NDArray[np.str_],
    *,
    coverage: float = COVERAGE,
) -> PredictionSets:
    """Choose, class by class, the probability from which on it belongs to the set.

    Promised is: draw a new group that has images of a class, and one of these images at random;
    the class is in its set with at least the coverage, on average over the groups that this was
    chosen on. That is split conformal prediction for each class by itself (Vovk 2012, "Conditional
    validity of inductive conformal predictors", Proceedings of Machine Learning Research 25), with
    the images of a group sharing the weight of one (Lee, Barber & Willett 2023, "Distribution-free
    inference with hierarchical data", arXiv:2306.06342). A class with fewer groups than
    `fewest_groups_for_sets` is in every set.

    Parameters
    ----------
    labels : int (N,)
        Class indices, 0 to K - 1.
    probabilities : float64 (N, K), 0-1
        The softmax of logits that took no part in any choice on these images.
    groups : str (N,)
    coverage : float
        0-1.

    Examples
    --------
    >>> labels, sure = np.zeros(20, int), np.linspace(0.5, 0.99, 20)
    >>> probabilities, groups = np.stack([sure, 1 - sure], axis=1), np.arange(20).astype(str)
    >>> found = choose_sets(labels, probabilities, groups, coverage=0.9)
    >>> [round(value, 3) for value in found.least], found.n_groups
    ([0.526, 0.0], (20, 0))
    """
    least, n_groups = [], []
    for index in range(probabilities.shape[1]):
        mine = labels == index
        names, group_of = np.unique(groups[mine], return_inverse=True)
        n_groups.append(len(names))
        least.append(_least(probabilities[mine, index], group_of, coverage))
    return PredictionSets(coverage, tuple(least), tuple(n_groups))


def _least(own: NDArray[np.float64], group_of: NDArray[np.intp], coverage: float) -> float:
    """Return the weighted quantile of what images of a class get for it; 0 where there is none."""
    n_groups = int(group_of.max(initial=-1)) + 1
    order = np.argsort(-own, kind="stable")
    shares = 1 / (np.bincount(group_of)[group_of[order]] * (n_groups + 1))
    reached = np.flatnonzero(np.cumsum(shares) >= coverage - 1e-12)
    return float(own[order][reached[0]]) if len(reached) else 0.0
