"""Points of the ROC, precision-recall and threshold curves, few enough to draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diascope.errors import DataError


@dataclass(frozen=True)
class Curves:
    """The curves of one ranking."""

    roc_fpr: NDArray[np.float64]  # (P,): rises from 0 to 1
    roc_tpr: NDArray[np.float64]  # (P,): rises from 0 to 1
    pr_recall: NDArray[np.float64]  # (Q,): rises from 0
    pr_precision: NDArray[np.float64]  # (Q,): the first one stands twice, also at recall 0
    threshold: NDArray[np.float64]  # (T,): rises evenly over the scores' range, at the least 0-1
    fpr: NDArray[np.float64]  # (T,): where images are called positive at the threshold or above
    tpr: NDArray[np.float64]  # (T,)
    prevalence: float  # fraction of positive images: the precision of guessing


def curves(
    is_positive: NDArray[np.bool_], scores: NDArray[np.float64], *, max_points: int = 501
) -> Curves:
    """Return the points of the three curves of a two-class ranking.

    In a cross-validation, call it once a fold: scores of different models do not rank together.

    Parameters
    ----------
    is_positive : bool (N,)
    scores : float64 (N,)
        Higher means more likely positive.
    max_points : int
        At most so many points a curve, evenly spaced along it, the ends included.

    Raises
    ------
    DataError
        There are no positive or no negative images: the curves do not exist.

    Examples
    --------
    >>> points = curves(np.array([True, False, True]), np.array([0.9, 0.8, 0.3]))
    >>> points.roc_fpr.tolist(), points.roc_tpr.tolist()
    ([0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0])
    """
    n_positive = np.count_nonzero(is_positive)
    n_negative = is_positive.size - n_positive
    if not n_positive or not n_negative:
        raise DataError(
            "A curve needs positive and negative images, and one kind is missing.",
            where=f"{n_positive} positive, {n_negative} negative images",
            fix="Draw curves only where the AUROC is defined.",
        )
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), scores.size - 1)
    found = np.cumsum(is_positive[order])[ends]
    flagged = ends + 1
    tpr = np.concatenate([[0.0], found / n_positive])
    fpr = np.concatenate([[0.0], (flagged - found) / n_negative])
    precision = found / flagged
    precision = np.concatenate([precision[:1], precision])
    threshold = np.linspace(min(0.0, scores.min()), max(1.0, scores.max()), max_points)
    roc_kept = _thin(fpr, tpr, max_points=max_points)
    pr_kept = _thin(tpr, precision, max_points=max_points)
    return Curves(
        roc_fpr=fpr[roc_kept],
        roc_tpr=tpr[roc_kept],
        pr_recall=tpr[pr_kept],
        pr_precision=precision[pr_kept],
        threshold=threshold,
        fpr=_fraction_from(scores[~is_positive], threshold),
        tpr=_fraction_from(scores[is_positive], threshold),
        prevalence=n_positive / is_positive.size,
    )


def _thin(
    horizontal: NDArray[np.float64], vertical: NDArray[np.float64], *, max_points: int
) -> NDArray[np.intp]:
    """Return which points to keep, rising, evenly spaced along the curve, both ends included."""
    if horizontal.size <= max_points:
        return np.arange(horizontal.size)
    steps = np.abs(np.diff(horizontal)) + np.abs(np.diff(vertical))
    along = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0.0, along[-1], max_points)
    kept = np.minimum(np.searchsorted(along, wanted), along.size - 1)
    kept[-1] = along.size - 1
    return np.unique(kept)


def _fraction_from(
    scores: NDArray[np.float64], threshold: NDArray[np.float64]
) -> NDArray[np.float64]:
    below = np.searchsorted(np.sort(scores), threshold, side="left")
    return 1 - below / scores.size
