"""Choose the cases of an atlas: the most confident correct, errors, the most uncertain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KINDS = ("most confident correct", "most confident error", "most uncertain")
LEAST = 1e-12  # a probability, before its logarithm is taken


@dataclass(frozen=True, slots=True)
class Case:
    """An image of the atlas."""

    kind: str  # one of `KINDS`
    row: int


def choose_cases(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.integer],
    predicted: NDArray[np.integer],
    *,
    positive: int | None = None,
    thresholds: NDArray[np.float64] | None = None,
) -> list[list[Case]]:
    """Choose up to three images of each class (of the reference standard), each image once.

    The most confident correct image and the most confident error have the highest probability of
    the predicted class. The most uncertain lies closest to the threshold, in log odds; where there
    is none, it has the highest entropy. Of equal ones, the first is chosen.

    Parameters
    ----------
    probabilities : float64 (N, K), 0-1
    labels, predicted : int (N,)
        True and predicted class indices.
    positive, thresholds : int and float64 (N,), optional
        Of two classes: the positive one, and its probability from which on an image is positive.

    Returns
    -------
    list of list of Case
        For each of the K classes, in the order of `KINDS`; fewer where there is no such image.

    Examples
    --------
    >>> probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    >>> labels, predicted = np.array([0, 0, 0]), np.array([0, 0, 1])
    >>> [(case.kind, case.row) for case in choose_cases(probabilities, labels, predicted)[0]]
    [('most confident correct', 0), ('most confident error', 2), ('most uncertain', 1)]
    """
    confidence = probabilities[np.arange(len(labels)), predicted]
    certainty = _certainty(probabilities, positive, thresholds)
    is_right = labels == predicted
    found = []
    for number in range(probabilities.shape[1]):
        rows = np.flatnonzero(labels == number)
        right, wrong = rows[is_right[rows]], rows[~is_right[rows]]
        cases: list[Case] = []
        for kind, candidates, low_first in (
            (KINDS[0], right, -confidence),
            (KINDS[1], wrong, -confidence),
            (KINDS[2], rows, certainty),
        ):
            left = np.setdiff1d(candidates, [case.row for case in cases])
            if left.size:
                cases.append(Case(kind, int(left[low_first[left].argmin()])))
        found.append(cases)
    return found


def _certainty(
    probabilities: NDArray[np.float64],
    positive: int | None,
    thresholds: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Return how certain each decision is, (N,): only the order counts."""
    safe = np.clip(probabilities, LEAST, 1 - LEAST)
    if positive is None or thresholds is None:
        return (safe * np.log(safe)).sum(axis=1)
    return np.abs(_log_odds(safe[:, positive]) - _log_odds(np.clip(thresholds, LEAST, 1 - LEAST)))


def _log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(probabilities) - np.log1p(-probabilities)
